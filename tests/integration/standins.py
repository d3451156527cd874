# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Stand-ins for services: network namespaces, small servers in them, and probes that ask them."""

from __future__ import annotations

import json
import subprocess
import sys
import typing as t

from world import World

from ansible_collections.daemonless.isolation.plugins.module_utils._bridge import ports

CLOSED = "closed"

SERVER = r"""
import selectors, socket, sys
name, *ports = sys.argv[1:]
def answer(s, name, port):
    # from the address that was asked, as a host with several must (ip(7), IP_PKTINFO; RFC 3542)
    _data, extra, _flags, peer = s.recvmsg(64, 128)
    reply = []
    for level, kind, data in extra:
        if level == socket.IPPROTO_IP:
            reply.append((level, kind, bytes(4) + data[8:12] + bytes(4)))
        elif level == socket.IPPROTO_IPV6:
            reply.append((level, kind, data[:16] + bytes(4)))
    s.sendmsg([f"{name}:{port} {peer[0]}".encode()], reply, 0, peer)
poll = selectors.DefaultSelector()
for entry in ports:
    protocol, _, port = entry.partition("/")
    kind = socket.SOCK_DGRAM if protocol == "udp" else socket.SOCK_STREAM
    number = socket.IPPROTO_SCTP if protocol == "sctp" else 0
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
        if protocol == "udp":
            answer(key.fileobj, name, port)
        else:
            connection, peer = key.fileobj.accept()
            connection.sendall(f"{name}:{port} {peer[0]}".encode())
            connection.close()
"""

PROBE = r"""
import json, socket, sys, threading
answers = {}
def ask(label, protocol, address, port):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    kind = socket.SOCK_DGRAM if protocol == "udp" else socket.SOCK_STREAM
    try:
        with socket.socket(family, kind, socket.IPPROTO_SCTP if protocol == "sctp" else 0) as s:
            s.settimeout(0.8)
            s.connect((address, port))
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

Target = t.Tuple[str, str, int]
"""Protocol, address, port."""


class Service:
    """A network namespace on a bridge: /32 and /128 addresses with an on-link gateway, and guarded as a service's link is."""

    def __init__(
        self, world: World, name: str, bridge: str, addresses: t.Sequence[str], gateways: t.Sequence[str]
    ) -> None:
        self.name = name
        self.port = f"v-{name}"
        lines = [f"ip netns add {name}", f"ip -n {name} link set lo up"]
        lines.append(f"ip link add {self.port} type veth peer name eth0 netns {name}")
        lines.append(f"ip link set {self.port} master {bridge} up; ip -n {name} link set eth0 up")
        for address, gateway in zip(addresses, gateways):
            six = ":" in address
            lines.append(f"ip -n {name} address add {address}/{128 if six else 32} dev eth0 {'nodad' if six else ''}")
            lines.append(f"ip -n {name} route add {gateway} dev eth0")
            lines.append(f"ip -n {name} route add default via {gateway} dev eth0")
        world.sh("; ".join(lines))
        self.mac = world.sh("cat /sys/class/net/eth0/address", ns=name).strip()
        six = next((address for address in addresses if ":" in address), None)
        four = next((address for address in addresses if ":" not in address), None)
        self._guard(world, bridge, four, six)

    def _guard(self, world: World, bridge: str, four: str | None, six: str | None) -> None:
        """As namespaced_service does it: a file in the instance's bundle, loaded at once."""
        folder = f"/var/lib/isolation/instances/{self.name}"
        text = ports.guard_file([ports.link_guard(self.port, bridge, self.mac, four, six)])
        world.run(
            ["sh", "-ec", f"mkdir -p {folder}; cat >{folder}/{ports.GUARD_FILE}; nft -f {folder}/{ports.GUARD_FILE}"],
            stdin=text,
        )


def serve(world: World, ns: str, *ports: str) -> subprocess.Popen[str]:
    """Start a server in a namespace that answers `NAME:PORT PEER` at ports such as `tcp/80`; returns when it listens."""
    process = world.popen([sys.executable, "-c", SERVER, ns, *ports], ns=ns, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def ask(world: World, ns: str, *targets: Target) -> dict[Target, str]:
    """What each target answers to a client in a namespace; `closed` if nothing."""
    probes = [[str(index), *target] for index, target in enumerate(targets)]
    done = world.run([sys.executable, "-c", PROBE, json.dumps(probes)], ns=ns)
    answers = json.loads(done.stdout)
    return {target: answers[str(index)] for index, target in enumerate(targets)}
