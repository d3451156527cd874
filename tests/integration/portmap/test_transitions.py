# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From any published ports to any others, on the real kernel."""

from __future__ import annotations

import json
import sys
import typing as t

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from world import COLLECTIONS, World, difference

OWNERS = ("a", "b", "c")
CLIENTS = {
    False: [["10.0.0.0/8"], ["192.0.2.9", "172.16.0.0/12"], ["0.0.0.0/0"], ["10.1.0.0/16", "10.0.0.0/8"]],
    True: [["fd10::/16"], ["fd20::7", "fd30::/20"], ["::/0"], ["fd10:1::/32", "fd10::/16"]],
}
GENERATION = """
import sys
sys.path.insert(0, sys.argv[1])
from ansible_collections.daemonless.isolation.plugins.module_utils._host import nft
print(nft.generation())
"""

Mapping = t.Dict[str, t.Any]


@st.composite
def mappings(draw: st.DrawFn, first: int) -> Mapping:
    """A mapping of at most ten ports from `first` on."""
    six = draw(st.booleans())
    network = "fd88::" if six else "10.88.0."
    addresses = [f"{network}{last}" for last in sorted(draw(st.sets(st.integers(2, 5), min_size=1, max_size=3)))]
    length, shift = draw(st.integers(1, 9)), draw(st.sampled_from([0, 1, 5000]))
    made: Mapping = {"protocol": draw(st.sampled_from(["tcp", "udp", "sctp"]))}
    host = draw(st.sampled_from([None, "2001:db8:1::1" if six else "198.51.100.1"]))
    if host:
        made["host_address"] = host
    if len(addresses) > 1:
        made.update(host_port=str(first), backends=[{"address": address, "port": 3000} for address in addresses])
    else:
        last = first + length - 1
        made.update(host_port=f"{first}-{last}", port=f"{first + shift}-{last + shift}", address=addresses[0])
    for option in ("allow_from", "deny_from"):
        if draw(st.booleans()):
            made[option] = draw(st.sampled_from(CLIENTS[six]))
    return made


@st.composite
def tasks(draw: st.DrawFn) -> list[dict[str, t.Any]]:
    """What each owner publishes: ports go from one to another between two tasks, or are published by nobody."""
    found: dict[str, list[Mapping]] = {owner: [] for owner in OWNERS}
    for slot in range(6):
        owner = draw(st.sampled_from([None, *OWNERS]))
        if owner is not None:
            found[owner].append(draw(mappings(1000 + 10 * slot)))
    return [
        {"name": owner, "mappings": held} if held else {"name": owner, "state": "absent"}
        for owner, held in found.items()
    ]


def generation(world: World) -> int:
    """The number of the ruleset, which every transaction raises by one."""
    return int(world.run([sys.executable, "-c", GENERATION, str(COLLECTIONS)]).stdout)


def comments(world: World) -> set[str]:
    """The owners that the table knows."""
    listed = json.loads(world.sh("nft -j list ruleset"))["nftables"]
    bodies = [item.get("map") or item.get("set") or {} for item in listed]
    entries = [entry[0] if isinstance(entry, list) else entry for body in bodies for entry in body.get("elem", [])]
    return {entry["elem"]["comment"] for entry in entries if isinstance(entry, dict) and "elem" in entry}


@settings(
    max_examples=8, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), phases=[Phase.generate]
)
@given(first=tasks(), second=tasks())
def test_any_ports_to_any_others(world: World, first: list[dict[str, t.Any]], second: list[dict[str, t.Any]]) -> None:
    """One transaction, exactly as check mode has told; nothing left to do afterwards, and nothing left of what is removed."""
    # A host without systemd runs its scripts again before the first port is there: with a bridge it has done so.
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
        assert not world.module("nat_portmap", check=True, aggregate=task)["changed"]
        assert comments(world) == {element["name"] for element in task if "mappings" in element}
    world.apply("nat_portmap", aggregate=[{"name": owner, "state": "absent"} for owner in OWNERS])
    assert difference(clean, world.snapshot()) == {}
