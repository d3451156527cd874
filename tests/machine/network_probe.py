# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a LAN client and a service see while somebody flushes a host's ruleset. Runs on the machine of network.yml.

network_probe.py serve                          be the service: echo on tcp and udp 3000 (published as 80) and 3001 (not published),
                                                and send a datagram from a new socket to the client every 50 ms
network_probe.py look                           links, addresses, routes and routing rules, in a form that can be compared
network_probe.py disturb ROUNDS LIMIT HOW COMMAND…
                                                scan and connect from the client while the command runs ROUNDS times; fails if
                                                what is not published was open, or what is was away for more than LIMIT ms.
                                                HOW is `flushes` or `keeps`: whether our tables go each time; or `opens`: they
                                                go, and the scan fails unless it finds open what else must never be
network_probe.py flows COMMAND…                 how established flows fare that send, or are silent, while the command runs

All of them print JSON. `disturb` and `flows` start in the host's network namespace.
"""

from __future__ import annotations

import collections
import contextlib
import ctypes
import errno
import json
import os
import selectors
import socket
import statistics
import struct
import subprocess
import sys
import threading
import time
import typing as t

CLIENT_NETNS = "/run/netns/client"
HOST4, HOST6 = "198.51.100.1", "2001:db8:1::1"
CLIENT4, CLIENT6 = "198.51.100.2", "2001:db8:1::2"
SERVICE4, SERVICE6 = "10.88.0.2", "fd88::2"
BRIDGE4, BRIDGE6 = "10.88.0.1", "fd88::1"
SINK, OWN = 5353, 2222
"""Ports of the client and of the host itself."""
PATIENCE = 0.4
"""Seconds after which an attempt counts as refused."""

TARGETS = {
    # name: protocol, address, port, seconds between attempts
    "published tcp v4": ("tcp", HOST4, 80, 0.04),
    "published tcp v6": ("tcp", HOST6, 80, 0.04),
    "unpublished tcp v4": ("tcp", SERVICE4, 3001, 0.05),
    "unpublished tcp v6": ("tcp", SERVICE6, 3001, 0.05),
    "unpublished udp v4": ("udp", SERVICE4, 3001, 0.05),
    "unpublished udp v6": ("udp", SERVICE6, 3001, 0.05),
    "unpublished on the host v4": ("tcp", HOST4, 3001, 0.2),
    "unpublished on the host v6": ("tcp", HOST6, 3001, 0.2),
    "published directly v4": ("tcp", SERVICE4, 3000, 0.1),
    "published directly v6": ("tcp", SERVICE6, 3000, 0.1),
    # The kernel looks for its own addresses before any rule of ours: these two can't be closed without tables.
    "bridge's own address v4": ("tcp", BRIDGE4, OWN, 0.1),
    "bridge's own address v6": ("tcp", BRIDGE6, OWN, 0.1),
}
NEVER_OPEN = [name for name in TARGETS if name.startswith(("unpublished", "published directly"))]
DIRECT = [name for name in NEVER_OPEN if "on the host" not in name]
"""What is closed by routing rules alone while tables are away."""
PUBLISHED = [name for name in TARGETS if name.startswith("published tcp")]


def family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def enter(path: str) -> None:
    """Take this thread, and those it starts, to another network namespace (setns(2))."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open(path, encoding="ascii") as namespace:
        if libc.setns(namespace.fileno(), 0x40000000) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), path)


def on_host(command: t.Sequence[str]) -> subprocess.CompletedProcess[str]:
    """The probe's own niceness is not for it."""
    return subprocess.run(
        ["nsenter", "--net=/proc/1/ns/net", "nice", "-n", "-5", *command],
        check=True, capture_output=True, text=True, timeout=60,
    )  # fmt: skip


# -- the service -----------------------------------------------------------------------------------------------------


def send_out() -> None:
    """Datagrams of new flows, so that each is translated, or not, by the tables of its moment."""
    while True:
        for address in (CLIENT4, CLIENT6):
            with contextlib.suppress(OSError), socket.socket(family(address), socket.SOCK_DGRAM) as out:
                out.sendto(b"!", (address, SINK))
        time.sleep(0.05)


def serve() -> None:
    poll = selectors.DefaultSelector()
    for port in (3000, 3001):
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            one = socket.socket(socket.AF_INET6, kind)
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            one.bind(("::", port))
            if kind == socket.SOCK_STREAM:
                one.listen(256)
            poll.register(one, selectors.EVENT_READ, "listener" if kind == socket.SOCK_STREAM else "udp")
    threading.Thread(target=send_out, daemon=True).start()
    print(json.dumps({"serving": True}), flush=True)
    while True:
        for key, _events in poll.select():
            one = t.cast("socket.socket", key.fileobj)
            with contextlib.suppress(BlockingIOError):
                if key.data == "listener":
                    poll.register(one.accept()[0], selectors.EVENT_READ, "tcp")
                elif key.data == "udp":
                    data, peer = one.recvfrom(2048)
                    with contextlib.suppress(OSError):
                        one.sendto(data, peer)
                else:
                    try:
                        data = one.recv(2048)
                        one.sendall(data)
                    except OSError:
                        data = b""
                    if not data:
                        poll.unregister(one)
                        one.close()


# -- links and routing -------------------------------------------------------------------------------------------------


def ip(*words: str) -> list[dict[str, t.Any]]:
    done = subprocess.run(["ip", "-json", "-details", *words], check=True, capture_output=True, text=True)
    return json.loads(done.stdout or "[]")  # type: ignore[no-any-return]


def look() -> dict[str, t.Any]:
    """All but the machine's own way out, whose lease and router advertisements come and go."""
    links, routes = {}, []
    for item in ip("address", "show"):
        if item["ifname"].startswith("en"):
            continue
        port = item.get("linkinfo", {}).get("info_slave_data", {})
        links[item["ifname"]] = {
            "index": item["ifindex"],
            **{key: item.get(key) for key in ("address", "mtu", "master", "group", "operstate")},
            "up": "UP" in item["flags"],
            "port": {key: port.get(key) for key in ("isolated", "hairpin", "state")},
            "addresses": sorted(f"{one['local']}/{one['prefixlen']}" for one in item["addr_info"] if "local" in one),
        }
    for version in ("-4", "-6"):
        for item in ip(version, "route", "show", "table", "all"):
            if not str(item.get("dev", "")).startswith("en"):
                kept = ("dst", "dev", "type", "protocol", "scope", "table", "metric", "gateway", "prefsrc")
                routes.append(" ".join(f"{key}={item[key]}" for key in kept if key in item))
    # Rules of one priority are of different subnets: their order says nothing.
    rules = {version: sorted(ip(version, "rule", "show"), key=json.dumps) for version in ("-4", "-6")}
    return {"links": links, "routes": sorted(routes), "rules": rules}


# -- the client --------------------------------------------------------------------------------------------------------


class Ruleset(threading.Thread):
    """When the table of published ports went, and when it came back, as the kernel tells (linux/netfilter/nf_tables.h)."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)
        self.socket.setsockopt(socket.SOL_SOCKET, 33, 1 << 22)  # SO_RCVBUFFORCE
        self.socket.bind((0, 1 << 6))
        self.gone: list[float] = []
        self.back: list[float] = []

    def restored(self, before: int) -> bool:
        """Whether the table is there again after a flush, of which there were `before` before."""
        return len(self.gone) > before and bool(self.back) and self.back[-1] > self.gone[before]

    def run(self) -> None:
        while True:
            try:
                data = self.socket.recv(1 << 18)
            except OSError as error:
                if error.errno == errno.ENOBUFS:
                    continue
                raise
            now, offset = time.monotonic(), 0
            while offset + 20 <= len(data):
                length, kind = struct.unpack_from("=IH", data, offset)
                if b"isolation_nat\0" in data[offset : offset + length]:
                    if kind == 10 << 8 | 2:
                        self.gone.append(now)
                    elif kind == 10 << 8:
                        self.back.append(now)
                offset += max(16, (length + 3) & ~3)


class Scan(threading.Thread):
    """Attempts at all targets, each when it is due; none waits for another."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.tried: collections.Counter[str] = collections.Counter()
        self.results: dict[str, list[tuple[float, float, bool]]] = {name: [] for name in TARGETS}
        """Begin, end and whether it was open, of each attempt that has ended."""
        self.stopping = False
        self._poll = selectors.DefaultSelector()
        self._pending: dict[socket.socket, tuple[str, float]] = {}

    def _begin(self, name: str) -> None:
        protocol, address, port, _every = TARGETS[name]
        one = socket.socket(family(address), socket.SOCK_DGRAM if protocol == "udp" else socket.SOCK_STREAM)
        one.setblocking(False)
        begun = time.monotonic()
        self.tried[name] += 1
        try:
            error = one.connect_ex((address, port))
            if protocol == "udp" and error == 0:
                one.send(b"?")
        except OSError as refusal:
            error = refusal.errno or errno.EIO
        if error not in (0, errno.EINPROGRESS):
            one.close()
            self.results[name].append((begun, time.monotonic(), False))
            return
        self._pending[one] = (name, begun)
        self._poll.register(one, selectors.EVENT_READ if protocol == "udp" else selectors.EVENT_WRITE)

    def _end(self, one: socket.socket, answered: bool) -> None:
        name, begun = self._pending.pop(one)
        self._poll.unregister(one)
        opened = answered
        if answered and TARGETS[name][0] == "udp":
            try:
                one.recv(64)
            except OSError:
                opened = False
        elif answered:
            opened = one.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
            # A reset instead of a goodbye, so that the kernel keeps nothing of it.
            one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        one.close()
        self.results[name].append((begun, time.monotonic(), opened))

    def run(self) -> None:
        due = dict.fromkeys(TARGETS, time.monotonic())
        while not self.stopping or self._pending:
            now = time.monotonic()
            for name in due if not self.stopping else ():
                if due[name] <= now:
                    due[name] = max(due[name] + TARGETS[name][3], now)
                    self._begin(name)
            for one, (_name, begun) in list(self._pending.items()):
                if now - begun > PATIENCE:
                    self._end(one, False)
            for key, _events in self._poll.select(max(0.001, min(due.values()) - time.monotonic())):
                self._end(t.cast("socket.socket", key.fileobj), True)


class Sink(threading.Thread):
    """As whom the service appears to the client."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.sources: collections.Counter[str] = collections.Counter()
        self.socket = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        self.socket.bind(("::", SINK))

    def run(self) -> None:
        while True:
            _data, peer = self.socket.recvfrom(64)
            self.sources[peer[0].replace("::ffff:", "")] += 1


class Own(threading.Thread):
    """A server of the host itself, on all its addresses. It costs next to nothing, unlike sshd."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.socket = socket.create_server(("::", OWN), family=socket.AF_INET6, dualstack_ipv6=True)

    def run(self) -> None:
        while True:
            self.socket.accept()[0].close()


def answers(scan: Scan, since: float) -> bool:
    """Whether each published port has answered an attempt that began after `since`."""
    return all(any(begun > since and opened for begun, _end, opened in scan.results[name][-40:]) for name in PUBLISHED)


def away(scan: Scan, gone: float) -> float | None:
    """Seconds from a flush until published ports answer for good: the end of the first success after the last failure.

    None if they do not answer yet.
    """
    longest = 0.0
    for name in PUBLISHED:
        after = [attempt for attempt in scan.results[name] if attempt[1] > gone]
        failed = max((begun for begun, _end, opened in after if not opened), default=None)
        if failed is not None:
            answered = min((end for begun, end, opened in after if opened and begun > failed), default=None)
            if answered is None:
                return None
            longest = max(longest, answered - gone)
    return longest


def shown(values: t.Sequence[float]) -> dict[str, t.Any]:
    """Milliseconds."""
    rounded = [round(value * 1000) for value in values]
    return {"median": statistics.median(rounded), "max": max(rounded), "all": rounded} if rounded else {}


def until(condition: t.Callable[[], bool], deadline: float) -> None:
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)


def disturb(rounds: int, limit: float, how: str, command: t.Sequence[str]) -> int:
    """Pauses differ from round to round: the helper is met at work, while it lingers, and gone."""
    ruleset = Ruleset()
    ruleset.start()
    Own().start()
    os.nice(5)  # A real client has a processor of its own.
    enter(CLIENT_NETNS)
    scan, sink = Scan(), Sink()
    scan.start()
    sink.start()
    flushes = how != "keeps"
    problems, missing, absent = [], [], []
    windows: list[tuple[float, float]] = []
    until(lambda: answers(scan, 0), time.monotonic() + 20)
    if not answers(scan, 0):
        problems.append("the published ports did not answer before")
    for number in range(rounds):
        begun, before = time.monotonic(), len(ruleset.gone)
        on_host(command)
        deadline = time.monotonic() + max(20, 2 * limit / 1000)
        if flushes:
            until(lambda before=before: ruleset.restored(before), deadline)  # type: ignore[misc]
        if (len(ruleset.gone) > before) is not flushes:
            problems.append(f"round {number}: our tables {'stayed' if flushes else 'went'}")
        gone = ruleset.gone[before] if len(ruleset.gone) > before else begun
        back = max((moment for moment in ruleset.back if moment > gone), default=gone)
        until(lambda back=back: answers(scan, back), deadline)  # type: ignore[misc]
        time.sleep((0.0, 0.4, 1.6)[number % 3] + 0.1)
        until(lambda gone=gone: away(scan, gone) is not None, deadline)  # type: ignore[misc]
        value = away(scan, gone)
        if value is None:
            problems.append(f"round {number}: a published port did not come back")
        else:
            missing.append(value)
        back = max((moment for moment in ruleset.back if moment > gone), default=gone)
        absent.append(back - gone)
        windows.append((gone, back))
    scan.stopping = True
    scan.join()
    opened = {name: sum(result[2] for result in results) for name, results in scan.results.items()}
    within = {
        name: sum(gone < begun < back for begun, _end, _opened in scan.results[name] for gone, back in windows)
        for name in NEVER_OPEN
    }
    if how == "opens":
        problems += [f"{name}: not found open" for name in DIRECT if not opened[name]]
    else:
        problems += [f"{name}: open {opened[name]} times" for name in NEVER_OPEN if opened[name]]
    if flushes and not any(within.values()):
        problems.append("nothing was tried while the tables were away")
    problems += [f"published ports were away for {value * 1000:.0f} ms" for value in missing if value * 1000 > limit]
    intervals = [
        later[0] - earlier[0]
        for name in NEVER_OPEN
        for earlier, later in zip(scan.results[name], scan.results[name][1:])
    ]
    report = {
        "command": " ".join(command),
        "rounds": rounds,
        "table away, ms": shown(absent),
        "published away, ms": shown(missing),
        "attempts": dict(scan.tried),
        "attempts while the table was away": within,
        "open": opened,
        "scan interval of unpublished, ms": round(statistics.median(intervals) * 1000),
        "service seen as": dict(sink.sources),
        "problems": problems,
    }
    print(json.dumps(report))
    return 1 if problems else 0


def flows(command: t.Sequence[str]) -> int:
    """Ten of each kind, through the published port."""
    ruleset = Ruleset()
    ruleset.start()
    enter(CLIENT_NETNS)
    alive: dict[str, list[socket.socket]] = {"sending": [], "silent": []}
    for index in range(20):
        one = socket.create_connection((HOST4 if index % 2 else HOST6, 80), timeout=3)
        alive["sending" if index < 10 else "silent"].append(one)
    failed: set[socket.socket] = set()

    def echo(one: socket.socket, text: bytes) -> bool:
        try:
            one.sendall(text)
            return one.recv(64) != b""
        except OSError:
            failed.add(one)
            return False

    stopping = threading.Event()

    def talk(one: socket.socket) -> None:
        while not stopping.is_set() and echo(one, b"x"):
            time.sleep(0.02)

    threads = [threading.Thread(target=talk, args=(one,)) for one in alive["sending"]]
    for thread in threads:
        thread.start()
    time.sleep(0.5)
    on_host(command)
    deadline = time.monotonic() + 20
    until(lambda: ruleset.restored(0), deadline)
    time.sleep(1)
    stopping.set()
    for thread in threads:
        thread.join()
    survived = {kind: sum(one not in failed and echo(one, b"y") for one in ones) for kind, ones in alive.items()}
    print(json.dumps({"command": " ".join(command), "of": 10, "survived": survived}))
    return 0 if survived["silent"] == 10 else 1


def main(arguments: t.Sequence[str]) -> int:
    verb = arguments[0] if arguments else ""
    if verb == "serve":
        serve()
    elif verb == "look":
        print(json.dumps(look(), indent=1, sort_keys=True))
        return 0
    elif verb == "disturb":
        return disturb(int(arguments[1]), float(arguments[2]), arguments[3], arguments[4:])
    elif verb == "flows":
        return flows(arguments[1:])
    sys.stderr.write(__doc__ or "")
    return 2


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
