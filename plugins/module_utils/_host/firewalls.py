# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Firewalls of others, as far as they stop what goes to and from services. They are looked at, never changed."""

from __future__ import annotations

import re
import typing as t

from .._names import LINK_GROUP
from . import nft
from .files import read_text
from .process import find_tool, run
from .records import load_records

FIREWALLD = "/etc/firewalld/firewalld.conf"

_STRICT = re.compile(r"^\s*StrictForwardPorts\s*=\s*(yes|true)\s*$", re.IGNORECASE | re.MULTILINE)

Way = t.Tuple[str, str]
"""A side and a link (`-i`, `iso0`) of which everything is let through."""

_SIDES = {"iifname": "-i", "oifname": "-o", "iif": "-i", "oif": "-o", "iifgroup": "-i", "oifgroup": "-o"}


class Barrier(t.NamedTuple):
    """A chain that drops forwarded packets by its policy, and what rules of its table let through all the same."""

    name: str
    ways: frozenset[Way] = frozenset()

    def stops(self, bridges: t.Collection[str]) -> bool:
        """Whether it stops packets from or to one of the bridges; unknown bridges are taken to be stopped."""
        passed = {side for side, link in self.ways if link == str(LINK_GROUP)}
        return not bridges or any(
            side not in passed and (side, bridge) not in self.ways for side in ("-i", "-o") for bridge in bridges
        )


def _way(rule: t.Mapping[str, t.Any]) -> Way | None:
    """What a rule accepts, if it asks for nothing but a link."""
    said = [statement for statement in rule.get("expr", []) if "counter" not in statement]
    try:
        (matched, verdict) = said
        match = matched["match"]
        side = _SIDES[match["left"]["meta"]["key"]]
    except (ValueError, KeyError, TypeError):
        return None
    return (side, str(match["right"])) if "accept" in verdict and match.get("op") == "==" else None


def ways(objects: t.Iterable[t.Mapping[str, t.Any]]) -> frozenset[Way]:
    """What rules of a table accept without a further condition, as nft's JSON has them. Pure."""
    found = (_way(item["rule"]) for item in objects if "rule" in item)
    return frozenset(way for way in found if way is not None)


def legacy_barrier(tool: str, rules: str) -> Barrier | None:
    """The chain FORWARD of the older iptables, from what `iptables-legacy -S` lists; None if its policy is to accept. Pure."""
    lines = [line.split() for line in rules.splitlines()]
    if ["-P", "FORWARD", "DROP"] not in lines:
        return None
    plain = [line for line in lines if len(line) == 6 and line[0] == "-A" and line[4:] == ["-j", "ACCEPT"]]
    return Barrier(f"{tool} FORWARD", frozenset((line[2], line[3]) for line in plain if line[2] in ("-i", "-o")))


def _dropping(barriers: t.Iterable[Barrier], bridges: t.Collection[str]) -> str | None:
    found = [barrier.name for barrier in barriers if barrier.stops(bridges)]
    if not found:
        return None
    return (
        f"chain {', '.join(found)} (of Docker, ufw or another firewall) drops forwarded packets by policy, those of"
        " services too: allow them there, such as by iptables -I FORWARD -i BRIDGE -j ACCEPT and -o BRIDGE (iptables-legacy and"
        " ip6tables where these are named), or ufw route allow"
    )


def _strict(chains: t.Iterable[t.Mapping[str, t.Any]], settings: str | None) -> str | None:
    """See firewalld.conf(5), StrictForwardPorts: what others have translated is not accepted then."""
    if not any(chain["table"] == "firewalld" for chain in chains) or not _STRICT.search(settings or ""):
        return None
    return (
        f"firewalld drops ports that others publish, those of services too ({FIREWALLD} has StrictForwardPorts=yes):"
        " set it to no, and run firewall-cmd --reload"
    )


def judge(
    chains: t.Sequence[t.Mapping[str, t.Any]],
    barriers: t.Sequence[Barrier],
    bridges: t.Collection[str],
    settings: str | None,
) -> tuple[str, ...]:
    """What stops forwarded packets, with the remedy. Pure.

    `chains` are all that hang on a hook, `barriers` those that drop what is forwarded, `bridges` ours, `settings` firewalld's.
    """
    return tuple(found for found in (_dropping(barriers, bridges), _strict(chains, settings)) if found is not None)


def _barriers(chains: t.Iterable[t.Mapping[str, t.Any]]) -> list[Barrier]:
    found = []
    for chain in chains:
        if chain["hook"] == "forward" and chain.get("policy") == "drop":
            table = f"{chain['family']} {chain['table']}"
            found.append(Barrier(f"{table} {chain['name']}", ways(nft.rules(table))))
    return found


def _legacy_barriers() -> list[Barrier]:
    """Chains that nft does not know: those of ip_tables, where it is loaded and has a table of this name already."""
    found = []
    for names, tool in (("ip_tables_names", "iptables-legacy"), ("ip6_tables_names", "ip6tables-legacy")):
        tables = (read_text(f"/proc/self/net/{names}") or "").split()
        if "filter" in tables and find_tool(tool) is not None:
            barrier = legacy_barrier(tool, run([tool, "-S"], check=False).stdout)
            found += [barrier] if barrier is not None else []
    return found


def warnings() -> tuple[str, ...]:
    """What stops forwarded packets on this host, with the remedy."""
    chains = nft.base_chains()
    return judge(chains, [*_barriers(chains), *_legacy_barriers()], load_records("bridge"), read_text(FIREWALLD))
