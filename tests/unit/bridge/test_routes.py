# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Routes to networks behind a bridge: what is refused, what is ours, and what is done."""

from __future__ import annotations

import dataclasses
import typing as t

import pytest

from ansible_collections.daemonless.isolation.plugins.module_utils._bridge import bootfiles, routes, routing, spec
from ansible_collections.daemonless.isolation.plugins.module_utils._bridge.plan import plan_task
from ansible_collections.daemonless.isolation.plugins.module_utils._bridge.spec import BridgeSpec
from ansible_collections.daemonless.isolation.plugins.module_utils._bridge.state import Link, Route, World
from ansible_collections.daemonless.isolation.plugins.module_utils._errors import InvalidOption, IsolationError
from ansible_collections.daemonless.isolation.plugins.module_utils._host.iproute import Batch
from ansible_collections.daemonless.isolation.plugins.module_utils._host.records import Record
from ansible_collections.daemonless.isolation.plugins.module_utils._names import LINK_GROUP

FOUR = {"to": "192.0.2.0/24", "via": "10.88.0.17"}
SIX = {"to": "2001:DB8:9::/48", "via": "fd88:0::17"}
WAY4, WAY6 = "192.0.2.0/24 via 10.88.0.17", "2001:db8:9::/48 via fd88::17"


def parsed(*ways: dict[str, str], **options: t.Any) -> BridgeSpec:
    plain = {key: rule["default"] for key, rule in spec.OPTIONS.items() if "default" in rule}
    base = {"name": "iso0", "addresses": ["10.88.0.1/24", "fd88::1/64"], "routes": list(ways)}
    return spec.parse({**plain, **base, **options})


def test_canonical() -> None:
    asked = parsed(SIX, FOUR, {"to": "198.51.100.7", "via": "10.88.0.18"})
    assert asked.routes == (WAY4, "198.51.100.7/32 via 10.88.0.18", WAY6)
    assert spec.from_record("iso0", asked.record()) == asked
    assert [str(one) for one in asked.ranges(4)] == ["10.88.0.0/24", "192.0.2.0/24", "198.51.100.7/32"]


@pytest.mark.parametrize(
    ("ways", "complaint"),
    [
        ([{"to": "192.0.2.1/24", "via": "10.88.0.17"}], "host bits"),
        ([{"to": "default", "via": "10.88.0.17"}], "no network"),
        ([{"to": "0.0.0.0/0", "via": "10.88.0.17"}], "default route"),
        ([{"to": "::/0", "via": "fd88::17"}], "default route"),
        ([{"to": "127.1.0.0/16", "via": "10.88.0.17"}], "loopback"),
        ([{"to": "169.254.169.254", "via": "10.88.0.17"}], "link-local"),
        ([{"to": "ff05::/16", "via": "fd88::17"}], "multicast"),
        ([{"to": "192.0.2.0/24", "via": "fd88::17"}], "different families"),
        ([{"to": "192.0.2.0/24", "via": "gate"}], "not an IPv4 or IPv6 address"),
        ([{"to": "192.0.2.0/24", "via": "10.99.0.17"}], "outside of the bridge's subnets"),
        ([{"to": "2001:db8:9::/48", "via": "fe80::17"}], "outside of the bridge's subnets"),
        ([{"to": "192.0.2.0/24", "via": "10.88.0.1"}], "bridge's own address"),
        ([{"to": "192.0.2.0/24", "via": "10.88.0.255"}], "broadcast"),
        ([{"to": "10.88.0.128/25", "via": "10.88.0.17"}], "overlaps the bridge's subnet 10.88.0.0/24"),
        ([FOUR, FOUR], "192.0.2.0/24 and 192.0.2.0/24 overlap"),
        ([FOUR, {"to": "192.0.2.128/25", "via": "10.88.0.18"}], "192.0.2.128/25 and 192.0.2.0/24 overlap"),
    ],
)
def test_refused(ways: list[dict[str, str]], complaint: str) -> None:
    with pytest.raises(InvalidOption, match=f"iso0: routes: .*{complaint}"):
        parsed(*ways)


def test_pairs_may_name_what_is_behind_a_gateway() -> None:
    pairs = [{"from": "10.88.0.2", "to": "192.0.2.0/28"}]
    assert parsed(FOUR, siblings="deny", sibling_pairs=pairs).pairs(4) == (("10.88.0.2", "192.0.2.0/28"),)
    with pytest.raises(InvalidOption, match="subnets and routes"):
        parsed(siblings="deny", sibling_pairs=pairs)


ISO0 = parsed(FOUR, SIX)
UPLINK = Link("eth0", "", "52:54:00:00:00:01", 1500, "default", True, None)
BRIDGE = Link("iso0", "bridge", "", 1500, str(LINK_GROUP), True, None, ISO0.addresses, 0, 1500, 30000)
HOST = (
    Route("default", "eth0", "unicast", "dhcp", "198.51.100.254"),
    Route("198.51.100.0/24", "eth0", "unicast", "kernel"),
    Route("10.88.0.0/24", "iso0", "unicast", "kernel"),
    Route("fd88::/64", "iso0", "unicast", "kernel"),
)
OURS = (
    Route("192.0.2.0/24", "iso0", "unicast", "105", "10.88.0.17"),
    Route("2001:db8:9::/48", "iso0", "unicast", "105", "fd88::17"),
)


def host(*more: Route, known: BridgeSpec = ISO0) -> World:
    """A host that has the bridge already."""
    return World(
        records={"iso0": Record("bridge", "iso0", "default", known.record(), {})},
        links={"eth0": UPLINK, "iso0": BRIDGE},
        routes=(*HOST, *more),
        sysctls={"net/ipv4/ip_forward": "1", "net/ipv6/conf/all/forwarding": "1"},
        wanted="table",
        actual="table",
    )


def changes(world: World, asked: BridgeSpec) -> list[tuple[str, str | None, str | None]]:
    found = plan_task([asked], world, "default").elements[0].changes
    return [(one.key, one.before, one.after) for one in found if one.key.startswith("route 1") or "2001" in one.key]


def batches(world: World, asked: BridgeSpec) -> list[Batch]:
    steps = plan_task([asked], world, "default").elements[0].steps
    return [step for step in steps if isinstance(step, Batch) and step.lines[0].startswith("route")]


def test_a_line_and_a_command_for_each() -> None:
    missing = host()
    assert changes(missing, ISO0) == [
        ("route 192.0.2.0/24", None, "via 10.88.0.17"),
        ("route 2001:db8:9::/48", None, "via fd88::17"),
    ]
    assert batches(missing, ISO0) == [
        Batch(("route add 192.0.2.0/24 via 10.88.0.17 dev iso0 proto 105",), 4),
        Batch(("route add 2001:db8:9::/48 via fd88::17 dev iso0 proto 105",), 6),
    ]
    assert (changes(host(*OURS), ISO0), batches(host(*OURS), ISO0)) == ([], [])


def test_another_gateway_without_a_gap() -> None:
    other = parsed({**FOUR, "via": "10.88.0.18"}, SIX)
    assert changes(host(*OURS), other) == [("route 192.0.2.0/24", "via 10.88.0.17", "via 10.88.0.18")]
    assert batches(host(*OURS), other) == [Batch(("route replace 192.0.2.0/24 via 10.88.0.18 dev iso0 proto 105",), 4)]


def test_dropped_ones_go_even_if_no_record_has_them() -> None:
    """A killed run has written the record already."""
    asked = parsed(SIX)
    assert batches(host(*OURS, known=asked), asked) == [
        Batch(("route del 192.0.2.0/24 via 10.88.0.17 dev iso0 proto 105",), 4)
    ]


def test_rules_of_a_killed_run_go() -> None:
    """Rules that name a bridge of ours close a range that it no longer has."""
    left = routing.desired([ISO0], six=True)
    bare = parsed()
    world = dataclasses.replace(host(known=bare), rules=left)
    gone = [one.before for one in plan_task([bare], world, "default").elements[0].changes if one.key == "routing rule"]
    assert sorted(gone) == sorted(str(rule) for rule in left if rule.to in ("192.0.2.0/24", "2001:db8:9::/48"))
    assert len(gone) == 8


def test_what_others_have_made_stays() -> None:
    others = (
        Route("203.0.113.0/24", "iso0", "unicast", "static", "10.88.0.9"),
        Route("203.0.113.0/24", "iso0", "unicast", "105", "10.88.0.9", "100"),
    )
    world = host(*OURS, *others)
    assert (changes(world, ISO0), batches(world, ISO0)) == ([], [])


@pytest.mark.parametrize(
    ("route", "words"),
    [
        (Route("192.0.2.0/25", "wg0", "unicast", "static"), "route 192.0.2.0/25 by wg0"),
        (Route("192.0.2.7", "eth0", "local", "kernel"), "address 192.0.2.7/32 by eth0"),
        (Route("192.0.2.0/24", "iso0", "unicast", "boot", "10.88.0.99"), "route 192.0.2.0/24 by iso0"),
        (Route("2001:db8::/32", "", "unreachable", "static"), "route 2001:db8::/32"),
    ],
)
def test_overlap_is_named(route: Route, words: str) -> None:
    with pytest.raises(IsolationError, match=rf"bridge iso0: routes: [0-9a-f.:/]+ overlaps the host's {words}"):
        plan_task([ISO0], host(route), "default")


def test_overlap_with_another_bridge() -> None:
    for other in (
        BridgeSpec("iso1", ("192.0.2.1/25",)),
        BridgeSpec("iso1", ("10.99.0.1/24",), routes=("192.0.2.0/24 via 10.99.0.2",)),
    ):
        with pytest.raises(IsolationError, match=r"iso0: routes: 192.0.2.0/24 overlaps 192.0.2.0/2[45] of bridge iso1"):
            plan_task([ISO0, other], host(), "default")


def test_the_boot_file_is_read_by_one_ip() -> None:
    """`ip -batch` without a family takes both."""
    lines = bootfiles.ip_batch(ISO0, "02:00:00:00:00:01", 1500).splitlines()
    assert lines[-2:] == [routes.command("replace", way, "iso0") for way in (WAY4, WAY6)]
