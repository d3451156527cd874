# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A service that tells over HTTP what it can see and do. It runs inside the root filesystem of a test."""

from __future__ import annotations

import ctypes
import errno
import http.server
import json
import os
import platform
import resource
import socket
import sys
import typing as t
import urllib.parse

NUMBERS = {
    "x86_64": {
        "mount": 165, "umount2": 166, "unshare": 272, "setns": 308, "bpf": 321, "keyctl": 250, "add_key": 248, "userfaultfd": 323,
        "io_uring_setup": 425, "perf_event_open": 298, "ptrace": 101, "pivot_root": 155, "chroot": 161, "open_by_handle_at": 304,
        "init_module": 175, "reboot": 169, "swapon": 167, "settimeofday": 164, "fsopen": 430, "move_mount": 429, "clone3": 435,
        "open_tree": 428, "mount_setattr": 442, "process_vm_readv": 310, "quotactl": 179, "personality": 135, "clone": 56,
    },
}  # fmt: skip


def result_of(number: int, *arguments: int) -> int:
    """What a system call returns; the negative number of its error if it fails."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    caller = os.getpid()
    result = int(libc.syscall(ctypes.c_long(number), *[ctypes.c_long(argument) for argument in arguments]))
    if os.getpid() != caller:
        os._exit(0)  # a child that clone has made: it must not go on with the caller's work
    return result if result >= 0 else -ctypes.get_errno()


def errno_of(number: int, *arguments: int) -> str:
    """The name of the error that a system call ends with; "done" if it does not."""
    result = result_of(number, *arguments)
    return "done" if result >= 0 else errno.errorcode[-result]


def call(name: str) -> str:
    """A refused call, with arguments that would be right where they matter. Nothing is left of one that is not refused."""
    new_user = 0x10000000
    arguments = {
        "unshare": (new_user,),
        "personality": (0x0040000,),  # ADDR_NO_RANDOMIZE
        "clone": (new_user | 17, 0, 0, 0, 0),
        "ptrace": (16, 0, 0, 0),  # PTRACE_ATTACH, and there is no process 0
    }
    result = result_of(NUMBERS[platform.machine()][name], *arguments.get(name, (0, 0, 0, 0, 0)))
    if name == "clone" and result > 0:
        os.waitpid(result, 0)
    return "done" if result >= 0 else errno.errorcode[-result]


def open_socket(family: int, kind: int = socket.SOCK_DGRAM) -> str:
    """The error of opening a socket of a family."""
    return errno_of({"x86_64": 41}[platform.machine()], family, kind, 0)


def read(path: str) -> str:
    """The content of a file, or the name of the error."""
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.read(4096)
    except OSError as error:
        return errno.errorcode[error.errno or 0]


def write(path: str, text: str = "1") -> str:
    """The error of writing to a file; "done" if there is none."""
    try:
        with open(path, "a", encoding="utf-8") as stream:
            stream.write(text)
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return "done"


def listing(path: str) -> t.Any:
    """The names in a directory, or the name of the error."""
    try:
        return sorted(os.listdir(path))
    except OSError as error:
        return errno.errorcode[error.errno or 0]


def inside() -> dict[str, t.Any]:
    """All of it."""
    pids = sorted((entry for entry in os.listdir("/proc") if entry.isdigit()), key=int)
    status = dict(line.split(":\t", 1) for line in read("/proc/self/status").splitlines() if ":\t" in line)
    return {
        "hostname": socket.gethostname(),
        "uid": os.getuid(),
        "gid": os.getgid(),
        "groups": os.getgroups(),
        "cwd": os.getcwd(),
        "argv": sys.argv[1:],
        "environment": dict(os.environ),
        "processes": {pid: read(f"/proc/{pid}/cmdline").replace("\0", " ").strip() for pid in pids},
        "interfaces": sorted(os.listdir("/sys/class/net")),
        "capabilities": {key: value for key, value in status.items() if key.startswith("Cap")},
        "no_new_privileges": status.get("NoNewPrivs"),
        "seccomp": status.get("Seccomp"),
        "uid_map": read("/proc/self/uid_map").split(),
        "gid_map": read("/proc/self/gid_map").split(),
        "descriptors": listing("/proc/self/fd"),
        "init_descriptors": listing("/proc/1/fd"),
        "calls": {name: call(name) for name in NUMBERS[platform.machine()]},
        "sockets": {
            "inet": open_socket(socket.AF_INET),
            "unix": open_socket(socket.AF_UNIX),
            "alg": open_socket(38, socket.SOCK_SEQPACKET),
            "alg_hidden": open_socket(0x100000000 | 38, socket.SOCK_SEQPACKET),
            "vsock": open_socket(40),
            "packet": open_socket(17),
        },
        "masked": {
            path: listing(path) if os.path.isdir(path) else read(path)
            for path in ("/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/acpi", "/proc/scsi", "/sys/firmware")
            if os.path.exists(path)
        },
        "writes": {
            path: write(path)
            for path in (
                "/proc/sys/kernel/hostname",
                "/proc/sys/kernel/core_pattern",
                "/proc/sysrq-trigger",
                "/proc/self/oom_score_adj",
                "/sys/kernel/uevent_helper",
                "/etc/hosts",
                "/etc/resolv.conf",
                "/etc/hostname",
                "/dev/init",
                "/written",
            )
        },
        "devices": listing("/dev"),
        "mounts": {line.split()[4]: line.split()[5] for line in read_all("/proc/self/mountinfo").splitlines()},
        "cgroups": {path: write(path + "/cgroup.procs") for path in groups()},
        "release_agents": [path for path in groups() if os.access(path + "/release_agent", os.W_OK)],
        "hosts": read("/etc/hosts"),
        "resolv_conf": read("/etc/resolv.conf"),
        "route": read("/proc/net/route"),
        "accept_ra": read("/proc/sys/net/ipv6/conf/eth0/accept_ra").strip(),
        "limits": list(resource.getrlimit(resource.RLIMIT_NOFILE)),
        "msgmax": read("/proc/sys/kernel/msgmax").strip(),
    }


def read_all(path: str) -> str:
    """The whole of a file."""
    with open(path, encoding="utf-8", errors="replace") as stream:
        return stream.read()


def groups() -> list[str]:
    """The control groups that are mounted."""
    kinds = ("cgroup", "cgroup2")
    lines = [line.split() for line in read_all("/proc/self/mounts").splitlines()]
    return [fields[1] for fields in lines if fields[2] in kinds]


def eat(megabytes: int) -> str:
    """Use memory in a child; how it ends."""
    child = os.fork()
    if child == 0:
        block = bytearray()
        for _step in range(megabytes):
            block += os.urandom(4096) * 256
        os._exit(0)
    return str(os.waitpid(child, 0)[1])


def fork(number: int) -> str:
    """Start children that wait; how many there are before the kernel refuses."""
    children: list[int] = []
    try:
        for _index in range(number):
            child = os.fork()
            if child == 0:
                import time

                time.sleep(600)
                os._exit(0)
            children.append(child)
    except OSError as error:
        answer = f"{len(children)} {errno.errorcode[error.errno or 0]}"
    else:
        answer = f"{len(children)} done"
    for child in children:
        os.kill(child, 9)
        os.waitpid(child, 0)
    return answer


class Answer(http.server.BaseHTTPRequestHandler):
    """One path for each deed."""

    def do_GET(self) -> None:
        """Answer a request."""
        url = urllib.parse.urlsplit(self.path)
        number = int(url.query or 0)
        deeds: dict[str, t.Callable[[], str]] = {
            "/inside": lambda: json.dumps(inside()),
            "/eat": lambda: eat(number),
            "/fork": lambda: fork(number),
            "/": lambda: os.environ.get("GREETING", "hello world"),
        }
        body = deeds[url.path]().encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: t.Any) -> None:
        """Say nothing: what the log holds is the tests' business."""


class Server(http.server.ThreadingHTTPServer):
    """Listens on both families."""

    address_family = socket.AF_INET6


if __name__ == "__main__":
    sys.stdout.write(f"serving as {os.environ.get('GREETING', 'hello world')}\n")
    sys.stdout.flush()
    Server(("::", int(os.environ.get("PORT", "80"))), Answer).serve_forever()
