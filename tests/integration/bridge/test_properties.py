# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Properties of a bridge as the kernel has them, what services may ask the host for, and a host whose way out is announced by a router."""

from __future__ import annotations

import json
import re
import sys
import typing as t

from standins import CLOSED, Service, ask, serve
from world import CLIENT4, CLIENT6, HOST4, HOST6, World, difference

ISO0: dict[str, t.Any] = {"name": "iso0", "addresses": ["10.88.0.1/24", "fd88::1/64"]}

ADVERTISE = r"""
import socket, struct, sys
index = socket.if_nametoindex("eth0")
with socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) as s:
    s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
    # RFC 4861, 4.2: hop limit, flags, router lifetime, reachable time, retransmission timer
    s.sendto(struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, int(sys.argv[1]), 0, 0), ("ff02::1", 0, 0, index))
"""


def bridge(world: World) -> dict[str, t.Any]:
    """What the kernel has, by the names of `ip link`."""
    found = json.loads(world.sh("ip -j -d address show dev iso0"))[0]
    data = found["linkinfo"]["info_data"]
    kept = ("stp_state", "forward_delay", "ageing_time")
    addresses = [f"{one['local']}/{one['prefixlen']}" for one in found["addr_info"] if one["scope"] == "global"]
    return {
        **{key: found[key] for key in ("ifindex", "address", "mtu")},
        **{key: data[key] for key in kept},
        "addresses": sorted(addresses),
    }


def test_the_links_properties(world: World) -> None:
    """Each is what was asked for, changes live, and comes back to its default when it is asked for no more."""
    world.sh("ip link set lan0 mtu 1420")
    made = world.apply("bridge", **ISO0)["bridge"]
    plain = bridge(world)
    mine = {"stp_state": 0, "forward_delay": 1500, "ageing_time": 30000, "mtu": 1420}
    assert plain == {**plain, **mine, "addresses": sorted(ISO0["addresses"]), "address": made["mac"]}
    assert made["mtu"] == 1420
    other: dict[str, t.Any] = {
        "addresses": ["10.88.0.1/24", "10.99.0.1/16", "10.99.7.7/16", "fd88::1/64", "fd99::1/48"],
        "mac": "02:AA:00:00:00:01",
        "mtu": 9000,
        "stp": True,
        "forward_delay": "4s",
        "ageing_time": "1m",
    }
    changed = world.cycle("bridge", name="iso0", **other)
    lines = changed["diff"][0]["after"].splitlines()
    assert {"mac: 02:aa:00:00:00:01", "mtu: 9000", "stp: yes", "forward_delay: 4s", "ageing_time: 60s"} <= set(lines)
    found = bridge(world)
    assert found == {
        "ifindex": plain["ifindex"],
        "address": "02:aa:00:00:00:01",
        "mtu": 9000,
        "stp_state": 1,
        "forward_delay": 400,
        "ageing_time": 6000,
        "addresses": sorted(other["addresses"]),
    }
    # The kernel would take the second address of a subnet away along with its first.
    world.cycle("bridge", **{**other, "name": "iso0", "addresses": ["10.88.0.1/24", "10.99.7.7/16"]})
    assert bridge(world)["addresses"] == ["10.88.0.1/24", "10.99.7.7/16"]
    world.cycle("bridge", **ISO0)
    assert bridge(world) == plain
    # The address is the same each time that this host makes this bridge.
    world.apply("bridge", name="iso0", state="absent")
    assert world.apply("bridge", **ISO0)["bridge"]["mac"] == made["mac"]


def test_vlan_filtering(world: World) -> None:
    """Switched live; a kernel that is built without it is told from other refusals, and keeps the bridge as it was."""
    world.apply("bridge", **ISO0)
    able = world.run(["ip", "link", "add", "probe0", "type", "bridge", "vlan_filtering", "1"], check=False)
    if able.returncode == 0:
        world.sh("ip link del probe0")
        assert "vlan_filtering: yes" in world.cycle("bridge", **ISO0, vlan_filtering=True)["diff"][0]["after"]
        assert '"vlan_filtering":1' in world.sh("ip -j -d link show dev iso0")
        world.cycle("bridge", **ISO0)
    else:
        refused = world.module("bridge", **ISO0, vlan_filtering=True)
        assert "CONFIG_BRIDGE_VLAN_FILTERING" in refused["msg"]
        world.cycle("bridge", **ISO0)


def pings(world: World, address: str) -> bool:
    done = world.run(["ping", "-c1", "-W1", address], check=False, ns="web")
    return done.returncode == 0


def test_what_services_may_ask_the_host(world: World) -> None:
    """The host's DNS server and its echo, when they are named; other ports stay closed, and so does the way in, but for trusted links."""
    world.apply("bridge", **ISO0)
    Service(world, "web", "iso0", ["10.88.0.2", "fd88::2"], ["10.88.0.1", "fd88::1"])
    for name, ports in {"host": ("53", "22"), "web": ("3000",)}.items():
        serve(world, name, *(f"{protocol}/{port}" for protocol in ("tcp", "udp") for port in ports))
    hosts = ("10.88.0.1", "fd88::1", HOST4, HOST6)
    names = [("udp", address, 53) for address in hosts]
    others = [("tcp", address, port) for address in hosts for port in (22, 53)] + [("udp", HOST4, 22)]
    direct = [(protocol, address, 3000) for protocol in ("tcp", "udp") for address in ("10.88.0.2", "fd88::2")]
    assert set(ask(world, "web", *names, *others).values()) == {CLOSED}
    assert not pings(world, HOST4)
    assert not pings(world, HOST6)
    world.cycle("bridge", **ISO0, service_to_host=["udp/53", "icmp", "icmpv6"], trusted_interfaces=["lan0"])
    assert CLOSED not in ask(world, "web", *names).values()
    assert set(ask(world, "web", *others).values()) == {CLOSED}
    assert pings(world, HOST4)
    assert pings(world, HOST6)
    assert set(ask(world, "client", *direct).values()) == {f"web:3000 {CLIENT4}", f"web:3000 {CLIENT6}"}
    world.cycle("bridge", **ISO0)
    assert set(ask(world, "client", *direct).values()) == {CLOSED}


def way_out(world: World) -> dict[str, t.Any]:
    """The host's default route for IPv6; empty if there is none."""
    found = json.loads(world.sh("ip -6 -j route show default") or "[]")
    return found[0] if found else {}


def announce(world: World, lifetime: int) -> None:
    """Be a router on the host's network, and wait until the host has heard it."""

    def heard() -> bool:
        world.run([sys.executable, "-c", ADVERTISE, str(lifetime)], ns="client")
        left: int = way_out(world).get("expires", 0)
        return lifetime - 10 < left <= lifetime

    world.wait(heard, 5, "a default route from router advertisements")


def forwards(world: World) -> tuple[str, str]:
    """Whether the host forwards IPv6, and how it listens to routers."""
    one, two = world.sh("cd /proc/sys/net/ipv6/conf; cat all/forwarding lan0/accept_ra").split()
    return one, two


def settled(world: World, **asked: t.Any) -> None:
    """Check, apply, apply: as World.cycle, whose snapshots would have the route's lifetime run down."""
    predicted = world.module("bridge", check=True, **asked)
    applied = world.apply("bridge", **asked)
    assert applied["diff"] == predicted["diff"] != []
    assert not world.apply("bridge", **asked)["changed"]


def lasting(world: World) -> dict[str, t.Any]:
    """All but what has a lifetime."""
    return {kind: [re.sub(r" expires \d+sec", "", line) for line in lines] for kind, lines in world.snapshot().items()}


def test_a_way_out_that_a_router_announces(world: World) -> None:
    """The default route survives the first bridge and the last one's removal, and is renewed all the while (F13b)."""
    far = ("tcp", "2001:db8:7::1", 3000)
    # Neighbors that do not forward say so when they are asked for their address, and are no way out any more (RFC 4861, 7.3.3).
    world.sh("sysctl -qw net.ipv6.conf.all.forwarding=1; ip addr add 2001:db8:7::1/128 dev lo nodad", ns="client")
    serve(world, "client", "tcp/3000")
    world.sh("ip -6 route del default")
    assert ask(world, "host", far)[far] == CLOSED
    announce(world, 600)
    world.sh("sysctl -qw net.ipv6.conf.all.forwarding=1")
    assert way_out(world) == {}, "without us, too, forwarding does not lose the route"
    world.sh("sysctl -qw net.ipv6.conf.all.forwarding=0")
    announce(world, 600)
    assert ask(world, "host", far)[far] == f"client:3000 {HOST6}"
    clean = lasting(world)

    settled(world, **ISO0)
    assert way_out(world)["protocol"] == "ra"
    assert forwards(world) == ("1", "2")
    announce(world, 1200)
    assert ask(world, "host", far)[far] == f"client:3000 {HOST6}"
    settled(world, name="iso1", addresses=["fd89::1/64"])
    settled(world, name="iso0", state="absent")
    assert forwards(world) == ("1", "2")
    announce(world, 1800)
    settled(world, name="iso1", state="absent")
    assert way_out(world)["protocol"] == "ra"
    assert forwards(world) == ("0", "1")
    assert ask(world, "host", far)[far] == f"client:3000 {HOST6}"
    announce(world, 900)
    assert difference(clean, lasting(world)) == {}
