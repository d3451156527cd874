# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From what is to what is asked for, without a host."""

from __future__ import annotations

import dataclasses
import typing as t

import pytest

from ansible_collections.daemonless.isolation.plugins.module_utils._bridge import hostwide
from ansible_collections.daemonless.isolation.plugins.module_utils._bridge.plan import plan_task
from ansible_collections.daemonless.isolation.plugins.module_utils._bridge.spec import BridgeSpec
from ansible_collections.daemonless.isolation.plugins.module_utils._bridge.state import Link, Route, World, parse_link
from ansible_collections.daemonless.isolation.plugins.module_utils._errors import IsolationError
from ansible_collections.daemonless.isolation.plugins.module_utils._host import unmanaged
from ansible_collections.daemonless.isolation.plugins.module_utils._host.files import RemoveFile, WriteFile
from ansible_collections.daemonless.isolation.plugins.module_utils._host.netlink import DeleteLink, MakeBridge, SetPort
from ansible_collections.daemonless.isolation.plugins.module_utils._host.records import Record
from ansible_collections.daemonless.isolation.plugins.module_utils._host.sysctl import WriteSysctl
from ansible_collections.daemonless.isolation.plugins.module_utils._names import LINK_GROUP

V4, V6 = "net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"
UPLINK = Link("eth0", "", "52:54:00:00:00:01", 1450, "default", True, None)
ISO0 = BridgeSpec("iso0", ("10.88.0.1/24", "fd88::1/64"))
EMPTY = World(
    links={"eth0": UPLINK},
    routes=(Route("default", "eth0", "unicast", "dhcp"), Route("192.0.2.0/24", "eth0", "unicast", "kernel")),
    machine="machine",
    sysctls={V4: "0", V6: "0", "net/ipv4/conf/all/accept_redirects": "1", "net/ipv6/conf/eth0/accept_ra": "1"},
    wanted="table",
)


def with_links(*links: Link) -> World:
    return dataclasses.replace(EMPTY, links={"eth0": UPLINK, **{link.name: link for link in links}})


def keys(plan: t.Any) -> list[str]:
    return [change.key for change in plan.elements[0].changes]


def test_new_bridge() -> None:
    plan = plan_task([ISO0], EMPTY, "default")
    (element,) = plan.elements
    assert keys(plan)[0] == "state"
    assert {"net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"} <= set(keys(plan))
    assert element.result["mtu"] == 1450
    assert isinstance(element.steps[0], MakeBridge)
    assert not any("nft" in key for key in keys(plan))


def test_forwarding_is_remembered_before_it_is_switched() -> None:
    plan = plan_task([ISO0], EMPTY, "default")
    names = [type(step).__name__ for step in plan.shared]
    assert names.index("WriteFile") < names.index("ApplyRuleset") < names.index("WriteSysctl")
    remembered = hostwide.settings(EMPTY, {"iso0": ISO0}).files["/etc/isolation/bridge.d/_host.json"]
    assert '"net/ipv4/conf/all/accept_redirects": "1"' in remembered


def test_advertised_route_is_kept_first() -> None:
    world = dataclasses.replace(EMPTY, routes=(Route("default", "eth0", "unicast", "ra"),))
    settings = hostwide.settings(world, {"iso0": ISO0})
    steps = [step for step in settings.steps if isinstance(step, WriteSysctl)]
    order = [step.key for step in steps]
    assert order.index("net/ipv6/conf/eth0/accept_ra") < order.index(V6)
    assert '"net/ipv6/conf/eth0/accept_ra": "1"' in settings.files["/etc/isolation/bridge.d/_host.json"]


def test_given_back_by_family() -> None:
    memory = {V4: "0", "net/ipv4/conf/all/accept_redirects": "1", V6: "0", "net/ipv6/conf/eth0/accept_ra": "1"}
    world = dataclasses.replace(EMPTY, memory=memory, sysctls={V4: "1", V6: "1", "net/ipv6/conf/eth0/accept_ra": "2"})
    only4 = BridgeSpec("iso0", ("10.88.0.1/24",))
    partly = hostwide.settings(world, {"iso0": only4})
    assert [(step.key, step.value) for step in partly.steps if isinstance(step, WriteSysctl)] == [
        (V6, "0"),
        ("net/ipv6/conf/eth0/accept_ra", "1"),
    ]
    assert partly.obsolete == ()
    everything = hostwide.settings(world, {})
    assert [step.key for step in everything.steps if isinstance(step, WriteSysctl)] == list(memory)
    assert everything.obsolete != ()


def test_forwarding_of_others_is_left() -> None:
    world = dataclasses.replace(EMPTY, sysctls={V4: "1", V6: "1"})
    assert hostwide.settings(world, {"iso0": ISO0}).steps == ()
    assert hostwide.settings(world, {}).steps == ()


@pytest.mark.parametrize(
    ("route", "word"),
    [
        (Route("10.0.0.0/8", "wg0", "unicast", "static"), "10.0.0.0/8 by wg0"),
        (Route("10.88.0.128/25", "eth0", "unicast", "kernel"), "route 10.88.0.128/25"),
        (Route("10.88.0.7", "eth0", "local", "kernel"), "address 10.88.0.7"),
        (Route("10.88.0.0/16", "", "blackhole", "static"), "blackhole"),
        (Route("fd88::/48", "eth0", "unicast", "ra"), "fd88::/48"),
    ],
)
def test_overlap(route: Route, word: str) -> None:
    world = dataclasses.replace(EMPTY, routes=(*EMPTY.routes, route))
    with pytest.raises(IsolationError, match=word):
        plan_task([ISO0], world, "default")


def test_overlap_of_own_route_is_none() -> None:
    world = dataclasses.replace(EMPTY, routes=(Route("10.88.0.0/24", "iso0", "unicast", "kernel"),))
    assert plan_task([ISO0], world, "default").elements[0].changed


@pytest.mark.parametrize(
    "link",
    [Link("iso0", "bridge", "", 1500, "default", True, None), Link("iso0", "veth", "", 1500, "default", True, None)],
)
def test_foreign_link(link: Link) -> None:
    with pytest.raises(IsolationError, match="not ours"):
        plan_task([ISO0], with_links(link), "default")


def record(spec: BridgeSpec, project: str = "default") -> Record:
    return Record("bridge", spec.name, project, spec.record(), {})


def test_ports_of_services_stay() -> None:
    spec = dataclasses.replace(ISO0, ports=("eth1",))
    links = (
        Link("iso0", "bridge", "02:00:00:00:00:01", 1450, str(LINK_GROUP), True, None, ISO0.addresses, 0, 1500, 30000),
        Link("eth1", "", "", 1500, "default", True, "iso0"),
        Link("veth7", "veth", "", 1500, "default", True, "iso0"),
    )
    world = dataclasses.replace(with_links(*links), records={"iso0": record(spec)})
    plan = plan_task([ISO0], world, "default")
    assert [step for step in plan.elements[0].steps if isinstance(step, SetPort)] == [SetPort("eth1", None)]
    gone = BridgeSpec("iso0", present=False)
    with pytest.raises(IsolationError, match="veth7"):
        plan_task([gone], world, "default")
    forced = plan_task([dataclasses.replace(gone, force=True)], world, "default")
    assert DeleteLink("iso0") in forced.elements[0].prepare


def test_absent_without_record_is_nothing() -> None:
    world = dataclasses.replace(with_links(Link("iso0", "bridge", "", 1500, "default", True, None)), wanted=None)
    plan = plan_task([BridgeSpec("iso0", present=False)], world, "default")
    assert (plan.elements[0].changed, plan.shared) == (False, ())


def test_other_project() -> None:
    world = dataclasses.replace(EMPTY, records={"iso0": record(ISO0, "other")})
    for spec in (ISO0, BridgeSpec("iso0", present=False)):
        with pytest.raises(IsolationError, match="other"):
            plan_task([spec], world, "default")


def test_rules_are_lines() -> None:
    known = record(ISO0)
    text = "table inet isolation_bridge {\n\tchain input-iso0 {\n\t\tct state established accept\n\t\tdrop\n\t}\n}\n"
    link = Link("iso0", "bridge", "", 1450, str(LINK_GROUP), True, None, ISO0.addresses, 0, 1500, 30000)
    world = dataclasses.replace(
        with_links(link), records={"iso0": known}, wanted=text, actual=text.replace("\t\tdrop\n", "\t\taccept\n")
    )
    changes = plan_task([ISO0], world, "default").elements[0].changes
    rules = [(change.before, change.after) for change in changes if change.key == "nft input-iso0"]
    assert rules == [("accept", None), (None, "drop")]


def test_parse_link() -> None:
    item = {
        "ifname": "iso0",
        "flags": ["BROADCAST", "UP"],
        "mtu": 1500,
        "group": "6910831",
        "address": "02:00:00:00:00:01",
        "linkinfo": {"info_kind": "bridge", "info_data": {"stp_state": 1, "forward_delay": 400, "ageing_time": 30000}},
        "addr_info": [
            {"local": "10.88.0.1", "prefixlen": 24, "scope": "global"},
            {"local": "fe80::1", "prefixlen": 64, "scope": "link"},
        ],
    }
    link = parse_link(item)
    assert link.addresses == ("10.88.0.1/24",)
    assert (link.kind, link.stp, link.forward_delay, link.up) == ("bridge", 1, 400, True)


OTHERS = unmanaged.Managers(networkd=True, network_manager=True, udev=True)


def test_other_managers_are_told_before_the_first_link_is_made() -> None:
    world = dataclasses.replace(EMPTY, managers=unmanaged.State(OTHERS))
    plan = plan_task([dataclasses.replace(ISO0, ports=("eth0",))], world, "default")
    names = [type(step).__name__ for step in plan.shared]
    assert names[:5] == ["RequireTools", "WriteFile", "WriteFile", "WriteFile", "ReloadManagers"]
    wanted = unmanaged.dropins(["iso0"], ["eth0"], OTHERS)
    assert {(step.path, step.text) for step in plan.shared[1:4] if isinstance(step, WriteFile)} == set(wanted.items())
    assert isinstance(plan.elements[0].steps[0], MakeBridge)


def test_lost_drop_ins_are_a_line() -> None:
    wanted = unmanaged.dropins(["iso0"], [], OTHERS)
    link = Link("iso0", "bridge", "", 1450, str(LINK_GROUP), True, None, ISO0.addresses, 0, 1500, 30000)
    world = dataclasses.replace(with_links(link), records={"iso0": record(ISO0)})
    whole = dataclasses.replace(world, managers=unmanaged.State(OTHERS, wanted))
    lost = dataclasses.replace(world, managers=unmanaged.State(OTHERS, {unmanaged.LINK: wanted[unmanaged.LINK]}))
    assert "drop-ins" not in keys(plan_task([ISO0], whole, "default"))
    (line,) = [one for one in plan_task([ISO0], lost, "default").elements[0].changes if one.key == "drop-ins"]
    assert line.after == f"{unmanaged.KEYFILE}, {unmanaged.NETWORK}"
    last = plan_task([BridgeSpec("iso0", present=False)], whole, "default")
    assert [step.path for step in last.shared if isinstance(step, RemoveFile)][:3] == sorted(unmanaged.PATHS)
    assert DeleteLink("iso0") in last.elements[0].prepare


def test_the_kernels_ports() -> None:
    """A bridge has 1023 ports at most: one more is refused; one in exchange for another is not."""
    full = [Link(f"port{number}", "dummy", "", 1500, "default", True, "iso0") for number in range(1023)]
    known = dataclasses.replace(ISO0, ports=("port0",))
    bridge = Link("iso0", "bridge", "", 1450, str(LINK_GROUP), True, None, ISO0.addresses, 0, 1500, 30000)
    links = with_links(bridge, *full, Link("eth1", "", "", 1500, "default", True, None))
    world = dataclasses.replace(links, records={"iso0": record(known)})
    plan_task([known], world, "default")
    with pytest.raises(IsolationError, match=r"iso0: ports: it would have 1024.* 1023: use another bridge"):
        plan_task([dataclasses.replace(ISO0, ports=("port0", "eth1"))], world, "default")
    swapped = plan_task([dataclasses.replace(ISO0, ports=("eth1",))], world, "default")
    moves = [step for step in swapped.elements[0].steps if isinstance(step, SetPort)]
    assert moves == [SetPort("port0", None), SetPort("eth1", "iso0")]
