# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What services can't do to each other and to the host at layers 2 and 3 (T13, T14, T15), with the attacks shown to work without us."""

from __future__ import annotations

import sys
import typing as t

import pytest
from standins import CLOSED, Service, ask, serve
from world import CLIENT4, CLIENT6, HOST4, HOST6, World, difference

ISO0: dict[str, t.Any] = {"name": "iso0", "addresses": ["10.88.0.1/24", "fd88::1/64"]}
EVIL4, EVIL6 = "10.88.0.2", "fd88::2"
PEER4, PEER6 = "10.88.0.3", "fd88::3"
GATES = ["10.88.0.1", "fd88::1"]

ATTACK = r"""
import ipaddress, socket, struct, sys
kind, own, peer, gate, peer4, peer6 = sys.argv[1:]
mac = lambda text: bytes.fromhex(text.replace(":", ""))
ip4 = lambda text: ipaddress.IPv4Address(text).packed
ip6 = lambda text: ipaddress.IPv6Address(text).packed
def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
def icmp6(source, target, body):
    pseudo = source + target + struct.pack("!II", len(body), 58)
    body = body[:2] + struct.pack("!H", checksum(pseudo + body)) + body[4:]
    return b"\x86\xdd" + struct.pack("!IHBB", 6 << 28, len(body), 58, 255) + source + target + body
def udp(source, target, port):
    body = struct.pack("!HHHH", 4000, port, 8, 0)
    head = struct.pack("!BBHHHBBH", 0x45, 0, 28, 1, 0, 64, 17, 0) + source + target
    return b"\x08\x00" + head[:10] + struct.pack("!H", checksum(head)) + head[12:] + body
host4, host6 = ip4("10.88.0.1"), ip6("fd88::1")
link = ip6("fe80::") [:8] + bytes([mac(own)[0] ^ 2]) + mac(own)[1:3] + b"\xff\xfe" + mac(own)[3:]
frames = {
    "mac": mac(gate) + mac(peer) + udp(ip4("10.88.0.2"), host4, 9999),
    "arp": mac(gate) + mac(own) + b"\x08\x06" + struct.pack("!HHBBH", 1, 0x800, 6, 4, 2) + mac(own) + ip4(peer4) + mac(gate) + host4,
    "ip": mac(gate) + mac(own) + udp(ip4(peer4), host4, 9999),
    "ip6": mac(gate) + mac(own) + icmp6(ip6(peer6), host6, b"\x80\0\0\0" + bytes(4)),
    "ra": mac("33:33:00:00:00:01") + mac(own) + icmp6(link, ip6("ff02::1"), b"\x86\0\0\0" + struct.pack("!BBHII", 64, 0, 1800, 0, 0)),
    "na": mac(gate) + mac(own) + icmp6(ip6("fd88::2"), host6, b"\x88\0\0\0" + b"\x60\0\0\0" + ip6(peer6) + b"\x02\x01" + mac(own)),
}
with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as s:
    s.bind(("eth0", 0))
    for _ in range(3):
        s.send(frames[kind])
"""

COUNTERS = """
table inet probe {
  chain prerouting { type filter hook prerouting priority -310; policy accept;
    udp dport 9999 counter name seen_udp
    icmpv6 type echo-request iifname "iso0" counter name seen_echo
    icmpv6 type nd-router-advert counter name seen_ra
  }
  counter seen_udp { }
  counter seen_echo { }
  counter seen_ra { }
}
"""


@pytest.fixture(params=[0, 1], ids=["bridge-nf-0", "bridge-nf-1"])
def pair(world: World, request: pytest.FixtureRequest) -> tuple[World, Service, Service]:
    """Two services on a bridge, which the host has talked with."""
    world.sh(
        f"sysctl -qw net.bridge.bridge-nf-call-iptables={request.param} net.bridge.bridge-nf-call-ip6tables={request.param}"
    )
    world.apply("bridge", **ISO0)
    evil = Service(world, "evil", "iso0", [EVIL4, EVIL6], GATES)
    peer = Service(world, "peer", "iso0", [PEER4, PEER6], GATES)
    flag = "hairpin" if request.param else "isolated"
    world.sh(f"bridge link set dev v-evil {flag} on; bridge link set dev v-peer {flag} on")
    for name in ("evil", "peer"):
        serve(world, name, "tcp/3000", "udp/3000")
    # An entry of the neighbor table is not changed again within a second, which would hide an attack.
    world.sh("sysctl -qw net.ipv4.neigh.iso0.locktime=0 net.ipv6.neigh.iso0.locktime=0")
    assert CLOSED not in ask(world, "host", ("tcp", PEER4, 3000), ("tcp", PEER6, 3000)).values()
    world.run(["nft", "-f", "-"], stdin=COUNTERS)
    return world, evil, peer


def succeeded(world: World, kind: str, evil: Service, peer: Service) -> bool:
    """Whether an attack has had an effect on the host."""
    if kind == "mac":
        return f"{peer.mac} dev v-evil" in world.sh("bridge fdb show br iso0")
    if kind in ("arp", "na"):
        return evil.mac in world.sh(f"ip neigh show {PEER4 if kind == 'arp' else PEER6} dev iso0")
    counter = {"ip": "udp", "ip6": "echo", "ra": "ra"}[kind]
    return "packets 0 " not in world.sh(f"nft list counter inet probe seen_{counter}")


@pytest.mark.parametrize("kind", ["mac", "arp", "ip", "ip6", "ra", "na"])
def test_spoofing(pair: tuple[World, Service, Service], kind: str) -> None:
    """T13: nobody takes another's MAC or IP address, answers for it, or acts as a router; each attack works without the guard."""
    world, evil, peer = pair
    gate = world.sh("cat /sys/class/net/iso0/address").strip()
    attack = [sys.executable, "-c", ATTACK, kind, evil.mac, peer.mac, gate, PEER4, PEER6]
    world.run(attack, ns="evil")
    world.sh("sleep 0.2")
    assert not succeeded(world, kind, evil, peer)
    assert ask(world, "host", ("tcp", PEER4, 3000))["tcp", PEER4, 3000].startswith("peer")
    world.sh("nft flush chain bridge isolation_bridge link-v-evil")

    def again() -> bool:
        # A frame of the peer itself puts the bridge right again: as often as it takes.
        world.run(attack, ns="evil")
        return succeeded(world, kind, evil, peer)

    world.wait(again, 5, f"the attack {kind} itself")


def on_link(world: World) -> dict[t.Any, str]:
    """What `evil` gets from `peer` when it takes it to be on its link, and what it gets by the host."""
    target = ("udp", PEER4, 3000)
    routed = ask(world, "evil", target)[target]
    world.sh(f"ip route add {PEER4} dev eth0", ns="evil")
    world.sh(f"ip route add {EVIL4} dev eth0", ns="peer")
    direct = ask(world, "evil", target)[target]
    world.sh(f"ip route del {PEER4} dev eth0", ns="evil")
    world.sh(f"ip route del {EVIL4} dev eth0", ns="peer")
    return {"routed": routed, "direct": direct}


def test_siblings(pair: tuple[World, Service, Service]) -> None:
    """T14: at layer 2 siblings never meet, unless told so; through the host they do, unless told not to."""
    world, _evil, _peer = pair
    opened = f"peer:3000 {EVIL4}"
    assert on_link(world) == {"routed": opened, "direct": CLOSED}
    denied = world.cycle("bridge", **ISO0, siblings="deny")
    assert "siblings: deny" in denied["diff"][0]["after"]
    assert on_link(world) == {"routed": CLOSED, "direct": CLOSED}
    pairs = [{"from": EVIL4, "to": PEER4}, {"from": EVIL6, "to": "fd88::/120"}]
    world.cycle("bridge", **ISO0, siblings="deny", sibling_pairs=pairs)
    assert on_link(world) == {"routed": opened, "direct": CLOSED}
    assert ask(world, "evil", ("tcp", PEER6, 3000)) == {("tcp", PEER6, 3000): f"peer:3000 {EVIL6}"}
    assert ask(world, "peer", ("udp", EVIL4, 3000), ("tcp", EVIL6, 3000)) == {
        ("udp", EVIL4, 3000): CLOSED,
        ("tcp", EVIL6, 3000): CLOSED,
    }


def test_one_broadcast_domain(pair: tuple[World, Service, Service]) -> None:
    """With `l2` siblings meet on the link, and are still not believed another's addresses."""
    world, evil, peer = pair
    world.apply("bridge", **ISO0, l2=True)
    world.sh("bridge link set dev v-evil isolated off; bridge link set dev v-peer isolated off")
    assert on_link(world)["direct"] == f"peer:3000 {EVIL4}"
    gate = world.sh("cat /sys/class/net/iso0/address").strip()
    world.run([sys.executable, "-c", ATTACK, "arp", evil.mac, peer.mac, gate, PEER4, PEER6], ns="evil")
    world.sh("sleep 0.2")
    assert not succeeded(world, "arp", evil, peer)


def test_administrator(world: World) -> None:
    """Files of the administrator come first, are kept and never touched; one that nft refuses changes nothing."""
    clean = world.snapshot()
    world.apply("bridge", **ISO0)
    world.sh(
        """mkdir -p /etc/isolation/nft.d; cat >/etc/isolation/nft.d/10-block.nft <<'RULES'
table inet isolation_bridge {
  chain admin-prerouting { ip saddr 198.51.100.2 tcp dport 7000 drop; }
}
RULES"""
    )
    served = serve(world, "host", "tcp/7000")
    assert CLOSED not in ask(world, "client", ("tcp", HOST4, 7000)).values()
    changed = world.cycle("bridge", **ISO0)
    assert "nft admin-prerouting: ip saddr 198.51.100.2 tcp dport 7000 drop" in changed["diff"][0]["after"]
    assert set(ask(world, "client", ("tcp", HOST4, 7000)).values()) == {CLOSED}
    assert CLOSED not in ask(world, "attacker", ("tcp", HOST4, 7000)).values()
    world.sh(
        "echo 'table inet isolation_bridge { chain admin-input { tcp dport nonsense drop; } }' >/etc/isolation/nft.d/20.nft"
    )
    assert "mend or remove /etc/isolation/nft.d/20.nft" in world.refused("bridge", **{**ISO0, "mtu": 1400})
    served.kill()
    world.sh("rm /etc/isolation/nft.d/20.nft")
    world.apply("bridge", name="iso0", state="absent")
    left = difference(clean, world.snapshot())
    assert [line.split()[0] for line in left.pop("files")["new"]] == [
        "/etc/isolation",
        "/etc/isolation/nft.d",
        "/etc/isolation/nft.d/10-block.nft",
    ]
    assert left == {}


def test_not_a_router(world: World) -> None:
    """T15: forwarding that we switch on does not join the host's own networks; what comes later is not concerned."""
    world.sh("ip netns add other; ip link add up1 type veth peer name eth0 netns other; ip link set up1 up")
    world.sh("ip addr add 192.0.2.1/24 dev up1; ip -6 addr add 2001:db8:2::1/64 dev up1 nodad")
    world.sh(
        "ip link set lo up; ip link set eth0 up; ip addr add 192.0.2.2/24 dev eth0; ip -6 addr add 2001:db8:2::2/64 dev eth0 nodad;"
        " ip route add default via 192.0.2.1; ip -6 route add default via 2001:db8:2::1",
        ns="other",
    )
    serve(world, "other", "tcp/3000", "udp/3000")
    targets = [(protocol, address, 3000) for protocol in ("tcp", "udp") for address in ("192.0.2.2", "2001:db8:2::2")]
    world.wait(lambda: "fe80" in world.sh("ip -6 addr show dev up1"), 2, "a link-local address")
    before = world.snapshot()
    world.cycle("bridge", **ISO0)
    assert set(ask(world, "client", *targets).values()) == {CLOSED}
    world.sh("ip link add wg9 type bridge; ip link set wg9 up; ip addr add 203.0.113.1/24 dev wg9")
    world.sh("ip netns add vpn; ip link add v-vpn type veth peer name eth0 netns vpn; ip link set v-vpn master wg9 up")
    world.sh(
        "ip link set eth0 up; ip link set lo up; ip addr add 203.0.113.2/24 dev eth0; ip route add default via 203.0.113.1",
        ns="vpn",
    )
    serve(world, "vpn", "tcp/3000")
    assert CLOSED not in ask(world, "client", ("tcp", "203.0.113.2", 3000)).values()
    world.cycle("bridge", **ISO0, forward_between_others="accept")
    assert CLOSED not in ask(world, "client", *targets).values()
    gone = world.apply("bridge", name="iso0", state="absent")
    assert any("wg9" in str(warning) for warning in gone["warnings"])
    assert world.sh("cat /proc/sys/net/ipv4/ip_forward").strip() == "1"
    world.sh(
        "ip link del wg9; ip link del v-vpn; ip netns del vpn; sysctl -qw net.ipv4.ip_forward=0 net.ipv6.conf.all.forwarding=0"
    )
    world.apply("bridge", **ISO0)
    world.apply("bridge", name="iso0", state="absent")
    assert difference(before, world.snapshot()) == {}


def test_masquerade_source(pair: tuple[World, Service, Service]) -> None:
    """A fixed address in place of that of the link."""
    world, _evil, _peer = pair
    world.sh("ip addr add 198.51.100.77/24 dev lan0; ip -6 addr add 2001:db8:1::77/64 dev lan0 nodad")
    serve(world, "client", "tcp/6000", "udp/6000")
    world.cycle("bridge", **ISO0, masquerade_source=["198.51.100.77", "2001:db8:1::77"])
    for protocol in ("tcp", "udp"):
        found = ask(world, "evil", (protocol, CLIENT4, 6000), (protocol, CLIENT6, 6000))
        assert list(found.values()) == ["client:6000 198.51.100.77", "client:6000 2001:db8:1::77"]


@pytest.mark.parametrize(
    "damage",
    [
        "ip rule del priority 104",
        "ip -6 rule del priority 103",
        "nft delete table bridge isolation_bridge",
        "nft flush chain bridge isolation_bridge link-v-evil",
        "nft flush ruleset",
    ],
)
def test_drift(pair: tuple[World, Service, Service], damage: str) -> None:
    """What the host has lost is told in check mode, and brought back."""
    world, _evil, _peer = pair
    world.sh("nft delete table inet probe")
    before = world.snapshot()
    world.sh(damage)
    assert world.cycle("bridge", **ISO0)["changed"]
    assert difference(before, world.snapshot()) == {}


def test_other_mark(pair: tuple[World, Service, Service]) -> None:
    """Another bit is taken live, and the rules follow it."""
    world, _evil, _peer = pair
    world.cycle("bridge", **ISO0, mark_bit=20)
    rules = world.sh("ip rule")
    assert "fwmark 0x100000/0x100000" in rules
    assert "0x1000/0x1000" not in rules.replace("0x100000/0x100000", "")
    assert on_link(world)["routed"] == f"peer:3000 {EVIL4}"


def test_flushed(pair: tuple[World, Service, Service]) -> None:
    """F5: with the ruleset flushed, no service can be reached from outside; by the host's own addresses nothing is published."""
    world, _evil, _peer = pair
    world.sh("nft flush ruleset")
    targets = [(protocol, address, 3000) for protocol in ("tcp", "udp") for address in (PEER4, PEER6)]
    assert set(ask(world, "attacker", *targets).values()) == {CLOSED}
    assert CLOSED not in ask(world, "host", *targets).values()
    world.sh("ip rule del priority 104; ip -6 rule del priority 104")
    assert CLOSED not in ask(world, "attacker", *targets).values(), "the attack itself does not work"
    assert HOST6 in world.sh("ip -6 addr show lan0")
