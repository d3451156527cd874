# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From any published ports to any others, on the real kernel."""

from __future__ import annotations

import json
import typing as t

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from standins import generation
from world import HOST4, HOST6, World, difference

OWNERS = ("a", "b", "c")
CLIENTS = {
    False: [["10.0.0.0/8"], ["192.0.2.9", "172.16.0.0/12"], ["0.0.0.0/0"], ["10.1.0.0/16", "10.0.0.0/8"]],
    True: [["fd10::/16"], ["fd20::7", "fd30::/20"], ["::/0"], ["fd10:1::/32", "fd10::/16"]],
}
PLACES: dict[bool, list[tuple[str | None, ...]]] = {
    False: [(None,), (HOST4,), ("127.0.0.1",), ("127.0.0.1", HOST4)],
    True: [(None,), (HOST6,)],
}
PROTOCOLS = {"tcp": 6, "udp": 17, "sctp": 132}

Mapping = t.Dict[str, t.Any]
Led = t.Dict[t.Tuple[t.Any, ...], t.Tuple[str, t.FrozenSet[t.Tuple[str, int]]]]
"""Owner and targets by protocol, family, address of the host (None: each) and port; of a service address by that alone."""


def address(six: bool, last: int) -> str:
    return f"fd88::{last}" if six else f"10.88.0.{last}"


@st.composite
def mappings(draw: st.DrawFn, first: int, protocol: str, six: bool, host: str | None) -> Mapping:
    """A mapping of at most ten ports from `first` on: one port, a range that is kept or shifted, or a port of several targets."""
    made: Mapping = {"protocol": protocol, **({"host_address": host} if host else {})}
    kind = draw(st.sampled_from(["single", "range", "backends"]))
    if kind == "single":
        port = draw(st.sampled_from([None, first, first + 1, 3000]))
        made.update(host_port=first, address=address(six, draw(st.integers(2, 4))), **({"port": port} if port else {}))
    elif kind == "range":
        last = first + draw(st.integers(0, 9))
        shift = draw(st.sampled_from([0, 1, 5000]))
        made.update(host_port=f"{first}-{last}", port=f"{first + shift}-{last + shift}")
        made["address"] = address(six, draw(st.integers(2, 4)))
    else:
        targets = sorted(draw(st.sets(st.tuples(st.integers(2, 5), st.sampled_from([3000, 3001])), min_size=1)))
        made.update(host_port=first, backends=[{"address": address(six, last), "port": port} for last, port in targets])
    for option in ("allow_from", "deny_from"):
        if draw(st.booleans()):
            made[option] = draw(st.sampled_from(CLIENTS[six]))
    return made


@st.composite
def tasks(draw: st.DrawFn) -> list[dict[str, t.Any]]:
    """What each owner publishes: ports and addresses go from one to another between two tasks, or are nobody's."""
    found: dict[str, dict[str, list[dict[str, t.Any]]]] = {owner: {} for owner in OWNERS}
    holder = st.sampled_from([None, *OWNERS])

    def give(owner: str | None, option: str, value: dict[str, t.Any]) -> None:
        if owner is not None:
            found[owner].setdefault(option, []).append(value)

    for slot in range(5):
        for protocol, six in draw(st.sets(st.tuples(st.sampled_from(list(PROTOCOLS)), st.booleans()), max_size=2)):
            for host in draw(st.sampled_from(PLACES[six])):
                give(draw(holder), "mappings", draw(mappings(1000 + 10 * slot, protocol, six, host)))
    for six in (False, True):
        for stable in ("fd87::7", "fd87::8") if six else ("10.87.0.7", "10.87.0.8"):
            give(draw(holder), "service_addresses", {"address": stable, "to": address(six, draw(st.integers(2, 4)))})
    return [{"name": owner, **held} if held else {"name": owner, "state": "absent"} for owner, held in found.items()]


def asked(task: t.Sequence[t.Mapping[str, t.Any]]) -> Led:
    """What a task asks for, port by port."""
    found: Led = {}
    for element in task:
        for item in element.get("service_addresses", ()):
            found[(item["address"],)] = (element["name"], frozenset({(item["to"], 0)}))
        for item in element.get("mappings", ()):
            low, _sep, high = str(item["host_port"]).partition("-")
            start = int(str(item.get("port", low)).partition("-")[0])
            for number, port in enumerate(range(int(low), int(high or low) + 1)):
                targets = [(one["address"], one["port"]) for one in item.get("backends", ())]
                targets = targets or [(item["address"], start + number)]
                six = ":" in targets[0][0]
                place = (PROTOCOLS[item["protocol"]], six, item.get("host_address"), port)
                found[place] = (element["name"], frozenset(targets))
    return found


def ports(value: t.Any) -> range:
    """The ports of a key as nft has them."""
    if isinstance(value, dict) and "prefix" in value:
        first = int(value["prefix"]["addr"])
        return range(first, first + 2 ** (16 - value["prefix"]["len"]))
    low, high = value["range"] if isinstance(value, dict) else (value, value)
    return range(int(low), int(high) + 1)


def led(world: World) -> Led:
    """What the kernel leads where, read without the modules' code."""
    listed = json.loads(world.sh("nft -j list table inet isolation_nat 2>/dev/null || echo '{\"nftables\": []}'"))
    chains: dict[str, list[tuple[str, int]]] = {}
    found: Led = {}
    for item in listed["nftables"]:
        rule = item.get("rule", {})
        if rule.get("chain", "").startswith("spread_"):
            entries = rule["expr"][-1]["dnat"]["addr"]["map"]["data"]["set"]
            chains[rule["chain"]] = [tuple(target["concat"]) for _number, target in entries]
    for item in listed["nftables"]:
        name = item.get("map", {}).get("name", "")
        for key, value in item.get("map", {}).get("elem", ()):
            owner, words = key["elem"]["comment"], key["elem"]["val"]
            if name.startswith("service"):
                found[(words,)] = (owner, frozenset({(value, 0)}))
                continue
            *place, protocol, numbers = words["concat"]
            number = PROTOCOLS.get(protocol, protocol)
            for port in ports(numbers):
                targets = chains[value["goto"]["target"]] if name.endswith("_spread") else [(value, port)]
                targets = [tuple(value["concat"])] if "concat" in value else targets
                found[number, "6" in name, place[0] if place else None, port] = (owner, frozenset(targets))
    return found


@settings(
    max_examples=10, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), phases=[Phase.generate]
)
@given(first=tasks(), second=tasks())
def test_any_ports_to_any_others(world: World, first: list[dict[str, t.Any]], second: list[dict[str, t.Any]]) -> None:
    """One transaction, exactly as check mode has told; nothing left to do afterwards, and nothing left of what is removed."""
    # A host without systemd runs its scripts again before the first port is there: with a bridge it has done so.
    if not world.sh("ls /sys/class/net | grep iso0 || true"):
        world.apply("bridge", name="iso0", addresses=["10.88.0.1/24", "fd88::1/64"])
    clean = world.snapshot()
    for task in (first, second):
        before = generation(world)
        predicted = world.module("nat_portmap", check=True, aggregate=task)
        assert generation(world) == before
        applied = world.apply("nat_portmap", aggregate=task)
        assert generation(world) - before == bool(applied["changed"])
        assert applied["diff"] == predicted["diff"]
        assert [entry["portmap"] for entry in applied["results"]] == [
            entry["portmap"] for entry in predicted["results"]
        ]
        assert led(world) == asked(task)
        assert not world.module("nat_portmap", check=True, aggregate=task)["changed"]
    world.apply("nat_portmap", aggregate=[{"name": owner, "state": "absent"} for owner in OWNERS])
    assert difference(clean, world.snapshot()) == {}
