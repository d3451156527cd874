# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The system calls that a service may make: an allow-list in the form of the OCI runtime specification. Pure.

What is not listed fails with EPERM, so that programs fall back instead of being killed. Left out on purpose: mounting,
entering and making namespaces, keyrings, bpf, perf, userfaultfd, io_uring, tracing of other processes, kernel modules,
handles of files, setting of clocks, quotas, swap and reboot. Only the machine's own kind of calls is taken: 32-bit
programs, whose one socketcall can't be filtered by its arguments, do not run.
"""

from __future__ import annotations

import typing as t

ENOSYS = 38
EPERM = 1

_FILES = """
access chdir chmod chown close close_range copy_file_range creat dup dup2 dup3 faccessat faccessat2 fadvise64 fallocate
fchdir fchmod fchmodat fchmodat2 fchown fchownat fcntl fdatasync fgetxattr flistxattr flock fremovexattr fsetxattr fstat
fstatfs fsync ftruncate futimesat getcwd getdents getdents64 getxattr inotify_add_watch inotify_init inotify_init1
inotify_rm_watch ioctl lchown lgetxattr link linkat listxattr llistxattr lremovexattr lseek lsetxattr lstat mkdir mkdirat
mknod mknodat newfstatat open openat openat2 pread64 preadv preadv2 pwrite64 pwritev pwritev2 read readahead readlink
readlinkat readv removexattr rename renameat renameat2 rmdir sendfile setxattr splice stat statfs statx symlink symlinkat
sync sync_file_range syncfs tee truncate umask unlink unlinkat utime utimensat utimes vmsplice write writev
landlock_add_rule landlock_create_ruleset landlock_restrict_self
"""

_MEMORY = """
brk cachestat madvise map_shadow_stack membarrier memfd_create memfd_secret mincore mlock mlock2 mlockall mmap mprotect
mremap mseal msync munlock munlockall munmap pkey_alloc pkey_free pkey_mprotect process_mrelease remap_file_pages
get_mempolicy mbind set_mempolicy set_mempolicy_home_node
"""

_PROCESSES = """
alarm arch_prctl capget capset execve execveat exit exit_group fork futex futex_requeue futex_wait futex_waitv futex_wake
get_robust_list get_thread_area getcpu getegid geteuid getgid getgroups getitimer getpgid getpgrp getpid getppid
getpriority getrandom getresgid getresuid getrlimit getrusage getsid gettid getuid ioprio_get ioprio_set kill
pidfd_open pidfd_send_signal pause prctl prlimit64 restart_syscall rseq rt_sigaction rt_sigpending rt_sigprocmask
rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_tgsigqueueinfo sched_get_priority_max sched_get_priority_min
sched_getaffinity sched_getattr sched_getparam sched_getscheduler sched_rr_get_interval sched_setaffinity sched_setattr
sched_setparam sched_setscheduler sched_yield seccomp set_robust_list set_thread_area set_tid_address setfsgid setfsuid
setgid setgroups setitimer setpgid setpriority setregid setresgid setresuid setreuid setrlimit setsid setuid sigaltstack
signalfd signalfd4 sigreturn sysinfo tgkill time times tkill uname vfork wait4 waitid waitpid uretprobe
"""

_WAITING = """
clock_getres clock_gettime clock_nanosleep epoll_create epoll_create1 epoll_ctl epoll_pwait epoll_pwait2 epoll_wait
eventfd eventfd2 gettimeofday io_cancel io_destroy io_getevents io_pgetevents io_setup io_submit nanosleep pipe pipe2
poll ppoll pselect6 select timer_create timer_delete timer_getoverrun timer_gettime timer_settime timerfd_create
timerfd_gettime timerfd_settime
"""

_TALKING = """
accept accept4 bind connect getpeername getsockname getsockopt listen recvfrom recvmmsg recvmsg sendmmsg sendmsg sendto
setsockopt shutdown socketpair mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedsend mq_unlink msgctl msgget
msgrcv msgsnd semctl semget semop semtimedop shmat shmctl shmdt shmget
"""

ALLOWED = tuple(sorted(set((_FILES + _MEMORY + _PROCESSES + _WAITING + _TALKING).split())))

BY_CAPABILITY: dict[str, tuple[str, ...]] = {
    "CAP_SYS_CHROOT": ("chroot",),
    "CAP_SYS_PTRACE": ("ptrace", "process_vm_readv", "process_vm_writev", "kcmp", "pidfd_getfd", "process_madvise"),
    "CAP_SYS_NICE": ("migrate_pages", "move_pages"),
}
"""Calls that make sense only with a capability, and come with it."""

FAMILIES = {"AF_UNIX": 1, "AF_INET": 2, "AF_INET6": 10, "AF_NETLINK": 16, "AF_PACKET": 17}
"""Families of sockets that may be opened (socket(2)). AF_ALG (38) and AF_VSOCK (40) are among those that may not."""

PERSONALITIES = (0x0, 0x8, 0x20000, 0x20008, 0xFFFFFFFF)
"""PER_LINUX, PER_LINUX32, each with UNAME26, and the question for the present one (personality(2)): none weakens memory protection."""

NAMESPACE_FLAGS = 0x7E020000
"""CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID and NEWNET (linux/sched.h)."""

ARCHITECTURES = {
    "x86_64": "SCMP_ARCH_X86_64",
    "aarch64": "SCMP_ARCH_AARCH64",
    "riscv64": "SCMP_ARCH_RISCV64",
    "ppc64le": "SCMP_ARCH_PPC64LE",
    "s390x": "SCMP_ARCH_S390X",
}


def _equal(index: int, value: int) -> list[dict[str, t.Any]]:
    """A condition on one argument. All 64 bits are compared: a value with bits above the 32nd, which the kernel ignores, is none of ours."""
    return [{"index": index, "value": value, "op": "SCMP_CMP_EQ"}]


def profile(machine: str, capabilities: t.Collection[str] = ()) -> dict[str, t.Any]:
    """The profile for a kind of machine (uname -m), as `linux.seccomp` of a config.json (OCI runtime-spec, config-linux.md)."""
    names = set(ALLOWED)
    for capability in capabilities:
        names.update(BY_CAPABILITY.get(capability, ()))
    flags = 1 if machine == "s390x" else 0  # clone(2): there the first two arguments are swapped
    masked = [{"index": flags, "value": NAMESPACE_FLAGS, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}]
    rules: list[dict[str, t.Any]] = [
        {"names": sorted(names), "action": "SCMP_ACT_ALLOW"},
        {"names": ["clone"], "action": "SCMP_ACT_ALLOW", "args": masked},
        # glibc takes clone again when clone3, whose flags a filter can't see, does not exist
        {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": ENOSYS},
    ]
    rules += [
        {"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": _equal(0, family)} for family in FAMILIES.values()
    ]
    rules += [
        {"names": ["personality"], "action": "SCMP_ACT_ALLOW", "args": _equal(0, value)} for value in PERSONALITIES
    ]
    found: dict[str, t.Any] = {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": EPERM,
        "syscalls": rules,
    }
    if machine in ARCHITECTURES:
        found["architectures"] = [ARCHITECTURES[machine]]
    return found
