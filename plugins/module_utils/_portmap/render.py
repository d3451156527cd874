# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The nftables table of published ports as text. Pure."""

from __future__ import annotations

import typing as t

from .. import _paths
from .._names import LINK_GROUP
from .elements import CHAIN, Elements, Key

TABLE = "inet isolation_nat"

_CHUNK = 1000

_FAMILIES = (("4", "ip", "ipv4_addr", "127.0.0.0/8"), ("6", "ip6", "ipv6_addr", "::1"))


def maps() -> list[tuple[str, str, bool]]:
    """Name, type and whether it holds intervals, of each map and set."""
    found = []
    for version, _proto, kind, _loopback in _FAMILIES:
        key, exact = "inet_proto . inet_service", f"{kind} . inet_service"
        found += [
            (f"one{version}", f"{kind} . {key} : {exact}", False),
            (f"any{version}", f"{key} : {exact}", False),
            (f"one{version}_range", f"{kind} . {key} : {kind}", True),
            (f"any{version}_range", f"{key} : {kind}", True),
            (f"one{version}_spread", f"{kind} . {key} : verdict", False),
            (f"any{version}_spread", f"{key} : verdict", False),
            (f"allow{version}", f"{kind} . {kind} . {key}", True),
            (f"deny{version}", f"{kind} . {kind} . {key}", True),
            (f"only{version}", f"{kind} . {key}", True),
            (f"service{version}", f"{kind} : {kind}", False),
            (f"self{version}", f"{kind} . {kind}", False),
        ]
    return found


def _judge(proto: str, version: str) -> list[str]:
    """Rules about new connections to ports that are not for everybody."""
    place = f"{proto} daddr . meta l4proto . th dport"
    return [
        f"{proto} saddr . {place} @deny{version} drop",
        f"{proto} saddr . {place} @allow{version} accept",
        f"{place} @only{version} drop",
    ]


def _publish(proto: str, version: str) -> list[str]:
    """Rules that lead ports of the host elsewhere."""
    one, any_ = f"{proto} daddr . meta l4proto . th dport", "meta l4proto . th dport"
    rules = [f"dnat {proto} to {one} map @one{version}{suffix}" for suffix in ("", "_range")]
    rules.append(f"{one} vmap @one{version}_spread")
    if version == "6":
        rules.append("ip6 daddr ::1 return")
    rules += [f"dnat {proto} to {any_} map @any{version}{suffix}" for suffix in ("", "_range")]
    return [*rules, f"meta nfproto ipv{version} {any_} vmap @any{version}_spread"]


def _chains() -> list[tuple[str, list[str]]]:
    guard = ["type filter hook prerouting priority -300; policy accept;"]
    publish, judge, service, output = [], [], [], []
    post = ["type nat hook postrouting priority 90; policy accept;"]
    for version, proto, _kind, loopback in _FAMILIES:
        guard += [f'iifname != "lo" {proto} {side} {loopback} drop' for side in ("saddr", "daddr")]
        judge += _judge(proto, version)
        publish += _publish(proto, version)
        service.append(f"iifgroup {LINK_GROUP} dnat {proto} to {proto} daddr map @service{version}")
        output.append(f"dnat {proto} to {proto} daddr map @service{version}")
        post.append(f"{proto} saddr . {proto} daddr @self{version} masquerade")
    post.append('ip saddr 127.0.0.0/8 oifname != "lo" ct status dnat masquerade')
    local = "fib daddr type local jump publish"
    admit = [
        "type filter hook prerouting priority -120; policy accept;",
        "ct state new fib daddr type local jump judge",
    ]
    return [
        ("guard", guard),
        ("judge", judge),
        ("admit", admit),
        ("publish", publish),
        ("prerouting", ["type nat hook prerouting priority -110; policy accept;", local, *service]),
        ("output", ["type nat hook output priority -110; policy accept;", local, *output]),
        ("postrouting", post),
    ]


def _spread_rule(data: str) -> str:
    """The rule of a chain that spreads connections, each new one to the next target."""
    protocol, _sep, targets = data.partition(" ")
    held = targets.split(", ")
    family = "ip6" if ":" in targets else "ip"
    listed = ", ".join(f"{number} : {target}" for number, target in enumerate(held))
    return f"meta l4proto {protocol} dnat {family} to numgen inc mod {len(held)} map {{ {listed} }}"


def _element(key: str, data: str, owner: str) -> str:
    comment = f' comment "{owner}"' if owner else ""
    return f"{key}{comment} : {data}" if data else f"{key}{comment}"


def table_text(elements: Elements | None) -> str:
    """A script for `nft -f` that replaces the table as a whole; with None, that removes it."""
    lines = [f"# {_paths.MARKER}", f"table {TABLE}", f"delete table {TABLE}"]
    if elements is None:
        return "\n".join(lines) + "\n"
    held: dict[str, list[str]] = {}
    for (name, key), (data, owner) in sorted(elements.items()):
        held.setdefault(name, []).append(_element(key, data, owner))
    lines.append(f"table {TABLE} {{")
    for name, kind, interval in maps():
        lines += [f"\t{'map' if ':' in kind else 'set'} {name} {{", f"\t\ttype {kind}"]
        lines += ["\t\tflags interval"] if interval else []
        if name in held:
            lines += ["\t\telements = {", *(f"\t\t\t{element}," for element in held[name]), "\t\t}"]
        lines.append("\t}")
    chains = [
        (name, [_spread_rule(data)]) for (kind, name), (data, _owner) in sorted(elements.items()) if kind == CHAIN
    ]
    for name, rules in [*chains, *_chains()]:
        lines += [f"\tchain {name} {{", *(f"\t\t{rule}" for rule in rules), "\t}"]
    lines.append("}")
    return "\n".join(lines) + "\n"


def _batches(verb: str, items: t.Mapping[str, list[str]]) -> list[str]:
    return [
        f"{verb} element {TABLE} {name} {{ {', '.join(elements[start : start + _CHUNK])} }}"
        for name, elements in items.items()
        for start in range(0, len(elements), _CHUNK)
    ]


def delta_text(delete: t.Iterable[Key], add: Elements) -> str:
    """A script for `nft -f` that deletes and adds elements in one transaction; a key in both is swapped.

    A chain is made before an element leads to it, and deleted after the last one that did.
    """
    gone: dict[str, list[str]] = {}
    for name, key in sorted(delete):
        gone.setdefault(name, []).append(key)
    new: dict[str, list[str]] = {}
    chains = set(gone.pop(CHAIN, []))
    made = []
    for (name, key), (data, owner) in sorted(add.items()):
        if name == CHAIN:
            made.append(f"{'flush' if key in chains else 'add'} chain {TABLE} {key}")
            made.append(f"add rule {TABLE} {key} {_spread_rule(data)}")
            chains.discard(key)
        else:
            new.setdefault(name, []).append(_element(key, data, owner))
    ended = [f"{verb} chain {TABLE} {name}" for name in sorted(chains) for verb in ("flush", "delete")]
    return "\n".join([*_batches("delete", gone), *made, *_batches("add", new), *ended]) + "\n"
