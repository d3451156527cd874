# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who reaches what, and as whom: bridges and published ports together on the real kernel."""

from __future__ import annotations

import typing as t

import pytest
from standins import CLOSED, Service, Target, ask, serve
from world import ATTACKER4, ATTACKER6, CLIENT4, CLIENT6, HOST4, HOST6, World

WEB4, WEB6 = "10.88.0.2", "fd88::2"
PEER4, PEER6 = "10.88.0.3", "fd88::3"
FAR4, FAR6 = "10.89.0.2", "fd89::2"
GATE4, GATE6 = "10.88.0.1", "fd88::1"
STABLE4, STABLE6 = "10.87.0.7", "fd87::7"

BRIDGES: list[dict[str, t.Any]] = [
    {"name": "iso0", "addresses": [f"{GATE4}/24", f"{GATE6}/64"]},
    {"name": "iso1", "addresses": ["10.89.0.1/24", "fd89::1/64"]},
]
MAPPINGS: list[dict[str, t.Any]] = [
    {"host_port": 8080, "protocol": protocol, "address": address, "port": 3000}
    for protocol in ("tcp", "udp")
    for address in (WEB4, WEB6)
] + [
    {"host_address": "127.0.0.1", "host_port": 8081, "protocol": protocol, "address": WEB4, "port": 3000}
    for protocol in ("tcp", "udp")
]


@pytest.fixture(params=[0, 1], ids=["bridge-nf-0", "bridge-nf-1"])
def stage(world: World, request: pytest.FixtureRequest) -> World:
    """Two services on one bridge, one on another, servers everywhere, ports published."""
    world.sh(
        f"sysctl -qw net.bridge.bridge-nf-call-iptables={request.param} net.bridge.bridge-nf-call-ip6tables={request.param}"
    )
    world.apply("bridge", aggregate=BRIDGES)
    Service(world, "web", "iso0", [WEB4, WEB6], [GATE4, GATE6])
    Service(world, "peer", "iso0", [PEER4, PEER6], [GATE4, GATE6])
    Service(world, "far", "iso1", [FAR4, FAR6], ["10.89.0.1", "fd89::1"])
    # As namespaced_service sets its ports: apart at L2, but where bridged packets pass the firewall, which can't lead them elsewhere then.
    flag = "hairpin" if request.param else "isolated"
    world.sh("; ".join(f"bridge link set dev v-{name} {flag} on" for name in ("web", "peer", "far")))
    stable = [{"address": STABLE4, "to": WEB4}, {"address": STABLE6, "to": WEB6}]
    world.cycle("nat_portmap", name="web", mappings=MAPPINGS, service_addresses=stable)
    for name, ports in {
        "web": ("3000", "4000"),
        "peer": ("3000",),
        "far": ("3000",),
        "host": ("7000",),
        "client": ("6000",),
    }.items():
        serve(world, name, *(f"{protocol}/{port}" for port in ports for protocol in ("tcp", "udp")))
    return world


def both(address: str, port: int) -> list[Target]:
    return [("tcp", address, port), ("udp", address, port)]


def check(world: World, ns: str, expected: t.Mapping[tuple[str, int], str]) -> None:
    """Every target, by tcp and udp, answers as expected."""
    targets = [target for address, port in expected for target in both(address, port)]
    found = ask(world, ns, *targets)
    assert found == {target: expected[target[1], target[2]] for target in targets}, ns


def test_published(stage: World) -> None:
    """Published ports are open to everybody, with the client's own address; nothing else is."""
    check(stage, "client", {
        (HOST4, 8080): f"web:3000 {CLIENT4}", (HOST6, 8080): f"web:3000 {CLIENT6}",
        (HOST4, 8081): CLOSED, (HOST4, 4000): CLOSED, (WEB4, 3000): CLOSED, (WEB6, 3000): CLOSED,
        (STABLE4, 3000): CLOSED, (STABLE6, 3000): CLOSED, (HOST4, 7000): f"host:7000 {CLIENT4}",
    })  # fmt: skip
    check(stage, "host", {
        (HOST4, 8080): f"web:3000 {HOST4}", (HOST6, 8080): f"web:3000 {HOST6}", (GATE4, 8080): f"web:3000 {GATE4}",
        ("127.0.0.1", 8080): f"web:3000 {GATE4}", ("127.0.0.1", 8081): f"web:3000 {GATE4}", ("::1", 8080): CLOSED,
        (STABLE4, 4000): f"web:4000 {HOST4}", (STABLE6, 4000): f"web:4000 {HOST6}", (WEB4, 4000): f"web:4000 {GATE4}",
    })  # fmt: skip
    check(stage, "peer", {
        (HOST4, 8080): f"web:3000 {PEER4}", (HOST6, 8080): f"web:3000 {PEER6}", (GATE4, 8080): f"web:3000 {PEER4}",
        (GATE6, 8080): f"web:3000 {PEER6}", (WEB4, 4000): f"web:4000 {PEER4}", (WEB6, 4000): f"web:4000 {PEER6}",
        (STABLE4, 4000): f"web:4000 {PEER4}", (STABLE6, 4000): f"web:4000 {PEER6}",
        (HOST4, 8081): CLOSED, (HOST4, 7000): CLOSED, (HOST6, 7000): CLOSED, (GATE4, 7000): CLOSED, (GATE6, 7000): CLOSED,
        (FAR4, 3000): CLOSED, (FAR6, 3000): CLOSED,
    })  # fmt: skip
    check(stage, "web", {
        (HOST4, 8080): f"web:3000 {GATE4}", (HOST6, 8080): f"web:3000 {GATE6}", (STABLE4, 3000): f"web:3000 {GATE4}",
        (CLIENT4, 6000): f"client:6000 {HOST4}", (CLIENT6, 6000): f"client:6000 {HOST6}",
    })  # fmt: skip
    check(stage, "far", {
        (HOST4, 8080): f"web:3000 {FAR4}", (HOST6, 8080): f"web:3000 {FAR6}", (WEB4, 3000): CLOSED, (WEB6, 3000): CLOSED,
        (GATE4, 8080): f"web:3000 {FAR4}", (STABLE4, 3000): CLOSED, (STABLE6, 3000): CLOSED, (GATE4, 7000): CLOSED, (HOST4, 7000): CLOSED,
    })  # fmt: skip


def test_attacks(stage: World) -> None:
    """A neighbour that routes to services through the host, or forges loopback addresses, gets nothing. Without our tables it would."""
    stage.sh(
        "ip addr del 127.0.0.1/8 dev lo; ip route add 127.0.0.0/8 via 198.51.100.1;"
        " sysctl -qw net.ipv4.conf.all.route_localnet=1",
        ns="attacker",
    )
    stage.sh("sysctl -qw net.ipv4.conf.lan0.route_localnet=1")
    direct = {(WEB4, 3000): CLOSED, (WEB6, 3000): CLOSED, (GATE4, 7000): CLOSED, (GATE6, 7000): CLOSED}
    check(stage, "attacker", {
        (HOST4, 8080): f"web:3000 {ATTACKER4}", (HOST6, 8080): f"web:3000 {ATTACKER6}",
        **direct, (GATE4, 8080): CLOSED, (GATE6, 8080): CLOSED,
        ("127.0.0.1", 8080): CLOSED, ("127.0.0.1", 8081): CLOSED, ("127.0.0.1", 7000): CLOSED,
    })  # fmt: skip
    stage.sh("nft flush chain inet isolation_nat guard")
    forged = ask(stage, "attacker", *both("127.0.0.1", 8081))
    assert set(forged.values()) == {f"web:3000 {ATTACKER4}"}, "the attack itself does not work"
    stage.sh("nft delete table inet isolation_bridge")
    # The routing rules hold without the tables; the bridge's own address is what they can't close.
    check(stage, "attacker", {
        (WEB4, 3000): CLOSED, (WEB6, 3000): CLOSED,
        (GATE4, 7000): f"host:7000 {ATTACKER4}", (GATE6, 7000): f"host:7000 {ATTACKER6}",
    })  # fmt: skip
    stage.sh("ip -4 rule del priority 104; ip -6 rule del priority 104")
    opened = ask(stage, "attacker", *(target for place in direct for target in both(*place)))
    assert CLOSED not in opened.values(), "the attack itself does not work"


def test_metadata(stage: World) -> None:
    """The cloud's metadata address is closed to services. Without our table it would not be."""
    stage.sh("ip addr add 169.254.169.254/32 dev eth0", ns="client")
    stage.sh("ip route add 169.254.169.254 via 198.51.100.2")
    check(stage, "web", {("169.254.169.254", 6000): CLOSED})
    stage.sh("nft flush chain inet isolation_bridge out-iso0")
    check(stage, "web", {("169.254.169.254", 6000): f"client:6000 {HOST4}"})


def test_modes(stage: World) -> None:
    """What the options of a bridge open and close, live."""
    out = {(CLIENT4, 6000): CLOSED, (CLIENT6, 6000): CLOSED}
    published = {(HOST4, 8080): f"web:3000 {CLIENT4}", (HOST6, 8080): f"web:3000 {CLIENT6}"}
    stage.cycle("bridge", **{**BRIDGES[0], "mode": "internal", "service_to_host": ["tcp/7000", "udp/6999-7001"]})
    check(stage, "web", {**out, (GATE4, 7000): f"host:7000 {WEB4}", (HOST6, 7000): f"host:7000 {WEB6}"})
    check(stage, "client", published)
    stage.cycle("bridge", **{**BRIDGES[0], "mode": "routed", "ipv6_mode": "nat"})
    check(
        stage,
        "web",
        {(CLIENT4, 6000): f"client:6000 {WEB4}", (CLIENT6, 6000): f"client:6000 {HOST6}", (GATE4, 7000): CLOSED},
    )
    check(stage, "client", {**published, (WEB4, 3000): CLOSED, (GATE4, 7000): CLOSED})
    stage.cycle("bridge", **{**BRIDGES[0], "trusted_interfaces": ["lan0"], "allow_bridges": ["iso1"]})
    check(stage, "client", {**published, (WEB4, 4000): f"web:4000 {CLIENT4}", (WEB6, 4000): f"web:4000 {CLIENT6}"})
    check(stage, "far", {(WEB4, 4000): f"web:4000 {FAR4}"})
    check(stage, "web", {(FAR6, 3000): f"far:3000 {WEB6}"})


def test_source_spoofing(stage: World) -> None:
    """A service that takes another's address gets no answer, and reaches nobody with it."""
    stage.sh("ip addr add 203.0.113.9/32 dev eth0; ip -6 addr add 2001:db8:9::9/128 dev eth0 nodad", ns="web")
    stage.sh("ip route change default via 10.88.0.1 dev eth0 src 203.0.113.9", ns="web")
    stage.sh("ip route add 203.0.113.9 dev iso0; nft add rule inet isolation_bridge spoof-iso0 counter")
    check(stage, "web", {(CLIENT4, 6000): CLOSED, (PEER4, 3000): CLOSED})
    stage.sh("nft flush chain bridge isolation_bridge link-v-web")
    check(stage, "web", {(CLIENT4, 6000): CLOSED, (PEER4, 3000): CLOSED})
    stage.sh("nft flush chain inet isolation_bridge spoof-iso0")
    assert CLOSED not in ask(stage, "web", ("udp", PEER4, 3000)).values(), "the attack itself does not work"
