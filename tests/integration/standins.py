# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Stand-ins for services: network namespaces, small servers in them, and probes that ask them."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
import typing as t

from world import World

from ansible_collections.daemonless.isolation.plugins.module_utils._bridge import ports

CLOSED = "closed"

SCTP = r"""
import socket, struct
# Kernels without SCTP of their own carry its packets all the same: an INIT, and an INIT ACK with a text (RFC 9260, 3.3.2 and 3.3.3).
def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return struct.pack("<I", crc ^ 0xFFFFFFFF)
def packet(source, target, tag, kind, text=b""):
    text += bytes(-len(text) % 4)
    parameter = struct.pack("!HH", 7, 4 + len(text)) + text if text else b""
    chunk = struct.pack("!BBHIIHHI", kind, 0, 20 + len(parameter), 0x1234567, 65536, 1, 1, 1) + parameter
    head = struct.pack("!HHI", source, target, tag)
    return head + crc32c(head + bytes(4) + chunk) + chunk
"""

SERVER = r"""
import selectors, socket, struct, sys
name, *ports = sys.argv[1:]
def answer(s, name, port):
    # from the address that was asked, as a host with several must (ip(7), IP_PKTINFO; RFC 3542)
    _data, extra, _flags, peer = s.recvmsg(64, 128)
    reply = []
    for level, kind, data in extra:
        if level == socket.IPPROTO_IP:
            reply.append((level, kind, bytes(4) + data[8:12] + bytes(4)))
        elif level == socket.IPPROTO_IPV6:
            # A link-local source needs its link, also for a client that asks from another address.
            index = data[16:20] if data[:2] >= b"\xfe\x80" and data[:2] < b"\xfe\xc0" else bytes(4)
            reply.append((level, kind, data[:16] + index))
    s.sendmsg([f"{name}:{port} {peer[0]}".encode()], reply, 0, peer)
poll = selectors.DefaultSelector()
sctp = {int(entry[5:]) for entry in ports if entry.startswith("sctp/")}
for family in (socket.AF_INET, socket.AF_INET6) if sctp else ():
    s = socket.socket(family, socket.SOCK_RAW, 132)
    poll.register(s, selectors.EVENT_READ, ("sctp", family))
def answer_sctp(s, family):
    data, peer = s.recvfrom(2048)
    data = data[(data[0] & 15) * 4:] if family == socket.AF_INET else data
    source, port, _tag, _sum, kind = struct.unpack("!HHIIB", data[:13])
    if kind == 1 and port in sctp:
        tag, = struct.unpack("!I", data[16:20])
        text = f"{name}:{port} {peer[0]}".encode()
        s.sendto(packet(port, source, tag, 2, text), (peer[0], 0))
for entry in ports:
    protocol, _, port = entry.partition("/")
    if protocol == "sctp":
        continue
    kind = socket.SOCK_DGRAM if protocol == "udp" else socket.SOCK_STREAM
    number = 0
    for family, address in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
        s = socket.socket(family, kind, number)
        if family == socket.AF_INET6:
            s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if protocol == "udp" and family == socket.AF_INET:
            s.setsockopt(socket.IPPROTO_IP, 8, 1)
        elif protocol == "udp":
            s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        s.bind((address, int(port)))
        if protocol != "udp":
            s.listen(64)
        poll.register(s, selectors.EVENT_READ, (protocol, port))
print("ready", flush=True)
while True:
    for key, _ in poll.select():
        protocol, port = key.data
        if protocol == "sctp":
            answer_sctp(key.fileobj, port)
        elif protocol == "udp":
            answer(key.fileobj, name, port)
        else:
            connection, peer = key.fileobj.accept()
            connection.sendall(f"{name}:{port} {peer[0]}".encode())
            connection.close()
"""

PROBE = r"""
import contextlib, json, socket, struct, sys, threading, time
answers = {}
def ask_sctp(label, family, address, port):
    own = 20000 + label
    with socket.socket(family, socket.SOCK_RAW, 132) as s:
        deadline = time.monotonic() + 1.2
        request = packet(own, port, 0, 1)
        try:
            s.connect((address, 0))
            again = 0.0
            while time.monotonic() < deadline:
                # Every socket gets the answers to all: only after a pause is it time to ask again.
                if time.monotonic() >= again:
                    again = time.monotonic() + 0.3
                    with contextlib.suppress(OSError):
                        s.send(request)
                s.settimeout(max(0.001, again - time.monotonic()))
                try:
                    data = s.recv(2048)
                except OSError:  # also what came back for another port of the same host
                    continue
                data = data[(data[0] & 15) * 4:] if family == socket.AF_INET else data
                if struct.unpack("!HHIIB", data[:13])[::4] == (port, 2) and data[2:4] == struct.pack("!H", own):
                    return data[36:].rstrip(b"\0").decode()
        except OSError:
            pass
    return "closed"
def ask(label, protocol, address, port):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    kind = socket.SOCK_DGRAM if protocol == "udp" else socket.SOCK_STREAM
    if protocol == "sctp":
        answers[label] = ask_sctp(int(label), family, address, port)
        return
    try:
        with socket.socket(family, kind) as s:
            s.settimeout(0.8)
            # also of link-local addresses with their link, such as fe80::1%eth0
            s.connect(socket.getaddrinfo(address, port, family, kind)[0][4])
            if protocol == "udp":
                s.send(b"?")
            answers[label] = s.recv(64).decode() or "closed"
    except OSError:
        answers[label] = "closed"
threads = [threading.Thread(target=ask, args=probe) for probe in json.loads(sys.argv[1])]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(json.dumps(answers))
"""

KEEP_ASKING = r"""
import contextlib, socket, sys, time
address, port, kind = sys.argv[1], int(sys.argv[2]), sys.argv[3]
family = socket.AF_INET6 if ":" in address else socket.AF_INET
s = socket.socket(family, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
if kind == "tcp":
    s.connect((address, port))
while True:
    # What comes late is no answer to what is asked now.
    s.setblocking(False)
    with contextlib.suppress(OSError):
        while kind == "udp":
            s.recv(64)
    s.settimeout(0.15 if kind == "udp" else 2)
    try:
        s.send(b"?") if kind == "tcp" else s.sendto(b"?", (address, port))
        print(s.recv(64).decode().strip() or "ended", flush=True)
    except OSError:
        print("closed", flush=True)
    time.sleep(0.02)
"""

GENERATION = """
import socket, struct
# NFT_MSG_GETGEN (linux/netfilter/nf_tables.h): a header of netlink, one of nfnetlink; the number is the first attribute.
with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12) as s:
    s.send(struct.pack("=IHHII", 20, 10 << 8 | 16, 1, 1, 0) + bytes(4))
    print(struct.unpack_from("!I", s.recv(4096), 24)[0])
"""

Target = t.Tuple[str, str, int]
"""Protocol, address, port."""


class Service:
    """A network namespace on a bridge: /32 and /128 addresses with an on-link gateway, and guarded as a service's link is."""

    def __init__(
        self,
        world: World,
        name: str,
        bridge: str,
        addresses: t.Sequence[str],
        gateways: t.Sequence[str],
        l2: bool = False,
        routed: t.Sequence[int] = (),
    ) -> None:
        self.name = name
        self.port = f"v-{name}"
        self.routed = routed
        lines = [f"ip netns add {name}", f"ip -n {name} link set lo up"]
        lines.append(f"ip link add {self.port} type veth peer name eth0 netns {name}")
        lines.append(f"ip link set {self.port} master {bridge} up; ip -n {name} link set eth0 up")
        for address, gateway in zip(addresses, gateways):
            six = ":" in address
            length = (64 if six else 24) if l2 else (128 if six else 32)
            lines.append(f"ip -n {name} address add {address}/{length} dev eth0 {'nodad' if six else ''}")
            if not l2:
                lines.append(f"ip -n {name} route add {gateway} dev eth0")
            lines.append(f"ip -n {name} route add default via {gateway} dev eth0")
        world.sh("; ".join(lines))
        self.mac = world.sh("cat /sys/class/net/eth0/address", ns=name).strip()
        own6 = next((address for address in addresses if ":" in address), None)
        own4 = next((address for address in addresses if ":" not in address), None)
        self._guard(world, bridge, own4, own6)

    def _guard(self, world: World, bridge: str, four: str | None, six: str | None) -> None:
        """As namespaced_service does it: a file in the instance's bundle, loaded at once."""
        folder = f"/var/lib/isolation/instances/{self.name}"
        text = ports.guard_file([ports.link_guard(self.port, bridge, self.mac, four, six, self.routed)])
        world.run(
            ["sh", "-ec", f"mkdir -p {folder}; cat >{folder}/{ports.GUARD_FILE}; nft -f {folder}/{ports.GUARD_FILE}"],
            stdin=text,
        )


def serve(world: World, ns: str, *ports: str) -> subprocess.Popen[str]:
    """Start a server in a namespace that answers `NAME:PORT PEER` at ports such as `tcp/80`; returns when it listens."""
    process = world.popen([sys.executable, "-c", SCTP + SERVER, ns, *ports], ns=ns, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def ask(world: World, ns: str, *targets: Target) -> dict[Target, str]:
    """What each target answers to a client in a namespace; `closed` if nothing."""
    probes = [[str(index), *target] for index, target in enumerate(targets)]
    done = world.run([sys.executable, "-c", SCTP + PROBE, json.dumps(probes)], ns=ns)
    answers = json.loads(done.stdout)
    return {target: answers[str(index)] for index, target in enumerate(targets)}


class Sender:
    """Somebody who goes on asking from one socket."""

    def __init__(self, world: World, address: str, port: int, kind: str, ns: str = "client") -> None:
        argv = [sys.executable, "-c", KEEP_ASKING, address, str(port), kind]
        process = world.popen(argv, ns=ns, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.world = world
        self.answers: list[str] = []
        threading.Thread(target=lambda: self.answers.extend(process.stdout or ()), daemon=True).start()

    def last(self) -> str:
        """The first word of the newest answer."""
        self.world.wait(lambda: self.answers, what="an answer")
        return self.answers[-1].split()[0]

    def until(self, *answers: str) -> None:
        """It gets one of the answers within a second."""
        self.world.wait(lambda: self.last() in answers, 1, f"{self.last()} instead of {answers}")

    def stays(self, answer: str, since: int = 0) -> None:
        """It gets this answer, and got no other since."""
        time.sleep(0.3)
        assert self.last() == answer
        assert {line.split()[0] for line in self.answers[since:]} == {answer}


def generation(world: World) -> int:
    """The number of the ruleset, which every transaction raises by one."""
    return int(world.run([sys.executable, "-IS", "-c", GENERATION]).stdout)
