# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The probe, which also tries what others have escaped by, and tells how each attempt ended.

It runs inside services and, for what frames a host sees, on the host (attempts.py watch INTERFACE SECONDS).
expectations.py has what is to come of each attempt, under the same words.
"""

from __future__ import annotations

import ctypes
import errno
import ipaddress
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import typing as t
import urllib.parse

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import probe  # type: ignore[import-not-found]

MASKED = """/proc/acpi /proc/asound /proc/interrupts /proc/kcore /proc/keys /proc/latency_stats /proc/sched_debug /proc/scsi
/proc/timer_list /proc/timer_stats /sys/devices/virtual/powercap /sys/firmware"""
READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/sys")
SETTINGS = (
    "/proc/sysrq-trigger",
    "/proc/sys/kernel/core_pattern",
    "/proc/sys/kernel/modprobe",
    "/sys/kernel/uevent_helper",
)
CALLS = """add_key bpf fsopen init_module io_uring_setup keyctl mount mount_setattr move_mount open_by_handle_at open_tree
perf_event_open pivot_root process_vm_readv ptrace reboot setns settimeofday swapon umount2 unshare userfaultfd"""
KINDS = {
    "arp": "an ARP answer for another's address",
    "ip": "another's IPv4 address",
    "ip6": "another's IPv6 address",
    "ra": "a router advertisement",
    "na": "a neighbor advertisement for another's address",
    # The last one: if it works, what is for the other comes here from then on.
    "mac": "another's MAC address",
}
KEXEC_LOAD = 246
SOCKET = 41
X32 = 0x40000000
Answers = t.Dict[str, t.Dict[str, str]]


def attempt(deed: t.Callable[..., t.Any], *arguments: t.Any) -> str:
    """The name of the error that a deed ends with; "done" if there is none."""
    try:
        deed(*arguments)
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return "done"


def together(answers: t.Iterable[str]) -> str:
    """Each of some answers, once."""
    return " ".join(sorted(set(answers)))


def open_for_writing(path: str) -> str:
    """How opening a file for writing ends. It is not written to."""
    return attempt(lambda: os.close(os.open(path, os.O_WRONLY)))


def content(path: str) -> str:
    """What is to be seen of a path."""
    if not os.path.exists(path):
        return "absent"
    seen = probe.listing(path) if os.path.isdir(path) else probe.read(path)
    return seen[:60] if isinstance(seen, str) and seen else str(seen) if seen else "empty"


def in_a_child(deed: t.Callable[[], str]) -> str:
    """What a deed answers that may be the end of who does it."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writer, deed().encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as stream:
        answer = stream.read()
    status = os.waitpid(child, 0)[1]
    return signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else answer


def socketcall() -> str:
    """Open a socket of AF_ALG by the call of 32-bit programs, whose arguments no filter sees: int 0x80 with eax 102 (socketcall(2))."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
    # readable, writable and executable; private, anonymous, and below 2 GiB, where its addresses have 32 bits
    page = libc.mmap(None, 4096, 7, 0x62, -1, 0)
    if page in (None, ctypes.c_void_p(-1).value):
        return errno.errorcode[ctypes.get_errno()]
    arguments = page + 64
    code = b"\x53\xbb\x01\0\0\0\xb9" + struct.pack("<I", arguments) + b"\xb8\x66\0\0\0\xcd\x80\x5b\xc3"
    ctypes.memmove(page, code, len(code))
    ctypes.memmove(arguments, struct.pack("<III", 38, socket.SOCK_SEQPACKET, 0), 12)
    result = ctypes.CFUNCTYPE(ctypes.c_int)(page)()
    return "done" if result >= 0 else errno.errorcode[-result]


def runtime_and_files() -> Answers:
    """What tries to reach the host's programs, descriptors and files."""
    return {
        "T1": {f"open {path} for writing": open_for_writing(path) for path in ("/proc/1/exe", "/dev/init")},
        "T2": {
            "descriptors at the start": STARTED,
            "descriptors of process 1": descriptors(1),
            "working directory": os.getcwd(),
        },
        "T3": {
            **{f"read {path}": content(path) for path in MASKED.split()},
            **{f"open {path} for writing": open_for_writing(path) for path in SETTINGS},
            **{f"change the mode of {path}": attempt(os.chmod, path, 0o777) for path in READ_ONLY},
        },
        "T4": {
            "remove /dev": attempt(os.rmdir, "/dev"),
            "rename /dev": attempt(os.rename, "/dev", "/elsewhere"),
            "rename /etc/hosts": attempt(os.rename, "/etc/hosts", "/etc/elsewhere"),
        },
    }


def kernel() -> Answers:
    """What tries system calls, control groups and identities."""
    groups = probe.groups()
    status = dict(line.split(":\t", 1) for line in probe.read("/proc/self/status").splitlines() if ":\t" in line)
    first, base, size = probe.read("/proc/self/uid_map").split()
    return {
        "T7": {
            **{f"call {name}": probe.call(name) for name in CALLS.split()},
            "call kexec_load": probe.errno_of(KEXEC_LOAD, 0, 0, 0, 0),
            "call clone with CLONE_NEWUSER": probe.call("clone"),
            "call clone3": probe.call("clone3"),
            "call personality with ADDR_NO_RANDOMIZE": probe.call("personality"),
            "open a socket of AF_ALG": probe.open_socket(38, socket.SOCK_SEQPACKET),
            "open a socket of AF_ALG with bits above the 32nd": probe.open_socket(1 << 32 | 38, socket.SOCK_SEQPACKET),
            "open a socket of AF_VSOCK": probe.open_socket(40),
            "open a socket of AF_ALG by the 32-bit socketcall": in_a_child(socketcall),
            "open a socket of AF_ALG by an x32 call": in_a_child(lambda: probe.errno_of(X32 | SOCKET, 38, 5, 0)),
        },
        "T8": {
            "mount a control group": probe.call("mount"),
            "open a release_agent for writing": together(open_for_writing(path + "/release_agent") for path in groups),
            "make a control group": together(attempt(os.mkdir, path + "/x") for path in groups),
            "open cgroup.procs for writing": together(open_for_writing(path + "/cgroup.procs") for path in groups),
            "see the control groups above its own": above(),
        },
        "T9": {
            "read a file that only the host's root may read": attempt(lambda: open("/data/private").close()),
            "read a file that all may read": attempt(lambda: open("/data/public").close()),
            "owner of the host's files": str(os.stat("/data/private").st_uid),
            "range of ids": f"{first} to {size}, far from the host's" if int(base) >= 1 << 20 else f"from {base}",
        },
        "T10": {
            "capabilities": together(value.lstrip("0") or "0" for key, value in status.items() if key[:3] == "Cap"),
            "no_new_privs": status["NoNewPrivs"],
            "seccomp": status["Seccomp"],
            "make a block device": attempt(lambda: os.mknod("/srv/block", 0o60600, os.makedev(8, 0))),
            "become another user": attempt(lambda: os.setuid(1000)),
            "writable mounts that obey setuid": " ".join(obeying()) or "none",
        },
        "T13": {"open a socket of AF_PACKET": probe.open_socket(17, socket.SOCK_RAW)},
    }


def descriptors(pid: int | str) -> str:
    """The descriptors of a process, without those of the listing itself; of those beside the first three, also what they are."""
    listed = probe.listing(f"/proc/{pid}/fd")
    if isinstance(listed, str):
        return listed
    found = []
    for fd in sorted(listed, key=int):
        path = f"/proc/{pid}/fd/{fd}"
        if os.path.lexists(path):
            found.append(fd if int(fd) < 3 else f"{fd} {os.readlink(path)}")
    return ", ".join(found)


def above() -> str:
    """Whether the paths of control groups tell where on the host they are."""
    paths = {line.split(":", 2)[2] for line in probe.read_all("/proc/self/cgroup").splitlines()}
    return "no" if paths <= {"/"} else " ".join(sorted(paths))


def obeying() -> list[str]:
    """Writable mounts on which a setuid file would count."""
    lines = [line.split() for line in probe.read_all("/proc/self/mountinfo").splitlines()]
    return [fields[4] for fields in lines if not {"nosuid", "ro"} & set(fields[5].split(","))]


def canary() -> str:
    """The effective user that a setuid program of root's runs as."""
    command = ["/srv/canary", "-c", "import os; print(os.geteuid(), end='')"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def hunt(seconds: float) -> str:
    """Open the programs of whatever appears for writing, for some time; what came of it."""
    until = time.monotonic() + seconds
    answers = set()
    while time.monotonic() < until:
        for pid in os.listdir("/proc"):
            if pid.isdigit() and int(pid) not in (1, os.getpid()):
                answers.add(open_for_writing(f"/proc/{pid}/exe"))
    return "never" if "done" not in answers else "opened"


def watch(interface: str, seconds: float) -> list[str]:
    """The marks of the frames that arrive at an interface."""
    found: set[str] = set()
    until = time.monotonic() + seconds
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as listener:
        listener.bind((interface, 3))
        listener.settimeout(0.1)
        while time.monotonic() < until:
            try:
                frame, sender = listener.recvfrom(2048)
            except socket.timeout:
                continue
            if sender[2] != 4:  # not those that go out
                found.update(mark.decode() for mark in re.findall(rb"mark:(\w+):", frame))
    return sorted(found)


def _checksum(data: bytes) -> int:
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _udp(source: bytes, target: bytes, mark: bytes) -> bytes:
    head = struct.pack("!BBHHHBBH", 0x45, 0, 28 + len(mark), 1, 0, 64, 17, 0) + source + target
    body = struct.pack("!HHHH", 4000, 9999, 8 + len(mark), 0) + mark
    return b"\x08\0" + head[:10] + struct.pack("!H", _checksum(head)) + head[12:] + body


def _icmp6(source: bytes, target: bytes, body: bytes) -> bytes:
    pseudo = source + target + struct.pack("!II", len(body), 58)
    body = body[:2] + struct.pack("!H", _checksum(pseudo + body)) + body[4:]
    return b"\x86\xdd" + struct.pack("!IHBB", 6 << 28, len(body), 58, 255) + source + target + body


def frames(kind: str, own: tuple[str, ...], victim: tuple[str, ...], other: tuple[str, ...]) -> bytes:
    """A frame that would have the victim take the sender for the other; each is a MAC, an IPv4 and an IPv6 address."""
    mac, mac_to, mac_other = (bytes.fromhex(entry[0].replace(":", "")) for entry in (own, victim, other))
    ip, ip_to, ip_other = (ipaddress.IPv4Address(entry[1]).packed for entry in (own, victim, other))
    ip6, ip6_to, ip6_other = (ipaddress.IPv6Address(entry[2]).packed for entry in (own, victim, other))
    link = ipaddress.IPv6Address("fe80::").packed[:8] + bytes([mac[0] ^ 2]) + mac[1:3] + b"\xff\xfe" + mac[3:]
    mark = f"mark:{kind}:".encode().ljust(14, b"\0")
    option = b"\xfd\x02" + mark  # one for experiments (RFC 4727), which everybody passes over
    router = b"\x86\0\0\0" + struct.pack("!BBHII", 64, 0, 1800, 0, 0) + option
    neighbor = b"\x88\0\0\0\x60\0\0\0" + ip6_other + b"\x02\x01" + mac + option
    arp = struct.pack("!HHBBH", 1, 0x800, 6, 4, 2) + mac + ip_other + mac_to + ip_to + mark
    made = {
        "own": mac_to + mac + _udp(ip, ip_to, mark),
        "mac": mac_to + mac_other + _udp(ip, ip_to, mark),
        "arp": mac_to + mac + b"\x08\x06" + arp,
        "ip": mac_to + mac + _udp(ip_other, ip_to, mark),
        "ip6": mac_to + mac + _icmp6(ip6_other, ip6_to, b"\x80\0\0\0" + bytes(4) + mark),
        "ra": bytes.fromhex("333300000001") + mac + _icmp6(link, ipaddress.IPv6Address("ff02::1").packed, router),
        "na": mac_to + mac + _icmp6(ip6, ip6_to, neighbor),
    }
    return made[kind]


def spoof(query: str) -> str:
    """Send frames of all kinds to the gateway and to a neighbour, and one packet to the neighbour as one should."""
    wanted = json.loads(urllib.parse.unquote(query))
    own, gate, peer = (tuple(wanted[name]) for name in ("own", "gate", "peer"))
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sender:
        sender.bind(("eth0", 0))
        for kind in ("own", *KINDS):
            for _repeat in range(3):
                sender.send(frames(kind, own, peer, gate))
                sender.send(frames(kind, own, gate, peer))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as polite:
        polite.sendto(b"mark:routed:", (peer[1], 9999))
    return "sent"


def begin_watching(query: str) -> str:
    """Watch while others are asked. What was seen is kept in a file: an attack that works would cut off an answer."""

    def keep() -> None:
        marks = json.dumps(watch("eth0", float(query)))
        with open("/dev/shm/marks", "w", encoding="ascii") as stream:
            stream.write(marks)

    threading.Thread(target=keep).start()
    return "watching"


def tables() -> str:
    """What the neighbour believes: who is where, and which ways lead out."""
    arp = sorted((line.split()[0], line.split()[3]) for line in probe.read_all("/proc/net/arp").splitlines()[1:])
    routes = [
        line for line in probe.read_all("/proc/net/ipv6_route").splitlines() if line.startswith("0" * 32 + " 00 ")
    ]
    ways = sorted((line.split()[4], line.split()[-1]) for line in routes)
    return json.dumps([arp, ways])


def mac_address() -> str:
    """Its MAC address."""
    return str(probe.read("/sys/class/net/eth0/address")).strip()


DEEDS: dict[str, t.Callable[[str], str]] = {
    "/attempts": lambda _query: json.dumps({**runtime_and_files(), **kernel()}),
    "/canary": lambda _query: canary(),
    "/hunt": lambda query: hunt(float(query)),
    "/mac": lambda _query: mac_address(),
    "/base": lambda _query: probe.read("/proc/self/uid_map").split()[1],
    "/packet": lambda _query: probe.open_socket(17, socket.SOCK_RAW),
    "/since": lambda _query: probe.read("/proc/1/stat").rpartition(")")[2].split()[19],
    "/spoof": spoof,
    "/watch": begin_watching,
}


class Answer(probe.Answer):
    """The probe's deeds, and these."""

    def do_GET(self) -> None:  # noqa: N802 (the name is the library's)
        """Answer a request."""
        url = urllib.parse.urlsplit(self.path)
        if url.path not in DEEDS:
            super().do_GET()
            return
        body = DEEDS[url.path](url.query).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


STARTED = descriptors("self")

if __name__ == "__main__":
    if sys.argv[1:2] == ["watch"]:
        sys.stdout.write(json.dumps(watch(sys.argv[2], float(sys.argv[3]))))
    else:
        probe.Server(("::", 80), Answer).serve_forever()
