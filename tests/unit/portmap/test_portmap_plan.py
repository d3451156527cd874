# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From any published ports to any others."""

from __future__ import annotations

import ipaddress
import re
import typing as t

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ansible_collections.daemonless.isolation.plugins.module_utils._errors import IsolationError
from ansible_collections.daemonless.isolation.plugins.module_utils._host.netlink import ForgetUdp
from ansible_collections.daemonless.isolation.plugins.module_utils._host.nft import ApplyRuleset
from ansible_collections.daemonless.isolation.plugins.module_utils._host.records import Record
from ansible_collections.daemonless.isolation.plugins.module_utils._host.sockets import Listener
from ansible_collections.daemonless.isolation.plugins.module_utils._portmap import elements, listing, render
from ansible_collections.daemonless.isolation.plugins.module_utils._portmap.check import check_conflicts
from ansible_collections.daemonless.isolation.plugins.module_utils._portmap.model import (
    Mapping,
    PortmapSpec,
    ServiceAddress,
)
from ansible_collections.daemonless.isolation.plugins.module_utils._portmap.plan import (
    _SCRIPT,
    desired_specs,
    plan_delta,
    plan_task,
)
from ansible_collections.daemonless.isolation.plugins.module_utils._portmap.state import World

OWNERS = ("a", "b", "c")
Elements = t.Dict[t.Tuple[str, str], t.Tuple[str, str]]


@st.composite
def clients(draw: st.DrawFn, six: bool) -> tuple[str, ...]:
    """Networks of clients, merged as the options are."""
    few = ["fd10::/16", "fd10:1::/32", "fd20::7"] if six else ["10.0.0.0/8", "172.16.0.0/12", "192.0.2.9", "0.0.0.0/0"]
    chosen = [ipaddress.ip_network(text) for text in draw(st.sets(st.sampled_from(few), max_size=2))]
    merged = sorted(ipaddress.collapse_addresses(chosen))  # type: ignore[type-var]
    return tuple(str(one.network_address) if one.num_addresses == 1 else str(one) for one in merged)


@st.composite
def mappings(draw: st.DrawFn) -> Mapping:
    six = draw(st.booleans())
    low = draw(st.integers(1, 12))
    length = draw(st.integers(0, 3))
    network = "fd88::" if six else "10.88.0."
    address = f"{network}{draw(st.integers(2, 4))}"
    host = draw(st.sampled_from([None, "fd00::1", "fd00::2"] if six else [None, "127.0.0.1", "192.0.2.1"]))
    protocol = draw(st.sampled_from(["tcp", "udp", "sctp"]))
    port = draw(st.sampled_from([low, 1, 20]))
    backends: tuple[tuple[str, int], ...] = ()
    if length == 0 and draw(st.booleans()):
        some = draw(st.sets(st.tuples(st.integers(2, 4), st.sampled_from([7, 8])), min_size=2, max_size=3))
        backends = tuple((f"{network}{last}", number) for last, number in sorted(some))
        address, port = backends[0]
    allow, deny = draw(clients(six)), draw(clients(six))
    return Mapping(host, low, low + length, protocol, address, port, allow, deny, backends)


@st.composite
def states(draw: st.DrawFn) -> dict[str, PortmapSpec]:
    """What all owners publish, without conflicts."""
    found: dict[str, PortmapSpec] = {}
    services = {f"10.87.0.{number}" for number in draw(st.sets(st.integers(1, 3)))}
    for owner in draw(st.sets(st.sampled_from(OWNERS))):
        mine: tuple[Mapping, ...] = ()
        for mapping in draw(st.lists(mappings(), max_size=4)):
            trial = {**found, owner: PortmapSpec(owner, (*mine, mapping))}
            try:
                check_conflicts(trial, OWNERS)
            except IsolationError:
                continue
            mine = (*mine, mapping)
        own = tuple(
            ServiceAddress(services.pop(), "10.88.0.2")
            for _number in range(min(len(services), draw(st.integers(0, 1))))
        )
        found[owner] = PortmapSpec(owner, mine, own)
    return found


def records(specs: t.Mapping[str, PortmapSpec]) -> dict[str, Record]:
    return {name: Record("portmap", name, "default", spec.kept, {}) for name, spec in specs.items()}


def _rule(words: list[str]) -> str:
    """The content of a chain, of the rule that it holds."""
    protocol, targets = words[2], " ".join(words[words.index("{") + 1 : -1])
    return f"{protocol} " + ", ".join(item.partition(" : ")[2] for item in targets.split(", "))


def kernel(before: Elements, script: str) -> Elements:
    """What the kernel makes of a script, which it takes all or nothing. It refuses a chain that something leads to no more than one that is not there."""
    found = dict(before)
    table = "inet isolation_nat "
    for line in script.splitlines():
        verb, kind, rest = line.split(" ", 2)
        assert rest.startswith(table), line
        rest = rest[len(table) :]
        if kind in ("chain", "rule"):
            name, *words = rest.split(" ")
            if kind == "rule":
                assert found["chain", name] == ("", ""), "a second rule"
                found["chain", name] = (_rule(words), "")
            elif verb == "delete":
                assert not any(data == f"goto {name}" for data, _owner in found.values()), f"{name} is in use"
                del found["chain", name]
            else:
                assert (("chain", name) in found) == (verb == "flush"), line
                found["chain", name] = ("", "")
            continue
        name, _brace, body = rest.partition(" { ")
        for item in body[: -len(" }")].split(", "):
            key, _sep, value = item.partition(' comment "')
            if verb == "delete":
                assert (name, key) in found, f"{key} is not there"
                del found[(name, key)]
            else:
                assert (name, key) not in found, f"{key} is there already"
                owner, _sep, data = value.partition('" : ')
                found[(name, key)] = (data, owner.rstrip('"'))
                assert not data.startswith("goto ") or ("chain", data[len("goto ") :]) in found
    return found


@given(states(), states())
def test_any_state_to_any_other(before: dict[str, PortmapSpec], after: dict[str, PortmapSpec]) -> None:
    """One transaction leads exactly there, and then there is nothing left to do."""
    specs = [after.get(name, PortmapSpec(name, present=False)) for name in OWNERS]
    actual = elements.all_elements(before.values())
    world = World(records=records(before), elements=actual, there=True, intact=True, script=_SCRIPT)
    plan = plan_task(specs, world, "default")
    scripts = [step.text for step in plan.shared if isinstance(step, ApplyRuleset)]
    assert len(scripts) <= 1
    if not after:
        assert not before or scripts == [render.table_text(None)]
        return
    wanted = elements.all_elements(after.values())
    assert kernel(actual, scripts[0] if scripts else "") == wanted
    text = render.table_text(wanted)
    settled = World(records(after), wanted, True, True, table_file=text, script=_SCRIPT)
    again = plan_task(specs, settled, "default")
    assert not any(element.changed for element in again.elements)
    assert again.shared == ()


@given(states(), states(), st.sets(st.sampled_from(OWNERS)))
def test_others_are_left_alone(before: dict[str, PortmapSpec], after: dict[str, PortmapSpec], scope: set[str]) -> None:
    """A delta touches only what belongs to the task's owners, and pairs that nobody owns."""
    desired = desired_specs([after.get(name, PortmapSpec(name, present=False)) for name in scope], records(before))
    try:
        check_conflicts(desired, scope)
    except IsolationError:
        assume(False)
    delta = plan_delta(elements.all_elements(before.values()), elements.all_elements(desired.values()), scope)
    actual = elements.all_elements(before.values())
    assert {owner for _data, owner in delta.add.values()} <= {*scope, ""}
    assert {actual[key][1] for key in delta.delete} <= {*scope, ""}


def spread(data: str, value: t.Callable[[str], t.Any]) -> list[t.Any]:
    """The rule of a chain in nft's JSON."""
    protocol, _sep, targets = data.partition(" ")
    held = [[number, value(target)] for number, target in enumerate(targets.split(", "))]
    numgen = {"mode": "inc", "mod": len(held), "offset": 0}
    family = "ip6" if ":" in targets else "ip"
    return [
        {"match": {"op": "==", "left": {"meta": {"key": "l4proto"}}, "right": int(protocol)}},
        {"dnat": {"family": family, "addr": {"map": {"key": {"numgen": numgen}, "data": {"set": held}}}}},
    ]


@given(states())
def test_listing_reads_what_is_written(state: dict[str, PortmapSpec]) -> None:
    """Elements survive the way through nft's JSON."""
    wanted = elements.all_elements(state.values())
    objects: dict[str, dict[str, t.Any]] = {}

    def part(word: str) -> t.Any:
        if re.fullmatch(r"\d+-\d+", word):
            return {"range": [int(number) for number in word.split("-")]}
        if "/" in word:
            return {"prefix": {"addr": word.partition("/")[0], "len": int(word.partition("/")[2])}}
        return int(word) if word.isdigit() else word

    def value(words: str) -> t.Any:
        if words.startswith("goto "):
            return {"goto": {"target": words[len("goto ") :]}}
        parts = [part(word) for word in words.split(" . ")]
        return {"concat": parts} if len(parts) > 1 else parts[0]

    for (name, key), (data, owner) in wanted.items():
        if name == "chain":
            objects[key] = {"chain": {"name": key}}
            objects[f"rule of {key}"] = {"rule": {"chain": key, "expr": spread(data, value)}}
            continue
        kind = "map" if data else "set"
        body = objects.setdefault(name, {kind: {"name": name, "elem": []}})[kind]
        entry: t.Any = {"elem": {"val": value(key), "comment": owner}} if owner else value(key)
        body["elem"].append([entry, value(data)] if data else entry)
    assert listing.parse_elements(list(objects.values())) == wanted


WEB = PortmapSpec(
    "web", (Mapping(None, 80, 80, "tcp", "10.88.0.2", 3000), Mapping(None, 53, 53, "udp", "10.88.0.2", 53))
)


def test_first_time_is_a_whole_table() -> None:
    plan = plan_task([WEB], World(), "default")
    names = [type(step).__name__ for step in plan.shared]
    assert names == ["RequireTools", "WriteFile", "WriteFile", "ApplyRuleset", "ForgetUdp"]
    assert [change.key for change in plan.elements[0].changes] == ["tcp 80", "udp 53"]


def test_only_changed_udp_is_forgotten() -> None:
    moved = PortmapSpec("web", (Mapping(None, 80, 80, "tcp", "10.88.0.3", 3000), WEB.mappings[1]))
    actual = elements.all_elements([WEB])
    world = World(records=records({"web": WEB}), elements=actual, there=True, intact=True)
    plan = plan_task([moved], world, "default")
    assert not any(isinstance(step, ForgetUdp) for step in plan.shared)
    gone = plan_task([PortmapSpec("web", WEB.mappings[:1])], world, "default")
    (forget,) = [step for step in gone.shared if isinstance(step, ForgetUdp)]
    assert [(flow.address, flow.port) for flow in forget.flows] == [(None, 53)]


@pytest.mark.parametrize(
    ("address", "mapping", "refused"),
    [
        ("0.0.0.0", Mapping(None, 80, 80, "tcp", "10.88.0.2", 80), True),
        ("127.0.0.53", Mapping(None, 80, 80, "tcp", "10.88.0.2", 80), True),
        ("127.0.0.53", Mapping("127.0.0.1", 80, 80, "tcp", "10.88.0.2", 80), False),
        ("0.0.0.0", Mapping("127.0.0.1", 80, 80, "tcp", "10.88.0.2", 80), True),
        ("::", Mapping(None, 80, 80, "tcp", "10.88.0.2", 80), True),
        ("::1", Mapping(None, 80, 80, "tcp", "fd88::2", 80), False),
        ("fd00::1", Mapping(None, 80, 80, "tcp", "10.88.0.2", 80), False),
        ("0.0.0.0", Mapping(None, 80, 80, "udp", "10.88.0.2", 80), False),
        ("0.0.0.0", Mapping(None, 70, 90, "tcp", "10.88.0.2", 70), True),
    ],
)
def test_listeners(address: str, mapping: Mapping, refused: bool) -> None:
    world = World(listeners=(Listener("tcp", address, 80, "process 7 (nginx)"),))
    specs = [PortmapSpec("web", (mapping,))]
    if refused:
        with pytest.raises(IsolationError, match=r"process 7 \(nginx\)"):
            plan_task(specs, world, "default")
    else:
        assert plan_task(specs, world, "default").elements[0].changed


def test_elements_that_nobody_asked_for_are_told_beside_a_mapping() -> None:
    """And those that go with a mapping, such as the way back to its address, are not."""
    actual = dict(elements.all_elements([WEB]))
    key = next(key for key, (_data, owner) in actual.items() if owner == "web")
    actual[key[0], "tcp . 99"] = ("10.0.0.1 . 80", "")
    world = World(records=records({"web": WEB}), elements=actual, there=True, intact=True)
    (same,) = plan_task([WEB], world, "default").elements
    assert [(change.key, change.after) for change in same.changes][:1] == [("nftables", "tcp 99")]
    moved = PortmapSpec("web", tuple(one._replace(address="10.88.0.3") for one in WEB.mappings))
    (element,) = plan_task([moved], world, "default").elements
    assert [(change.key, change.after) for change in element.changes] == [
        ("tcp 80", "10.88.0.3:3000"), ("udp 53", "10.88.0.3:53"), ("nftables", "tcp 99"),
    ]  # fmt: skip


def test_missing_boot_files_are_a_change() -> None:
    world = World(records=records({"web": WEB}), elements=elements.all_elements([WEB]), there=True, intact=True)
    (element,) = plan_task([WEB], world, "default").elements
    assert [change.key for change in element.changes] == ["boot files"]
