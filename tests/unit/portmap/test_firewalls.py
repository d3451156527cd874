# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is said of other firewalls."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.daemonless.isolation.plugins.module_utils._host import firewalls


def chain(table: str, hook: str = "forward", policy: str | None = "accept", name: str = "FORWARD") -> dict[str, t.Any]:
    return {"family": "ip", "table": table, "name": name, "hook": hook, **({"policy": policy} if policy else {})}


def rule(*matches: tuple[str, str], verdict: str = "accept", sign: str = "==") -> dict[str, t.Any]:
    said: list[dict[str, t.Any]] = [
        {"match": {"op": sign, "left": {"meta": {"key": key}}, "right": value}} for key, value in matches
    ]
    return {"rule": {"expr": [*said, {"counter": {"packets": 0, "bytes": 0}}, {verdict: None}]}}


BAR, OTHER = firewalls.Barrier("ip filter FORWARD"), firewalls.Barrier("ip x FORWARD")
OPEN = firewalls.Barrier("ip filter FORWARD", frozenset({("-i", "iso0"), ("-o", "iso0")}))


@pytest.mark.parametrize(
    ("chains", "barriers", "bridges", "settings", "words"),
    [
        ([], [], [], None, []),
        ([chain("filter")], [], [], None, []),
        ([], [BAR, OTHER], ["iso0"], None, ["ip filter FORWARD, ip x FORWARD"]),
        ([], [OPEN, OTHER], ["iso0"], None, ["chain ip x FORWARD"]),
        ([], [OPEN], ["iso0"], None, []),
        ([], [OPEN], ["iso0", "iso1"], None, ["ip filter FORWARD"]),
        ([], [OPEN], [], None, ["ip filter FORWARD"]),
        ([chain("firewalld")], [], [], "# StrictForwardPorts=yes\nStrictForwardPorts=no\n", []),
        ([chain("firewalld")], [], [], "[x]\n StrictForwardPorts = Yes\n", ["StrictForwardPorts"]),
        ([chain("firewalld", "input")], [], [], "StrictForwardPorts=true\n", ["StrictForwardPorts"]),
        ([chain("filter")], [], [], "StrictForwardPorts=yes\n", []),
        ([chain("firewalld")], [BAR], [], "StrictForwardPorts=yes", ["ufw", "firewall-cmd"]),
    ],
)
def test_judge(
    chains: list[dict[str, t.Any]],
    barriers: list[firewalls.Barrier],
    bridges: list[str],
    settings: str | None,
    words: list[str],
) -> None:
    found = firewalls.judge(chains, barriers, bridges, settings)
    assert len(found) == len(words)
    for word, warning in zip(words, found):
        assert word in warning


def test_ways() -> None:
    """Only a rule without another condition lets all packets of a link through."""
    objects = [
        {"table": {"name": "filter"}},
        rule(("iifname", "iso0")),
        rule(("oifname", "iso0")),
        rule(("iifname", "iso1"), ("oifname", "eth0")),
        rule(("iifname", "iso2"), verdict="drop"),
        rule(("iifname", "iso3"), sign="!="),
        rule(("mark", "7")),
        rule(("iifgroup", "6910831")),
    ]
    assert firewalls.ways(objects) == {("-i", "iso0"), ("-o", "iso0"), ("-i", "6910831")}


@pytest.mark.parametrize(("links", "stops"), [(["iso0"], True), (["6910831"], False), (["iso0", "iso1"], False)])
def test_the_group_is_all_bridges(links: list[str], stops: bool) -> None:
    ways = frozenset((side, link) for side in ("-i", "-o") for link in links)
    assert firewalls.Barrier("x", ways).stops(["iso0", "iso1"]) is stops


def test_older_iptables() -> None:
    rules = "-P INPUT ACCEPT\n-P FORWARD DROP\n-A FORWARD -i iso0 -j ACCEPT\n-A FORWARD -o iso0 -p tcp -j ACCEPT\n"
    assert firewalls.legacy_barrier("iptables-legacy", rules) == firewalls.Barrier(
        "iptables-legacy FORWARD", frozenset({("-i", "iso0")})
    )
    assert firewalls.legacy_barrier("iptables-legacy", "-P FORWARD ACCEPT\n") is None
