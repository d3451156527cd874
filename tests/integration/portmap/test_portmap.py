# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The module `nat_portmap` on the real kernel."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import typing as t

import pytest
from standins import CLOSED, Service, ask, serve
from world import CLIENT4, CLIENT6, HOST4, HOST6, World, difference

WEB = "10.88.0.17"


def one(host_port: t.Any, address: str = WEB, **more: t.Any) -> dict[str, t.Any]:
    return {"host_port": host_port, "address": address, **more}


MIXED = [
    one(80, port=3000),
    one(80, "fd88::17", port=3000),
    one(81, host_address="127.0.0.1"),
    one("9000-9009", protocol="udp"),
    one("8000-8009", port="9000-9009"),
    one("7000-7009", "fd88::17", protocol="sctp"),
    one("6000-6009", host_address="198.51.100.1", protocol="sctp"),
]


def lines(result: dict[str, t.Any], side: str = "after") -> list[str]:
    return str(result["diff"][0][side]).splitlines()


def test_life(world: World) -> None:
    """Published, found unchanged, changed in one transaction, gone without a trace."""
    clean = world.snapshot()
    made = world.cycle(
        "nat_portmap", name="web", mappings=MIXED, service_addresses=[{"address": "10.88.255.7", "to": WEB}]
    )
    assert {f"tcp 80: {WEB}:3000", f"tcp 8000-8009: {WEB}:9000-9009", "tcp [::]:80: [fd88::17]:3000"} <= set(
        lines(made)
    )
    assert len(lines(made)) == len(MIXED) + 1
    exposed = {(item["protocol"], item["host_port"]) for item in made["portmap"]["exposed"]}
    assert ("tcp", 80) in exposed
    assert ("tcp", 81) not in exposed

    other = world.cycle("nat_portmap", name="dns", mappings=[one(53, protocol="udp")])
    assert lines(other) == [f"udp 53: {WEB}:53"]
    moved = [one(80, "10.88.0.18", port=3000), one("8005-8014", port="9001-9010"), one("9005-9019", protocol="udp")]
    changed = world.cycle("nat_portmap", name="web", mappings=moved)
    assert f"tcp 80: {WEB}:3000" in lines(changed, "before")
    assert "tcp 80: 10.88.0.18:3000" in lines(changed)
    assert f"service address 10.88.255.7: {WEB}" in lines(changed, "before")
    assert "53" in world.run(["nft", "list", "map", "inet", "isolation_nat", "any4"]).stdout

    assert world.cycle("nat_portmap", name="web", state="absent")["portmap"] == {"name": "web", "state": "absent"}
    assert not world.cycle("nat_portmap", name="web", state="absent")["changed"]
    assert world.cycle("nat_portmap", name="dns", state="absent")["changed"]
    assert difference(clean, world.snapshot()) == {}


@pytest.mark.parametrize(
    "damage",
    [
        "nft flush ruleset",
        "nft delete table inet isolation_nat",
        "nft flush chain inet isolation_nat guard",
        "nft add rule inet isolation_nat publish accept",
        "nft delete element inet isolation_nat any4 '{ tcp . 80 }'",
        "nft delete element inet isolation_nat any4 '{ tcp . 80 }'; nft add element inet isolation_nat any4 '{ tcp . 80 : 10.0.0.1 . 80 }'",
        "nft add element inet isolation_nat any4 '{ tcp . 99 comment \"web\" : 10.0.0.1 . 80 }'",
        "rm /etc/isolation/nat.nft",
        "rm -r /etc/isolation/boot.d",
        "rm /usr/local/libexec/isolation/boot",
    ],
)
def test_drift(world: World, damage: str) -> None:
    """Whatever was taken away or added is seen in check mode and put right."""
    world.apply("nat_portmap", name="web", mappings=MIXED)
    good = world.snapshot()
    world.sh(damage)
    assert world.cycle("nat_portmap", name="web", mappings=MIXED)["changed"]
    assert difference(good, world.snapshot()) == {}


def test_many_owners(world: World) -> None:
    """Ports move between owners in one task; another owner's flushed ports come back with the table."""
    world.cycle("nat_portmap", aggregate=[{"name": "a", "mappings": [one(80)]}, {"name": "b", "mappings": [one(81)]}])
    world.cycle("nat_portmap", aggregate=[{"name": "a", "mappings": [one(81)]}, {"name": "b", "mappings": [one(80)]}])
    world.cycle(
        "nat_portmap", aggregate=[{"name": "a", "state": "absent"}, {"name": "b", "mappings": [one(80), one(81)]}]
    )
    world.cycle("nat_portmap", name="c", mappings=[one(82)])
    world.sh("nft flush ruleset")
    world.cycle("nat_portmap", name="c", mappings=[one(82)])
    assert not world.module("nat_portmap", check=True, name="b", mappings=[one(80), one(81)])["changed"]


def test_boot(world: World) -> None:
    """After a reboot the boot helper brings the table back."""
    world.apply("nat_portmap", name="web", mappings=MIXED)
    good = world.snapshot()
    world.sh("nft flush ruleset; rm /run/isolation/booted; /usr/local/libexec/isolation/boot")
    assert difference(good, world.snapshot()) == {}
    assert not world.module("nat_portmap", check=True, name="web", mappings=MIXED)["changed"]


@pytest.mark.parametrize(
    ("mapping", "words"),
    [
        (one(0), ["1 to 65535"]),
        (one(65536), ["1 to 65535"]),
        (one("90-80"), ["90-80"]),
        (one("80-89", port="90-98"), ["equally long"]),
        (one("80-89", port=90), ["equally long"]),
        (one(80, "fd88::17", host_address="198.51.100.1"), ["family"]),
        (one(80, "fd88::17", host_address="::1"), ["::1", "route_localnet"]),
        (one(80, "fd88::17", host_address="[::1]"), ["::1", "route_localnet"]),
        (one(80, "web"), ["web"]),
        (one(80, "127.0.0.1"), ["loopback"]),
        (one(80, protocol="icmp"), ["icmp"]),
    ],
)
def test_refusals(world: World, mapping: dict[str, t.Any], words: list[str]) -> None:
    """Bad input is refused before anything is changed."""
    message = world.refused("nat_portmap", name="web", mappings=[mapping])
    for word in words:
        assert word in message


def test_conflicts(world: World) -> None:
    """A port is published once; who has it is named."""
    assert "already" in world.refused("nat_portmap", name="web", mappings=[one("80-90"), one(85, port=1)])
    assert "already" in world.refused("nat_portmap", name="web", mappings=[one(85), one(85, host_address="127.0.0.1")])
    pair = [{"name": "a", "mappings": [one(80)]}, {"name": "b", "mappings": [one(80)]}]
    assert "belongs to a" in world.refused("nat_portmap", aggregate=pair)
    world.apply("nat_portmap", name="first", mappings=[one("80-90")], project="one")
    assert "belongs to first" in world.refused(
        "nat_portmap", name="web", mappings=[one(85, host_address="198.51.100.1")]
    )
    assert "'one'" in world.refused("nat_portmap", name="first", state="absent")
    world.cycle("nat_portmap", name="web", mappings=[one(85, protocol="udp"), one(85, "fd88::17")])


def test_port_taken_by_a_process(world: World) -> None:
    """A port at which a process of the host listens is refused, and the process is named."""
    world.apply("nat_portmap", name="web", mappings=[one(8082)])
    serve(world, "host", "tcp/8080", "udp/8081", "tcp/8082")
    for mapping, what in (
        (one(8080), "tcp"),
        (one("8000-8100", protocol="udp"), "udp"),
        (one(8080, "fd88::17"), "tcp"),
    ):
        message = world.refused("nat_portmap", name="other", mappings=[mapping])
        assert what in message
        assert "process" in message
        assert "python" in message
    world.cycle("nat_portmap", name="other", mappings=[one(8080, protocol="udp")])
    assert not world.cycle("nat_portmap", name="web", mappings=[one(8082)])["changed"]
    found = re.search(r"process (\d+)", world.refused("nat_portmap", name="other", mappings=[one(8080)]))
    assert found
    world.run(["kill", found.group(1)])
    world.wait(lambda: ask(world, "host", ("tcp", "127.0.0.1", 8080))["tcp", "127.0.0.1", 8080] == CLOSED)
    world.cycle("nat_portmap", name="other", mappings=[one(8080)])


WEB6 = "fd88::17"

RANGES = [
    one(host_port, address, protocol=protocol, **({"port": port} if port else {}))
    for address in (WEB, WEB6)
    for protocol in ("tcp", "udp")
    for host_port, port in (("9000-9004", None), ("8000-8004", "9000-9004"))
]


def test_every_port_of_a_range(world: World) -> None:
    """Kept and shifted ranges lead each port to its own; the ports beside them are closed."""
    world.apply("bridge", name="iso0", addresses=["10.88.0.1/24", "fd88::1/64"])
    Service(world, "web", "iso0", [WEB, WEB6], ["10.88.0.1", "fd88::1"])
    serve(world, "web", *(f"{protocol}/{port}" for protocol in ("tcp", "udp") for port in range(8999, 9006)))
    world.apply("nat_portmap", name="web", mappings=RANGES)
    targets = [
        (protocol, host, port)
        for protocol in ("tcp", "udp")
        for host in (HOST4, HOST6)
        for first in (8000, 9000)
        for port in range(first - 1, first + 6)
    ]
    found = ask(world, "client", *targets)
    for protocol, host, port in targets:
        inside = 9000 + port % 1000
        expected = CLOSED if port % 1000 in (5, 999) else f"web:{inside} {CLIENT4 if host == HOST4 else CLIENT6}"
        assert found[protocol, host, port] == expected


SENDER = r"""
import socket, sys, time
s = socket.socket(socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("", 5555)); s.settimeout(0.1)
while True:
    try:
        s.sendto(b"?", (sys.argv[1], 8080))
        print(s.recv(64).decode(), flush=True)
    except OSError:
        print("closed", flush=True)
    time.sleep(0.02)
"""

UDP_ADDRESSES = {
    HOST4: {"old": "10.88.0.2", "new": "10.88.0.3"},
    HOST6: {"old": "fd88::2", "new": "fd88::3"},
}


@pytest.mark.parametrize("host", UDP_ADDRESSES)
def test_udp_follows(world: World, host: str) -> None:
    """F11: a client that goes on sending from one socket follows when its port is published, led elsewhere, and taken back."""
    world.apply("bridge", name="iso0", addresses=["10.88.0.1/24", "fd88::1/64"])
    addresses = UDP_ADDRESSES[host]
    for name, address in addresses.items():
        Service(world, name, "iso0", [address], ["fd88::1" if ":" in address else "10.88.0.1"])
        serve(world, name, "udp/3000", "udp/8080")
    sender = world.popen([sys.executable, "-c", SENDER, host], ns="client", stdout=subprocess.PIPE)
    answers: list[str] = []
    threading.Thread(target=lambda: answers.extend(sender.stdout or ()), daemon=True).start()

    def until(answer: str) -> None:
        world.wait(lambda: answers and answers[-1].startswith(answer), 1, answer)

    until("closed")
    old, new = addresses["old"], addresses["new"]
    steps: list[tuple[dict[str, t.Any], str]] = [
        (one(8080, old, port=3000, protocol="udp"), "old:3000"),
        (one(8080, new, port=3000, protocol="udp"), "new:3000"),
        (one("8080-8081", new, protocol="udp"), "new:8080"),
        (one("8080-8081", old, port="3000-3001", protocol="udp"), "old:3000"),
        (one(8080, new, port=3000, protocol="udp", host_address=host), "new:3000"),
    ]
    for mapping, answer in steps:
        world.apply("nat_portmap", name="web", mappings=[mapping])
        until(answer)
    world.apply("nat_portmap", name="web", state="absent")
    until("closed")


def test_thousands(world: World) -> None:
    """A thousand scattered ports are one transaction; the number of rules stays, and changing one changes one element."""
    mappings = [one(20000 + 7 * number, port=3000) for number in range(1000)]
    count = "nft -a list table inet isolation_nat | grep -c 'dnat'"
    world.apply("nat_portmap", name="one", mappings=[one(80)])
    rules = world.sh(count)
    world.apply("nat_portmap", name="many", mappings=mappings)
    assert world.sh(count) == rules
    mappings[500]["address"] = "10.88.0.18"
    changed = world.cycle("nat_portmap", name="many", mappings=mappings)
    assert lines(changed) == ["tcp 23500: 10.88.0.18:3000"]
