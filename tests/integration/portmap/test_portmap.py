# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The module `nat_portmap` on the real kernel."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import typing as t

import pytest
from standins import CLOSED, Sender, Service, ask, generation, serve
from world import ATTACKER4, CLIENT4, CLIENT6, HOST4, HOST6, World, difference

WEB = "10.88.0.17"
OTHER4 = "198.51.100.77"
"""One more address of the host."""


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

    gone = world.cycle("nat_portmap", name="web", state="absent")["portmap"]
    assert gone == {"name": "web", "state": "absent", "unconfirmed": False}
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


REFUSED: list[tuple[dict[str, t.Any], list[str]]] = [
    (one(0), ["1 to 65535"]),
    (one(65536), ["1 to 65535"]),
    (one("65530-65536"), ["65530-65536", "1 to 65535"]),
    (one(80, port=65536), ["port", "1 to 65535"]),
    (one("80-89", port="65530-65539"), ["65530-65539", "1 to 65535"]),
    (one("90-80"), ["90-80"]),
    (one("80-89", port="90-98"), ["equally long"]),
    (one("80-89", port="90-100"), ["equally long"]),
    (one("80-89", port=90), ["equally long"]),
    (one(80, port="80-89"), ["equally long"]),
    (one(80, "fd88::17", host_address="198.51.100.1"), ["family", "IPv4"]),
    (one(80, host_address=HOST6), ["family", "IPv6"]),
    (one(80, allow_from=["fd00::/8"]), ["family"]),
    (one(80, "fd88::17", deny_from=["10.0.0.0/8"]), ["family"]),
    (one(80, "fd88::17", host_address="::1"), ["::1", "route_localnet"]),
    (one(80, "fd88::17", host_address="[::1]"), ["::1", "route_localnet"]),
    (one(80, "web"), ["web"]),
    (one(80, "127.0.0.1"), ["loopback"]),
    (one(80, protocol="icmp"), ["icmp"]),
]


def test_refusals(world: World) -> None:
    """Bad input is refused before anything is changed, in check mode with the same words."""
    world.apply("nat_portmap", name="web", mappings=[one(79)])
    before = world.snapshot()
    tasks: list[tuple[dict[str, t.Any], list[str]]] = [
        ({"mappings": [one(81), mapping]}, words) for mapping, words in REFUSED
    ]
    tasks.append(({"service_addresses": [{"address": "10.88.255.7", "to": "fd88::17"}]}, ["family"]))
    for number, (args, words) in enumerate(tasks):
        message = world.module("nat_portmap", name="web", **args)["msg"]
        assert [word for word in words if word not in message] == [], message
        if number % 4 == 0:
            assert world.module("nat_portmap", check=True, name="web", **args)["msg"] == message
    assert difference(before, world.snapshot()) == {}


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


HOLDER = r"""
import os, socket, sys
held = []
for entry in sys.argv[1:]:
    kind, address, port = entry.split("/")
    s = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, getattr(socket, kind))
    s.bind((address, int(port)))
    if kind == "SOCK_STREAM":
        s.listen()
    held.append(s)
with open("/proc/self/comm", "w") as name:
    name.write("squatter")
print(os.getpid(), flush=True)
import time
time.sleep(600)
"""

EVERY4, EVERY6 = {"address": WEB}, {"address": "fd88::17"}
ONE4, ONE6 = {"address": WEB, "host_address": HOST4}, {"address": "fd88::17", "host_address": HOST6}
LOCAL = {"address": WEB, "host_address": "127.0.0.1"}
HELD: dict[str, tuple[int, list[dict[str, str]], list[dict[str, str]]]] = {
    # a socket's address: its port, mappings that it is in the way of, and those that it is not
    "0.0.0.0": (7001, [EVERY4, ONE4, LOCAL], [EVERY6]),
    HOST4: (7002, [EVERY4, ONE4], [LOCAL, EVERY6]),
    "127.0.0.1": (7003, [EVERY4, LOCAL], [ONE4, EVERY6]),
    "::": (7004, [EVERY4, EVERY6], []),
    HOST6: (7005, [EVERY6, ONE6], [EVERY4]),
    "::1": (7006, [], [EVERY4, EVERY6]),
}


def test_port_taken_by_a_process(world: World) -> None:
    """A port at which a socket of the host waits is refused, of tcp and udp, of all addresses and of one; its process is named, in check mode too."""
    kept = [one(7000, host_address="127.0.0.1"), one(7000, "fd88::18")]
    world.apply("nat_portmap", name="web", mappings=kept)
    kinds = {"tcp": "SOCK_STREAM", "udp": "SOCK_DGRAM"}
    sockets = [f"{kind}/{address}/{held[0]}" for kind in kinds.values() for address, held in HELD.items()]
    sockets.append("SOCK_STREAM/::/7000")
    holder = world.popen([sys.executable, "-c", HOLDER, *sockets], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    pid = holder.stdout.readline().strip()
    before = world.snapshot()
    free = []
    for protocol in kinds:
        for address, (port, taken, left) in HELD.items():
            free += [one(port, protocol=protocol, **where) for where in left]
            # of those that it is in the way of, the widest for tcp, the narrowest for udp
            for where in taken[:1] if protocol == "tcp" else taken[-1:]:
                mapping = one(port, protocol=protocol, **where)
                message = world.module("nat_portmap", check=True, name="other", mappings=[mapping])["msg"]
                for word in (f"process {pid} (squatter)", f"{protocol} {address} port {port}"):
                    assert word in message, mapping
    assert not world.module("nat_portmap", check=True, name="other", mappings=free).get("failed")
    assert difference(before, world.snapshot()) == {}

    message = world.refused("nat_portmap", name="other", mappings=[one(80), one("7001-7009", protocol="udp")])
    assert f"process {pid} (squatter)" in message
    assert "udp 7001-7009" in message
    world.cycle("nat_portmap", name="other", mappings=[*free, one(7001, protocol="sctp")])
    # What was published before the process came stays.
    assert not world.apply("nat_portmap", name="web", mappings=kept)["changed"]
    world.run(["kill", pid])
    holder.wait()
    world.apply("nat_portmap", name="udp", mappings=[one(7001, protocol="udp")])


def test_socket_of_ipv6_alone(world: World) -> None:
    """What waits at `::` of IPv6 alone is in the way of IPv6 alone."""
    hold = "s=socket.socket(10,{kind}); s.setsockopt(41,26,1); s.bind(('::',7007)); {listen}; held.append(s)"
    code = "; ".join(
        ["import socket,time; held=[]", hold.format(kind=1, listen="s.listen()"), hold.format(kind=2, listen="pass")]
    )
    process = world.popen(
        [sys.executable, "-c", code + "; print(1,flush=True); time.sleep(60)"], stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline()
    for protocol in ("tcp", "udp"):
        world.cycle("nat_portmap", name=protocol, mappings=[one(7007, protocol=protocol)])
        assert ":: port 7007" in world.refused(
            "nat_portmap", name="six", mappings=[one(7007, "fd88::17", protocol=protocol)]
        )


@pytest.mark.parametrize("address", [HOST4, "10.88.0.1", HOST6, WEB, "10.88.0.18"])
def test_service_address_of_somebody(world: World, address: str) -> None:
    """A service address is nobody's: neither the host's, nor an instance's."""
    world.apply("bridge", name="iso0", addresses=["10.88.0.1/24"])
    world.apply("nat_portmap", name="other", mappings=[one(80, "10.88.0.18")])
    to = "fd88::17" if ":" in address else "10.88.0.19"
    services = [{"address": address, "to": to}]
    message = world.refused("nat_portmap", name="web", mappings=[one(81)], service_addresses=services)
    assert f"service address {address}" in message


WEB6 = "fd88::17"
LENGTH = 6
RANGES: list[tuple[int, int, str]] = [
    # first port of the host, first of the service, where: numbers whose bits turn over in the middle
    (8190, 8190, "every"), (20190, 8190, "every"),
    (16382, 16382, "one"), (26382, 16382, "one"),
    (32766, 32766, "local"), (36766, 32766, "local"),
]  # fmt: skip


def test_every_port_of_a_range(world: World) -> None:
    """Kept and shifted ranges lead each port to its own, in every protocol and family; the ports beside them are closed."""
    protocols = ("tcp", "udp", "sctp")
    world.apply("bridge", name="iso0", addresses=["10.88.0.1/24", "fd88::1/64"])
    Service(world, "web", "iso0", [WEB, WEB6], ["10.88.0.1", "fd88::1"])
    inside = {port for _first, start, _where in RANGES for port in range(start - 1, start + LENGTH + 1)}
    serve(world, "web", *(f"{protocol}/{port}" for protocol in protocols for port in inside))
    mappings = []
    asked: dict[str, dict[tuple[str, str, int], str]] = {"client": {}, "host": {}}
    for first, start, where in RANGES:
        for six in (False,) if where == "local" else (False, True):
            host = "127.0.0.1" if where == "local" else HOST6 if six else HOST4
            ns, seen = ("host", "10.88.0.1") if where == "local" else ("client", CLIENT6 if six else CLIENT4)
            for protocol in protocols:
                ends = {"port": f"{start}-{start + LENGTH - 1}"} if start != first else {}
                place = {"host_address": host} if where != "every" else {}
                address = WEB6 if six else WEB
                mappings.append(one(f"{first}-{first + LENGTH - 1}", address, protocol=protocol, **ends, **place))
                for number in range(-1, LENGTH + 1):
                    answer = f"web:{start + number} {seen}" if 0 <= number < LENGTH else CLOSED
                    asked[ns][protocol, host, first + number] = answer
    world.apply("nat_portmap", name="web", mappings=mappings)
    for ns, expected in asked.items():
        assert ask(world, ns, *expected) == expected


def test_service_address_with_its_ports(world: World) -> None:
    """F11: a service address goes to another instance in the same transaction as its ports; connections stay, UDP clients follow."""
    world.apply("bridge", name="iso0", addresses=["10.88.0.1/24", "fd88::1/64"])
    for name, last in (("old", 2), ("new", 3), ("peer", 4)):
        Service(world, name, "iso0", [f"10.88.0.{last}", f"fd88::{last}"], ["10.88.0.1", "fd88::1"])
        if name != "peer":
            serve(world, name, "tcp/3000", "udp/3000")

    def release(last: int) -> dict[str, t.Any]:
        addresses = (f"10.88.0.{last}", f"fd88::{last}")
        return {
            "name": "web",
            "mappings": [one(8080, address, port=3000, protocol="udp") for address in addresses],
            "service_addresses": [
                {"address": stable, "to": to} for stable, to in zip(("10.87.0.7", "fd87::7"), addresses)
            ],
        }

    world.apply("nat_portmap", **release(2))
    senders = [Sender(world, host, 8080, "udp") for host in (HOST4, HOST6)]
    senders += [Sender(world, stable, 3000, "udp", "peer") for stable in ("10.87.0.7", "fd87::7")]
    for sender in senders:
        sender.until("old:3000")
    before = generation(world)
    changed = world.apply("nat_portmap", **release(3))
    assert generation(world) - before == 1
    assert "service address 10.87.0.7: 10.88.0.3" in lines(changed)
    for sender in senders:
        sender.until("new:3000")
    stable = ("tcp", "10.87.0.7", 3000)
    assert ask(world, "peer", stable)[stable] == "new:3000 10.88.0.4"


TRACKED = r"""
import json, socket
from pyroute2 import NFCTSocket
from pyroute2.netlink.nfnetlink.nfctsocket import NFCTAttrTuple
found = []
for family in (socket.AF_INET, socket.AF_INET6):
    table = NFCTSocket(nfgen_family=family)
    for message in table.dump():
        entry = NFCTAttrTuple.from_netlink(family, message.get_attr("CTA_TUPLE_ORIG"))
        found.append([entry.proto, entry.saddr, entry.daddr, entry.dport, message.get_attr("CTA_ID")])
    table.close()
print(json.dumps(found))
"""


def tracked(world: World) -> dict[int, tuple[int, str, str, int]]:
    """Tracked connections by their numbers: protocol, source, destination and its port, before translation."""
    listed = json.loads(world.run([sys.executable, "-c", TRACKED]).stdout)
    return {number: (protocol, *rest) for protocol, *rest, number in listed if protocol in (6, 17)}


def test_only_changed_udp_entries_go(world: World) -> None:
    """F11: of tracked connections only those go that the change leaves behind: of UDP, of its family, its addresses and its ports."""
    world.apply("bridge", name="iso0", addresses=["10.88.0.1/24", "fd88::1/64"])
    world.sh(f"ip addr add {OTHER4}/24 dev lan0")
    for name, last in (("old", 2), ("new", 3)):
        Service(world, name, "iso0", [f"10.88.0.{last}", f"fd88::{last}"], ["10.88.0.1", "fd88::1"])
    for ns in ("old", "new", "client", "host"):
        serve(world, ns, "udp/3000", "tcp/3000", *(["udp/8080"] if ns == "client" else []))
    udp = {"protocol": "udp", "port": 3000}
    before = [
        one(8080, "10.88.0.2", **udp),
        one(8080, "fd88::2", **udp),
        one(8080, "10.88.0.2", port=3000),
        one(8081, "10.88.0.2", **udp),
        one(8082, "10.88.0.2", host_address=HOST4, **udp),
        one(8082, "10.88.0.2", host_address=OTHER4, **udp),
    ]
    dns = {"name": "dns", "mappings": [one(53, "10.88.0.3", **udp)]}
    stable = {"address": "10.87.0.7", "to": "10.88.0.2"}
    world.apply("nat_portmap", aggregate=[{"name": "web", "mappings": before, "service_addresses": [stable]}, dns])
    asked = {
        "client": [
            ("udp", HOST4, 8080), ("udp", OTHER4, 8080), ("tcp", HOST4, 8080), ("udp", HOST6, 8080), ("udp", HOST4, 8081),
            ("udp", HOST4, 8082), ("udp", OTHER4, 8082), ("udp", HOST4, 53), ("udp", HOST4, 3000),
        ],
        "attacker": [("udp", HOST4, 8080)],
        "host": [("udp", CLIENT4, 8080), ("udp", "10.87.0.7", 3000), ("udp", "127.0.0.1", 8080)],
        "new": [("udp", CLIENT4, 8080), ("udp", "10.87.0.7", 3000)],
    }  # fmt: skip
    for ns, targets in asked.items():
        assert CLOSED not in ask(world, ns, *targets).values()
    known = tracked(world)

    def gone(*elements: dict[str, t.Any]) -> set[tuple[str, str, int]]:
        world.apply("nat_portmap", aggregate=list(elements))
        nonlocal known
        left = tracked(world)
        lost = {known[number] for number in {*known} - {*left}}
        known = {number: entry for number, entry in known.items() if number in left}
        assert {protocol for protocol, *_rest in lost} <= {17}
        return {(source, target, port) for _protocol, source, target, port in lost}

    moved = [one(8080, "10.88.0.3", **udp), *before[1:]]
    web = {"name": "web", "mappings": moved, "service_addresses": [stable]}
    assert gone(web) == {
        (CLIENT4, HOST4, 8080),
        (CLIENT4, OTHER4, 8080),
        (ATTACKER4, HOST4, 8080),
        ("127.0.0.1", "127.0.0.1", 8080),
    }
    assert gone({**web, "mappings": moved[:-1]}) == {(CLIENT4, OTHER4, 8082)}
    assert gone({"name": "dns", "state": "absent"}) == {(CLIENT4, HOST4, 53)}
    assert gone({**web, "mappings": moved[:1] + moved[2:-1]}) == {(CLIENT6, HOST6, 8080)}
    followed = {"address": "10.87.0.7", "to": "10.88.0.3"}
    assert gone({**web, "mappings": moved[:1] + moved[2:-1], "service_addresses": [followed]}) == {
        (HOST4, "10.87.0.7", 3000),
        ("10.88.0.3", "10.87.0.7", 3000),
    }
    # The same again, and others beside it, concern nobody.
    assert gone({"name": "dns", "mappings": [one(54, "10.88.0.3", **udp)]}) == set()


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
    sender = Sender(world, host, 8080, "udp")
    sender.until("closed")
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
        sender.until(answer)
    world.apply("nat_portmap", name="web", state="absent")
    sender.until("closed")

    # By nft alone, without what is tracked being forgotten, a client stays where it is.
    world.apply("nat_portmap", name="web", mappings=[steps[0][0]])
    sender.until("old:3000")
    map_ = "inet isolation_nat any6" if ":" in host else "inet isolation_nat any4"
    world.sh(f"nft 'delete element {map_} {{ udp . 8080 }}; add element {map_} {{ udp . 8080 : {new} . 3000 }}'")
    seen = len(sender.answers)
    time.sleep(1)
    sender.stays("old:3000", seen)


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
