# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Networks behind a bridge: who reaches them by a service that routes, or by a router behind a link of the host."""

from __future__ import annotations

import typing as t

import pytest
from standins import CLOSED, Service, Target, ask, serve
from world import CLIENT4, CLIENT6, HOST4, HOST6, World, difference

ROUTES = [{"to": "192.0.2.0/24", "via": "10.88.0.17"}, {"to": "2001:db8:9::/48", "via": "fd88::17"}]
ISO0: dict[str, t.Any] = {"name": "iso0", "addresses": ["10.88.0.1/24", "fd88::1/64"], "routes": ROUTES}
ISO1: dict[str, t.Any] = {"name": "iso1", "addresses": ["10.89.0.1/24", "fd89::1/64"]}
FAR4, FAR6 = "192.0.2.2", "2001:db8:9::2"
SIB4, SIB6 = "10.88.0.3", "fd88::3"
OTHER4, OTHER6 = "10.89.0.2", "fd89::2"


def at(four: str, six: str, port: int = 3000) -> list[Target]:
    return [(protocol, address, port) for protocol in ("tcp", "udp") for address in (four, six)]


def far_behind(world: World, gate: str) -> None:
    """A network behind a namespace, with a host `far` on it."""
    world.sh(
        "ip netns add far;"
        f" for name in far {gate}; do ip netns exec $name sysctl -qw net.ipv6.conf.default.accept_dad=0; done;"
        f" ip -n {gate} link add down0 type veth peer name eth0 netns far; ip -n far link set lo up;"
        f" ip netns exec {gate} sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1;"
        f" ip -n {gate} link set down0 up; ip -n far link set eth0 up;"
        f" ip -n {gate} addr add 192.0.2.1/24 dev down0; ip -n {gate} addr add 2001:db8:9::1/64 dev down0 nodad;"
        f" ip -n far addr add {FAR4}/24 dev eth0; ip -n far addr add {FAR6}/64 dev eth0 nodad;"
        " ip -n far route add default via 192.0.2.1; ip -n far route add default via 2001:db8:9::1;"
        # A router asks for its neighbors by a link-local address, and not before it is sure of it.
        f" until ! ip -n far -6 -o address show tentative | grep -q . && ! ip -n {gate} -6 -o address show tentative | grep -q .;"
        " do sleep 0.02; done"
    )
    serve(world, "far", "tcp/3000", "udp/3000")


@pytest.fixture(params=[0, 1], ids=["bridge-nf-0", "bridge-nf-1"])
def stage(world: World, request: pytest.FixtureRequest) -> World:
    """A service that routes, a sibling of it, and a service on another bridge."""
    world.sh(
        f"sysctl -qw net.bridge.bridge-nf-call-iptables={request.param} net.bridge.bridge-nf-call-ip6tables={request.param}"
    )
    made = world.apply("bridge", aggregate=[ISO0, ISO1])
    assert "route 192.0.2.0/24: via 10.88.0.17" in made["diff"][0]["after"]
    Service(world, "gate", "iso0", ["10.88.0.17", "fd88::17"], ["10.88.0.1", "fd88::1"], routed=(4, 6))
    Service(world, "sib", "iso0", [SIB4, SIB6], ["10.88.0.1", "fd88::1"])
    Service(world, "other", "iso1", [OTHER4, OTHER6], ["10.89.0.1", "fd89::1"])
    flag = "hairpin" if request.param else "isolated"
    world.sh(f"for link in gate sib other; do bridge link set dev v-$link {flag} on; done")
    far_behind(world, "gate")
    for name in ("sib", "other", "client"):
        serve(world, name, "tcp/3000", "udp/3000")
    serve(world, "host", "tcp/7000", "udp/7000")
    return world


def sees(world: World, ns: str, targets: list[Target]) -> set[str]:
    """The different answers, without the port."""
    return {answer.replace(":3000", "").replace(":7000", "") for answer in ask(world, ns, *targets).values()}


def test_who_reaches_what(stage: World) -> None:
    """What is behind a gateway is reached as siblings are, and reaches what siblings reach; nothing leads in from elsewhere."""
    far = at(FAR4, FAR6)
    assert sees(stage, "host", far) == {"far 10.88.0.1", "far fd88::1"}
    assert sees(stage, "sib", far) == {f"far {SIB4}", f"far {SIB6}"}
    for outsider in ("client", "attacker", "other"):
        assert sees(stage, outsider, far) == {CLOSED}, outsider
    assert sees(stage, "far", at(SIB4, SIB6)) == {f"sib {FAR4}", f"sib {FAR6}"}
    assert sees(stage, "far", at(CLIENT4, CLIENT6)) == {f"client {HOST4}", f"client {HOST6}"}
    assert sees(stage, "far", at(OTHER4, OTHER6)) == {CLOSED}
    assert sees(stage, "far", [*at(HOST4, HOST6, 7000), *at("10.88.0.1", "fd88::1", 7000)]) == {CLOSED}


def test_policy_is_that_of_siblings(stage: World) -> None:
    far = at(FAR4, FAR6)
    denied = {**ISO0, "siblings": "deny"}
    stage.cycle("bridge", **denied)
    assert sees(stage, "host", far) == {"far 10.88.0.1", "far fd88::1"}
    assert sees(stage, "sib", far) == sees(stage, "far", at(SIB4, SIB6)) == {CLOSED}
    pairs = [{"from": SIB4, "to": "192.0.2.0/24"}, {"from": SIB6, "to": FAR6}]
    stage.cycle("bridge", **denied, sibling_pairs=pairs)
    assert sees(stage, "sib", far) == {f"far {SIB4}", f"far {SIB6}"}
    assert sees(stage, "far", at(SIB4, SIB6)) == {CLOSED}
    stage.cycle("bridge", **ISO0, allow_bridges=["iso1"], trusted_interfaces=["lan0"], service_to_host=["tcp/7000"])
    assert sees(stage, "other", far) == {f"far {OTHER4}", f"far {OTHER6}"}
    assert sees(stage, "client", far) == {f"far {CLIENT4}", f"far {CLIENT6}"}
    assert sees(stage, "far", at(HOST4, HOST6, 7000)) == {f"host {FAR4}", f"host {FAR6}", CLOSED}


@pytest.mark.parametrize("mode", ["routed", "internal"])
def test_modes(stage: World, mode: str) -> None:
    """Routed: out with its own address, and the answers come back; still nothing leads in."""
    stage.apply("bridge", **ISO0, mode=mode)
    found = sees(stage, "far", at(CLIENT4, CLIENT6))
    assert found == ({f"client {FAR4}", f"client {FAR6}"} if mode == "routed" else {CLOSED})
    assert sees(stage, "attacker", at(FAR4, FAR6)) == {CLOSED}
    assert sees(stage, "host", at(FAR4, FAR6)) == {"far 10.88.0.1", "far fd88::1"}


def test_flushed(stage: World) -> None:
    """F5: closed by routing rules while there are no tables."""
    stage.sh("nft flush ruleset")
    far = at(FAR4, FAR6)
    assert sees(stage, "attacker", far) == {CLOSED}
    assert sees(stage, "host", far) == {"far 10.88.0.1", "far fd88::1"}
    stage.sh("ip rule del priority 104 to 192.0.2.0/24; ip -6 rule del priority 104 to 2001:db8:9::/48")
    assert CLOSED not in sees(stage, "attacker", far), "the attack itself does not work"


def test_no_other_source(stage: World) -> None:
    """T13: what is not behind a route is no source, neither of the gateway's link nor of a sibling's."""
    stage.sh("ip -n far addr add 203.0.113.9/32 dev lo; ip -n far addr add 2001:db8:77::9/128 dev lo")
    stage.sh("ip -n gate route add 203.0.113.9 via 192.0.2.2; ip -n gate route add 2001:db8:77::9 via 2001:db8:9::2")
    stage.sh("ip route add 203.0.113.9 via 10.88.0.17; ip route add 2001:db8:77::9 via fd88::17")
    stage.sh("ip -n far route change default via 192.0.2.1 src 203.0.113.9")
    stage.sh("ip -n far -6 route change default via 2001:db8:9::1 src 2001:db8:77::9")
    assert sees(stage, "far", at(SIB4, SIB6)) == {CLOSED}
    stage.sh("nft flush chain bridge isolation_bridge link-v-gate; nft flush chain inet isolation_bridge spoof-iso0")
    assert sees(stage, "far", at(SIB4, SIB6)) == {"sib 203.0.113.9", "sib 2001:db8:77::9"}, "the attack does not work"


def test_no_other_gateway(stage: World) -> None:
    """T13: a sibling of the gateway can't take a source that is behind the route."""
    stage.sh(f"ip addr add {FAR4}/32 dev lo; ip -6 addr add {FAR6}/128 dev lo", ns="sib")
    stage.sh(
        f"ip route change default via 10.88.0.1 src {FAR4}; ip -6 route change default via fd88::1 src {FAR6}", ns="sib"
    )
    stage.sh(
        f"ip route replace {FAR4} via {SIB4} dev iso0 onlink; ip -6 route replace {FAR6} via {SIB6} dev iso0 onlink"
    )
    assert sees(stage, "sib", at(CLIENT4, CLIENT6)) == {CLOSED}
    stage.sh("nft flush chain bridge isolation_bridge link-v-sib")
    assert sees(stage, "sib", at(CLIENT4, CLIENT6)) == {f"client {HOST4}", f"client {HOST6}"}, (
        "the attack does not work"
    )


def test_life(world: World) -> None:
    """They come, get another gateway, go and come back live; others' routes by the same bridge stay."""
    clean = world.snapshot()
    plain = {**ISO0, "routes": []}
    world.cycle("bridge", **plain)
    bare = world.snapshot()
    world.cycle("bridge", **ISO0)
    shown = world.sh("ip route show dev iso0; ip -6 route show dev iso0")
    assert "192.0.2.0/24 via 10.88.0.17 proto 105" in shown
    assert "2001:db8:9::/48 via fd88::17 proto 105" in shown
    world.sh("ip route add 203.0.113.0/24 via 10.88.0.9 dev iso0; ip route add 203.0.113.0/24 via 10.88.0.9 table 77")
    moved = [{**ROUTES[0], "via": "10.88.0.18"}, {**ROUTES[1], "via": "fd88::18"}]
    changed = world.cycle("bridge", **{**ISO0, "routes": moved})
    assert changed["diff"][0]["before"] == "route 192.0.2.0/24: via 10.88.0.17\nroute 2001:db8:9::/48: via fd88::17\n"
    assert changed["diff"][0]["after"] == "route 192.0.2.0/24: via 10.88.0.18\nroute 2001:db8:9::/48: via fd88::18\n"
    world.sh("ip route del 192.0.2.0/24; ip -6 route del 2001:db8:9::/48")
    world.cycle("bridge", **{**ISO0, "routes": moved})
    world.cycle("bridge", **plain)
    world.sh("ip route del 203.0.113.0/24 via 10.88.0.9 dev iso0; ip route del 203.0.113.0/24 table 77")
    left = difference(bare, world.snapshot())
    assert left == {}
    world.cycle("bridge", **ISO0)
    # Another subnet and a gateway in it, in one go.
    again = {"name": "iso0", "addresses": ["10.77.0.1/24"], "routes": [{"to": "10.88.0.0/24", "via": "10.77.0.2"}]}
    world.cycle("bridge", **again)
    world.cycle("bridge", name="iso0", state="absent")
    assert difference(clean, world.snapshot()) == {}


def test_boot(world: World) -> None:
    """The same batch that makes the bridge's addresses brings its routes back."""
    world.apply("bridge", **ISO0)
    good = world.snapshot()
    world.sh("ip link del iso0; nft flush ruleset; rm /run/isolation/booted; ip -4 rule flush; ip -6 rule flush")
    for family in ("-4", "-6"):
        world.sh(f"ip {family} rule add pref 32766 lookup main")
    world.sh("ip -4 rule add pref 32767 lookup default; /usr/local/libexec/isolation/boot")
    assert not world.module("bridge", check=True, **ISO0)["changed"]
    found = difference(good, world.snapshot())
    assert found.get("routes") is None
    assert found.get("routes6") is None


def test_router_behind_a_link(world: World) -> None:
    """A gateway behind a link of the host, which has no guard of its own."""
    world.sh("ip netns add gate; ip link add nic0 type veth peer name eth0 netns gate; ip link set nic0 up")
    world.sh(
        "ip link set lo up; ip link set eth0 up; ip addr add 10.88.0.17/24 dev eth0; ip addr add fd88::17/64 dev eth0 nodad;"
        " ip route add default via 10.88.0.1; ip -6 route add default via fd88::1",
        ns="gate",
    )
    world.cycle("bridge", **ISO0, ports=["nic0"])
    far_behind(world, "gate")
    serve(world, "client", "tcp/3000", "udp/3000")
    assert sees(world, "host", at(FAR4, FAR6)) == {"far 10.88.0.1", "far fd88::1"}
    assert sees(world, "far", at(CLIENT4, CLIENT6)) == {f"client {HOST4}", f"client {HOST6}"}
    assert sees(world, "attacker", at(FAR4, FAR6)) == {CLOSED}


@pytest.mark.parametrize(
    ("ways", "words"),
    [
        ([{"to": "198.51.100.128/25", "via": "10.88.0.17"}], ["routes: 198.51.100.128/25", "lan0"]),
        ([{"to": "2001:db8:1::7", "via": "fd88::17"}], ["routes: 2001:db8:1::7", "lan0"]),
        ([{"to": "0.0.0.0/0", "via": "10.88.0.17"}], ["default route"]),
        ([{"to": "192.0.2.0/24", "via": "10.88.0.1"}], ["own address"]),
        ([{"to": "192.0.2.0/24", "via": "198.51.100.2"}], ["outside"]),
        ([*ROUTES, ROUTES[0]], ["overlap"]),
    ],
)
def test_refusals(world: World, ways: list[dict[str, str]], words: list[str]) -> None:
    message = world.refused("bridge", **{**ISO0, "routes": ways})
    for word in words:
        assert word in message
