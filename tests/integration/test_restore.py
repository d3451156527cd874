# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The helper that restores tables after a flush (F5), with a socket as systemd would hand it over."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest
from standins import CLOSED, Sender, Service, ask, serve
from world import COLLECTIONS, HOST4, HOST6, World

pytestmark = pytest.mark.alone

HELPER = COLLECTIONS / "ansible_collections/daemonless/isolation/plugins/module_utils/_host/helpers/restore.py"

LAUNCHER = """
import json, os, resource, select, socket, subprocess, sys
s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)
s.bind((0, 64))
os.dup2(s.fileno(), 3)
print("listening", flush=True)
while True:
    select.select([3], [], [])
    print("started", flush=True)
    subprocess.run([sys.executable, "-IS", sys.argv[1]], pass_fds=[3])
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print("ended, cpu", used.ru_utime + used.ru_stime, flush=True)
"""


def listen(world: World) -> None:
    """Start the helper whenever the ruleset changes, as the socket unit does; it ends with the world."""
    launcher = [sys.executable, "-c", LAUNCHER, str(HELPER)]
    world.popen(["sh", "-c", 'exec "$@" >/run/restore.log 2>&1', "sh", *launcher])
    world.wait(lambda: "listening" in told(world), 5, "the socket")


def told(world: World) -> str:
    """What the helper has said, and how often it was started."""
    return world.sh("cat /run/restore.log 2>/dev/null || true")


def prepare(world: World) -> None:
    world.apply("bridge", name="iso0", addresses=["10.88.0.1/24", "fd88::1/64"])
    world.apply("nat_portmap", name="web", mappings=[{"host_port": 80, "address": "10.88.0.2"}])


def tables(world: World) -> list[str]:
    """The ruleset; the order of tables is that in which they were made."""
    return sorted(world.sh("nft -s list ruleset").splitlines())


ADMINISTRATOR = "table inet isolation_bridge { chain admin-forward { tcp dport 25 drop; }; }"


def test_restored(world: World) -> None:
    """F5: flush after flush, everything is back in a moment, the administrator's rules, too, and a module finds nothing to do."""
    world.sh(f"mkdir -p /etc/isolation/nft.d; echo '{ADMINISTRATOR}' >/etc/isolation/nft.d/10-own.nft")
    prepare(world)
    before = tables(world)
    assert any("tcp dport 25" in line for line in before)
    listen(world)
    for pause in (0.0, 0.0, 0.3, 1.5):
        world.sh("nft flush ruleset")
        flushed = time.monotonic()
        world.wait(lambda: tables(world) == before, 2, "the tables")
        assert time.monotonic() - flushed < 1
        time.sleep(pause)
    assert not world.apply("nat_portmap", name="web", mappings=[{"host_port": 80, "address": "10.88.0.2"}])["changed"]
    # By one table only.
    world.sh("nft delete table bridge isolation_bridge")
    world.wait(lambda: tables(world) == before, 2, "the table")


SCAN = r"""
import socket, sys, time
seconds, *targets = sys.argv[1:]
opened, attempts, deadline = [], 0, time.monotonic() + float(seconds)
def answers(address, port):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as s:
        s.settimeout(0.04)
        try:
            s.connect((address, port))
            return True
        except OSError:
            return False
while time.monotonic() < deadline:
    for target in targets:
        address, _sep, port = target.partition("/")
        attempts += 1
        if answers(address, int(port)):
            opened.append(target)
print(attempts, *sorted(set(opened)))
"""

UNPUBLISHED = ["10.88.0.2/80", "10.88.0.2/4000", "fd88::2/4000", "198.51.100.1/4000", "2001:db8:1::1/4000"]


def test_closed_in_the_window(world: World) -> None:
    """F5: while the ruleset is flushed again and again, nothing opens that is not published. Without our routing rules it would."""
    prepare(world)
    Service(world, "web", "iso0", ["10.88.0.2", "fd88::2"], ["10.88.0.1", "fd88::1"])
    serve(world, "web", "tcp/80", "tcp/4000")

    def scan(seconds: float) -> tuple[int, list[str]]:
        scanner = world.popen(
            [sys.executable, "-c", SCAN, str(seconds), *UNPUBLISHED], ns="attacker", stdout=subprocess.PIPE
        )
        while scanner.poll() is None:
            world.sh("nft flush ruleset")
            time.sleep(0.1)
        attempts, *opened = scanner.communicate()[0].split()
        return int(attempts), opened

    assert not scan(0.5)[1]
    world.sh("/usr/local/libexec/isolation/boot again")
    listen(world)
    attempts, opened = scan(2)
    assert attempts >= 20
    assert not opened
    published = ("tcp", HOST4, 80)
    world.wait(lambda: ask(world, "client", published)[published] != CLOSED, 1, "the published port")
    world.sh("ip -4 rule del priority 104; ip -6 rule del priority 104")
    assert set(scan(1)[1]) >= {"10.88.0.2/4000", "fd88::2/4000"}, "the attack itself does not work"


FIREWALL = (
    "table inet firewall { chain input { type filter hook input priority 0; ct state established,related accept; }; }"
)


@pytest.mark.parametrize("host", [HOST4, HOST6])
@pytest.mark.parametrize("firewall", ["", FIREWALL])
def test_udp_that_began_in_the_window(world: World, host: str, firewall: str) -> None:
    """F5: a client that sent its first datagram while the tables were away, tracked by another ruleset or not, is served afterwards."""
    world.apply("bridge", name="iso0", addresses=["10.88.0.1/24", "fd88::1/64"])
    address, gateway = ("fd88::2", "fd88::1") if ":" in host else ("10.88.0.2", "10.88.0.1")
    Service(world, "web", "iso0", [address], [gateway])
    serve(world, "web", "udp/3000")
    mapping = {"host_port": 8080, "port": 3000, "protocol": "udp", "address": address}
    world.apply("nat_portmap", name="web", mappings=[mapping])
    earlier = Sender(world, host, 8080, "udp")
    earlier.until("web:3000")
    world.sh(f"nft 'flush ruleset; {firewall}'")
    sender = Sender(world, host, 8080, "udp")
    for one in (earlier, sender):
        one.until("closed")
    listen(world)
    world.sh("nft add table inet other")
    for one in (earlier, sender):
        one.until("web:3000")


def test_removed_for_good(world: World) -> None:
    """What a module removes stays removed."""
    clean = tables(world)
    prepare(world)
    listen(world)
    world.apply("nat_portmap", name="web", state="absent")
    world.apply("bridge", name="iso0", state="absent")
    time.sleep(1.5)
    assert tables(world) == clean


def test_storm(world: World) -> None:
    """Another tool that writes 1,000 rules, one by one, starts the helper once, which costs little."""
    prepare(world)
    listen(world)
    began = time.monotonic()
    world.sh(
        "nft add table inet other; nft add chain inet other c; for i in $(seq 1000); do nft add rule inet other c counter; done;"
        " nft delete table inet other"
    )
    took = time.monotonic() - began
    world.wait(lambda: "ended" in told(world), 5, "the helper's end")
    lines = told(world).splitlines()
    cpu = float(next(line for line in lines if line.startswith("ended, cpu")).split()[-1])
    print(f"1,000 rules in {took:.1f} s: {lines.count('started')} start, {cpu:.2f} s of CPU time")
    assert lines.count("started") == 1
    assert cpu < took / 10


def test_flushes_and_rules_together(world: World) -> None:
    """Neither many flushes in a row, nor a tool that never stops writing, keep the tables from coming back."""
    prepare(world)
    before = tables(world)
    listen(world)
    writer = world.popen(
        [
            "sh",
            "-c",
            "while [ ! -e /run/stop ]; do nft 'add table inet other; add chain inet other c; add rule inet other c counter'; done",
        ]
    )
    times = []
    for number in range(12):
        begun = time.monotonic()
        world.sh("nft flush ruleset")
        world.wait(lambda: len(world.sh("nft list tables | grep isolation || true").splitlines()) == 3, 2, "the tables")
        times.append(time.monotonic() - begun)
        time.sleep(0.3 * (number % 3))
    world.sh("touch /run/stop")
    writer.wait()
    world.sh("nft delete table inet other 2>/dev/null || true")
    print(f"back within {sorted(round(one, 2) for one in times)} s")
    assert max(times) < 1
    world.wait(lambda: tables(world) == before, 2, "the tables")


def test_refused(world: World) -> None:
    """A file that nft refuses is told once, and not tried again and again."""
    prepare(world)
    listen(world)
    world.sh("echo nonsense >>/etc/isolation/nat.nft; nft flush ruleset")
    time.sleep(2)
    assert 1 <= told(world).count("nft refused") <= 2
    assert "nat.nft" in told(world)
