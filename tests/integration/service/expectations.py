# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is to come of each attempt to leave a service: the one table for tests, machines and docs/isolation.md.

expectations.py FILE compares the answers in a file with it.
"""

from __future__ import annotations

import json
import pathlib
import sys
import typing as t

READ = ("empty", "absent")
WRITE = ("EACCES", "EROFS", "ENOENT")
CALLS = """add_key bpf fsopen init_module io_uring_setup keyctl mount mount_setattr move_mount open_by_handle_at open_tree
perf_event_open pivot_root process_vm_readv ptrace reboot setns settimeofday swapon umount2 unshare userfaultfd kexec_load"""
MASKED = """/proc/acpi /proc/asound /proc/interrupts /proc/kcore /proc/keys /proc/latency_stats /proc/sched_debug /proc/scsi
/proc/timer_list /proc/timer_stats /sys/devices/virtual/powercap /sys/firmware"""
READ_ONLY = "/proc/bus /proc/fs /proc/irq /proc/sys /sys"
SETTINGS = "/proc/sysrq-trigger /proc/sys/kernel/core_pattern /proc/sys/kernel/modprobe /sys/kernel/uevent_helper"
EXPECTED: dict[str, dict[str, tuple[str, ...]]] = {
    "T1": {
        "open /proc/1/exe for writing": ("EACCES", "EROFS"),
        "open /dev/init for writing": ("EACCES", "EROFS"),
        "open the runtime for writing during exec": ("never",),
        "the host's runtime after it": ("as before",),
    },
    "T2": {
        "descriptors at the start": ("0, 1, 2",),
        "descriptors of process 1": ("0, 1, 2, 3 anon_inode:[signalfd]",),
        "descriptors of a command that is executed": ("0, 1, 2",),
        "working directory": ("/",),
        "exec with a working directory below /proc": ("refused",),
        "start with a working directory below /proc": ("refused",),
    },
    "T3": {
        **{f"read {path}": READ for path in MASKED.split()},
        **{f"open {path} for writing": WRITE for path in SETTINGS.split()},
        **{f"change the mode of {path}": ("EROFS",) for path in READ_ONLY.split()},
    },
    "T4": {
        "remove /dev": ("EBUSY",),
        "rename /dev": ("EBUSY",),
        "rename /etc/hosts": ("EBUSY",),
        "start a root filesystem whose /dev is a link": ("refused",),
    },
    "T7": {
        **{f"call {name}": ("EPERM",) for name in CALLS.split()},
        "call clone with CLONE_NEWUSER": ("EPERM",),
        "call clone3": ("ENOSYS",),
        "call personality with ADDR_NO_RANDOMIZE": ("EPERM",),
        "open a socket of AF_ALG": ("EPERM",),
        "open a socket of AF_ALG with bits above the 32nd": ("EPERM",),
        "open a socket of AF_VSOCK": ("EPERM",),
        "open a socket of AF_ALG by the 32-bit socketcall": ("SIGSYS",),
        "open a socket of AF_ALG by an x32 call": ("SIGSYS",),
    },
    "T8": {
        "mount a control group": ("EPERM",),
        "open a release_agent for writing": WRITE,
        "make a control group": ("EROFS",),
        "open cgroup.procs for writing": ("EACCES", "EROFS"),
        "see the control groups above its own": ("no",),
    },
    "T9": {
        "range of ids": ("0 to 65536, far from the host's",),
        "ranges of ids of services": ("disjoint",),
        "owner of the host's files": ("65534",),
        "read a file that only the host's root may read": ("EACCES",),
        "read a file that all may read": ("done",),
    },
    "T10": {
        "capabilities": ("0",),
        "no_new_privs": ("1",),
        "seccomp": ("2",),
        "make a block device": ("EPERM",),
        "become another user": ("EPERM",),
        "user of a setuid program of root's": ("1000",),
        "writable mounts that obey setuid": ("none",),
    },
    "T13": {
        "open a socket of AF_PACKET": ("EPERM",),
        "with NET_RAW, open a socket of AF_PACKET": ("done",),
        "with NET_RAW, send another's MAC address": ("dropped",),
        "with NET_RAW, send an ARP answer for another's address": ("dropped",),
        "with NET_RAW, send another's IPv4 address": ("dropped",),
        "with NET_RAW, send another's IPv6 address": ("dropped",),
        "with NET_RAW, send a router advertisement": ("dropped",),
        "with NET_RAW, send a neighbor advertisement for another's address": ("dropped",),
        "with NET_RAW, send a frame of its own to its neighbour": ("dropped",),
        "with NET_RAW, send a frame of its own to the host": ("arrives",),
        "send a packet to its neighbour through the host": ("arrives",),
        "the host's and the neighbour's tables after it": ("as before",),
    },
    "T17": {
        "start 200 processes with pids_max 64": ("held",),
        "start 200 processes by exec": ("held",),
        "use 300 MB with memory_max 160M": ("killed",),
        "the service after it": ("it answers",),
        "its neighbour after it": ("not restarted",),
    },
}
"""Threat, attempt, and each answer that is right. Which of several it is depends on the kernel and its configuration."""

Answers = t.Dict[str, t.Dict[str, str]]


def rows(threat: str) -> list[str]:
    """The lines of a threat in the documentation."""
    return [f"| {attempt} | {' or '.join(answers)} |" for attempt, answers in EXPECTED[threat].items()]


def differences(answers: Answers) -> list[str]:
    """What was not answered as expected, or not at all, or is not in the table."""
    found = []
    for threat in sorted({*EXPECTED, *answers}, key=lambda name: int(name[1:])):
        expected, given = EXPECTED.get(threat, {}), answers.get(threat, {})
        for attempt in sorted({*expected, *given}):
            if given.get(attempt) not in expected.get(attempt, ()):
                wanted = " or ".join(expected.get(attempt, ("nothing",)))
                found.append(f"{threat} {attempt}: {given.get(attempt, 'not tried')}, not {wanted}")
    return found


if __name__ == "__main__":
    answered = json.loads(pathlib.Path(sys.argv[1]).read_text(encoding="utf-8"))
    different = differences(answered)
    sys.stdout.write(
        "\n".join([*different, f"{sum(map(len, answered.values()))} answers, {len(different)} not as expected", ""])
    )
    sys.exit(bool(different))
