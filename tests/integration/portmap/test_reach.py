# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who reaches what, and as whom: bridges and published ports together on the real kernel."""

from __future__ import annotations

import sys
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

HOST_PORTS = ("22", "53", "7000")
WITHOUT_RULES = "for family in -4 -6; do while ip $family rule del priority 104 2>/dev/null; do :; done; done"
METADATA4, METADATA6 = "169.254.169.254", "fd00:ec2::254"


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
    world.apply("nat_portmap", name="web", mappings=MAPPINGS, service_addresses=stable)
    for name, ports in {
        "web": ("3000", "4000"),
        "peer": ("3000",),
        "far": ("3000",),
        "host": HOST_PORTS,
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
    # What listens at ::1 is left alone.
    serve(stage, "host", "tcp/8080", "udp/8080")
    check(stage, "host", {("::1", 8080): "host:8080 ::1", (HOST6, 8080): f"web:3000 {HOST6}"})


def forge_loopback(world: World, ns: str, gateway: str, device: str = "eth0") -> None:
    """Let a neighbor send packets for 127.0.0.0/8 to the host."""
    world.sh(
        f"ip addr del 127.0.0.1/8 dev lo; ip route add 127.0.0.0/8 via {gateway} dev {device};"
        " sysctl -qw net.ipv4.conf.all.route_localnet=1",
        ns=ns,
    )


def test_direct_access(stage: World) -> None:
    """T11: a neighbor that routes to services and bridges through the host gets nothing. Without our tables and rules it would."""
    services = {(address, port) for address in (WEB4, WEB6) for port in (3000, 4000)}
    services |= {(address, 3000) for address in (PEER4, PEER6, FAR4, FAR6)}
    bridges = {(address, 7000) for address in (GATE4, GATE6, "10.89.0.1", "fd89::1")}
    stable = {(address, port) for address in (STABLE4, STABLE6) for port in (3000, 4000)}
    closed = dict.fromkeys(services | bridges | stable | {(GATE4, 8080), (GATE6, 8080)}, CLOSED)
    check(stage, "attacker", {
        **closed, (HOST4, 8080): f"web:3000 {ATTACKER4}", (HOST6, 8080): f"web:3000 {ATTACKER6}",
    })  # fmt: skip
    stage.sh("nft delete table inet isolation_bridge")
    # The routing rules hold without the tables; the bridge's own address is what they can't close.
    check(stage, "attacker", {
        **dict.fromkeys(services, CLOSED),
        (GATE4, 7000): f"host:7000 {ATTACKER4}", (GATE6, 7000): f"host:7000 {ATTACKER6}",
    })  # fmt: skip
    stage.sh(WITHOUT_RULES)
    opened = ask(stage, "attacker", *(target for place in services | bridges for target in both(*place)))
    assert CLOSED not in opened.values(), "the attack itself does not work"


@pytest.mark.parametrize("localnet", [0, 1], ids=["route_localnet-0", "route_localnet-1"])
@pytest.mark.parametrize("stage", [0], indirect=True, ids=["bridge-nf-0"])
def test_forged_loopback(stage: World, localnet: int) -> None:
    """T12: a neighbor that forges 127.0.0.1 reaches neither what is published there nor what listens there. Without our guard it would."""
    forge_loopback(stage, "attacker", HOST4)
    stage.sh(f"sysctl -qw net.ipv4.conf.lan0.route_localnet={localnet}")
    forged = [("127.0.0.1", 8081), ("127.0.0.1", 8080), ("127.0.0.9", 8080), ("127.0.0.1", 7000)]
    check(stage, "attacker", dict.fromkeys(forged, CLOSED))
    check(stage, "host", {("127.0.0.1", 8081): f"web:3000 {GATE4}"})
    stage.sh("nft flush chain inet isolation_nat guard")
    own = f"host:7000 {ATTACKER4}" if localnet else CLOSED
    check(stage, "attacker", {**dict.fromkeys(forged, f"web:3000 {ATTACKER4}"), forged[-1]: own})


@pytest.mark.parametrize("stage", [0], indirect=True, ids=["bridge-nf-0"])
def test_forged_loopback_from_a_service(stage: World) -> None:
    """T12: nor does a service, although its bridge has route_localnet. Without both guards it would."""
    forge_loopback(stage, "peer", GATE4)
    forged = dict.fromkeys([("127.0.0.1", 8081), ("127.0.0.1", 8080), ("127.0.0.1", 7000)], CLOSED)
    for chain in ("isolation_nat guard", "isolation_bridge spoof-iso0"):
        check(stage, "peer", forged)
        stage.sh(f"nft flush chain inet {chain}")
    stage.sh("nft flush chain inet isolation_bridge input-iso0")
    answer = f"web:3000 {PEER4}"
    check(stage, "peer", {**dict.fromkeys(forged, answer), ("127.0.0.1", 7000): f"host:7000 {PEER4}"})


LOOPBACK = r"""
import ipaddress, socket, struct, sys
mac, source, target = sys.argv[1:]
source, target = ipaddress.ip_address(source), ipaddress.ip_address(target)
body = struct.pack("!HHHH", 4000, 8080, 9, 0) + b"?"
def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return struct.pack("!H", ~total & 0xFFFF)
if source.version == 4:
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), 1, 0, 64, 17, 0) + source.packed + target.packed
    packet = b"\x08\x00" + head[:10] + checksum(head) + head[12:] + body
else:
    total = checksum(source.packed + target.packed + struct.pack("!II", len(body), 17) + body + b"\0")
    body = body[:6] + total + body[8:]
    packet = b"\x86\xdd" + struct.pack("!IHBB", 6 << 28, len(body), 17, 64) + source.packed + target.packed + body
with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as s:
    s.bind(("eth0", 0))
    s.send(bytes.fromhex(mac.replace(":", "")) + s.getsockname()[4] + packet)
"""

LOOPBACK_COUNTERS = """
table netdev probe {
  chain ingress { type filter hook ingress device lan0 priority 0; policy accept; udp sport 4000 counter name arrived; }
  counter arrived { }
}
table inet probe {
  chain before { type filter hook prerouting priority -310; policy accept; udp sport 4000 counter name seen; }
  chain after { type filter hook prerouting priority -290; policy accept; udp sport 4000 counter name passed; }
  counter seen { }
  counter passed { }
}
"""


@pytest.mark.parametrize(
    ("source", "target", "seen"),
    [
        (ATTACKER4, "127.0.0.1", True),
        ("127.0.0.1", HOST4, True),
        (ATTACKER6, "::1", False),
        ("::1", HOST6, False),
    ],
)
def test_forged_loopback_frames(world: World, source: str, target: str, seen: bool) -> None:
    """T12: single frames from and to loopback addresses. Those of IPv4 our guard drops, those of IPv6 the kernel itself, before any hook."""
    world.apply("nat_portmap", name="web", mappings=[{"host_port": 8080, "protocol": "udp", "address": WEB4}])
    world.run(["nft", "-f", "-"], stdin=LOOPBACK_COUNTERS)
    mac = world.sh("cat /sys/class/net/lan0/address").strip()

    def counted() -> list[bool]:
        world.run([sys.executable, "-c", LOOPBACK, mac, source, target], ns="attacker")
        counters = (("netdev", "arrived"), ("inet", "seen"), ("inet", "passed"))
        return ["packets 0 " not in world.sh(f"nft list counter {family} probe {name}") for family, name in counters]

    world.wait(lambda: counted()[0], 2, "the frame")
    assert counted() == [True, seen, False]
    world.sh("nft flush chain inet isolation_nat guard")
    assert counted() == [True, seen, seen], "the attack itself does not work"


def test_apart(stage: World) -> None:
    """T14: services of two bridges, and siblings where policy or layer 2 part them, don't meet. Without our tables they would."""
    far, near = [(FAR4, 3000), (FAR6, 3000)], [(PEER4, 3000), (PEER6, 3000)]
    seen = {FAR4: f"far:3000 {WEB4}", FAR6: f"far:3000 {WEB6}", PEER4: f"peer:3000 {WEB4}", PEER6: f"peer:3000 {WEB6}"}
    opened = {place: seen[place[0]] for place in [*far, *near]}
    check(stage, "web", {**dict.fromkeys(far, CLOSED), **{place: opened[place] for place in near}})
    stage.apply("bridge", **{**BRIDGES[0], "siblings": "deny"})
    check(stage, "web", dict.fromkeys(opened, CLOSED))
    stage.sh("nft flush chain inet isolation_bridge out-iso0")
    check(stage, "web", {place: opened[place] for place in near})

    on_link = "ip route {verb} {four} dev eth0; ip route {verb} {six} dev eth0"
    for name, four, six in (("web", PEER4, PEER6), ("peer", WEB4, WEB6)):
        stage.sh(on_link.format(verb="add", four=four, six=six), ns=name)
    check(stage, "web", dict.fromkeys(near, CLOSED))
    stage.sh("nft delete table bridge isolation_bridge")
    stage.sh("bridge link set dev v-web isolated off; bridge link set dev v-peer isolated off")
    check(stage, "web", {place: opened[place] for place in near})

    stage.sh("nft delete table inet isolation_bridge")
    check(stage, "web", dict.fromkeys(far, CLOSED))
    stage.sh(WITHOUT_RULES)
    check(stage, "web", {place: opened[place] for place in far})


def test_services_to_the_host(stage: World) -> None:
    """T15b: services reach no port of the host, whichever of its addresses they ask, nor the cloud's metadata. Without our table they would."""
    stage.sh(f"ip addr add {METADATA4}/32 dev eth0; ip addr add {METADATA6}/128 dev eth0 nodad", ns="client")
    stage.sh(f"ip route add {METADATA4} via {CLIENT4}; ip route add {METADATA6} via {CLIENT6}")
    local = stage.sh("ip -6 -o address show dev iso0 scope link").split()[3].partition("/")[0]
    addresses = (GATE4, GATE6, "10.89.0.1", "fd89::1", HOST4, HOST6, f"{local}%eth0")
    places = [(address, int(port)) for address in addresses for port in HOST_PORTS]
    metadata = {METADATA4: HOST4, METADATA6: HOST6}
    check(stage, "web", dict.fromkeys([*places, *((address, 6000) for address in metadata)], CLOSED))
    stage.sh("nft flush chain inet isolation_bridge input-iso0; nft flush chain inet isolation_bridge out-iso0")
    opened = ask(stage, "web", *(target for place in places for target in both(*place)))
    assert CLOSED not in opened.values(), "the attack itself does not work"
    check(stage, "web", {(address, 6000): f"client:6000 {seen}" for address, seen in metadata.items()})


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
    """T13: a service that takes another's address gets no answer, and reaches nobody with it."""
    stage.sh("ip addr add 203.0.113.9/32 dev eth0; ip -6 addr add 2001:db8:9::9/128 dev eth0 nodad", ns="web")
    stage.sh("ip route change default via 10.88.0.1 dev eth0 src 203.0.113.9", ns="web")
    stage.sh("ip route add 203.0.113.9 dev iso0; nft add rule inet isolation_bridge spoof-iso0 counter")
    check(stage, "web", {(CLIENT4, 6000): CLOSED, (PEER4, 3000): CLOSED})
    stage.sh("nft flush chain bridge isolation_bridge link-v-web")
    check(stage, "web", {(CLIENT4, 6000): CLOSED, (PEER4, 3000): CLOSED})
    stage.sh("nft flush chain inet isolation_bridge spoof-iso0")
    assert CLOSED not in ask(stage, "web", ("udp", PEER4, 3000)).values(), "the attack itself does not work"
