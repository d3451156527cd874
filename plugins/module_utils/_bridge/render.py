# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The nftables table of all bridges, as text. Pure.

Each bridge has chains of its own (`guard-NAME` and so on), so that a rule that differs can be attributed. Priorities are
numbers, since older nft does not know their names in every hook. The chains `admin-*` are empty: files of the
administrator fill them, and they come first.
"""

from __future__ import annotations

import functools
import operator
import typing as t

from .. import _paths
from . import ports
from .spec import BridgeSpec

TABLE = "inet isolation_bridge"
TABLES = (TABLE, ports.TABLE)
ADMIN_FILES = _paths.ETC + "/nft.d/*.nft"
"""The administrator's: read with the tables, in one transaction, and never touched."""

GUARD_FILES = _paths.INSTANCES + "/*/" + ports.GUARD_FILE
"""What each instance's links may send, as its bundle has it."""

METADATA6 = ("fd00:ec2::254", "fd20:ce::254")
"""Where clouds answer for instances' metadata over v6; 169.254.0.0/16 is the v4 counterpart (RFC 3927)."""

_PROTO = {4: "ip", 6: "ip6"}
_NUMBERS = {"icmp": 1, "icmpv6": 58}
"""Protocols by number: a host without /etc/protocols does not know their names."""

Chains = t.Dict[str, t.List[str]]


def quote_set(names: t.Iterable[str]) -> str:
    """Names of links as an nft set."""
    return "{ " + ", ".join(f'"{name}"' for name in names) + " }"


def _set(values: t.Iterable[t.Any]) -> str:
    return "{ " + ", ".join(str(value) for value in values) + " }"


def _spoof(bridge: BridgeSpec) -> list[str]:
    """What may come from a bridge: what lies behind it as source, never the bridge's own address, nothing for loopback.

    With links of the host as ports, there is a network behind them whose sources can't be known.
    """
    rules = ["ip daddr 127.0.0.0/8 drop", "ip6 daddr ::1 drop"]
    if bridge.ports:
        return [*rules, "ip saddr 127.0.0.0/8 drop", "ip6 saddr ::1 drop"]
    four, six = bridge.ranges(4), bridge.ranges(6)
    rules += [
        f"{_PROTO[version]} saddr {_set(bridge.hosts(version))} drop" for version in (4, 6) if bridge.hosts(version)
    ]
    rules.append(f"ip saddr != {_set(four)} drop" if four else "meta nfproto ipv4 drop")
    # Link-local and unspecified sources carry neighbour discovery (RFC 4861, 7.2.2; RFC 4862, 5.4).
    rules.append(f"ip6 saddr != {_set([*six, 'fe80::/10', '::'])} drop")
    return rules


def _guard(bridge: BridgeSpec) -> list[str]:
    """What may come from elsewhere to what lies behind a bridge before connection tracking: nothing but from trusted links.

    Answers to masqueraded flows carry the host's address at this point. In mode `routed` answers carry the service's:
    there the forward hook decides, and only the bridge's own address is closed here.
    """
    rules = []
    if bridge.trusted_interfaces:
        rules.append(f"iifname {quote_set(bridge.trusted_interfaces)} return")
    for version in (4, 6):
        closed: t.Sequence[t.Any] = bridge.ranges(version)
        if bridge.mode_of(version) == "routed":
            closed = bridge.hosts(version)
        if closed:
            rules.append(f"{_PROTO[version]} daddr {_set(closed)} drop")
    return rules


def _input(bridge: BridgeSpec) -> list[str]:
    """What services may reach on the host itself: answers, neighbour discovery, and what is listed."""
    rules = [
        "ct state established,related accept",
        "icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept",
    ]
    for entry in bridge.service_to_host:
        protocol, _sep, ports = entry.partition("/")
        rules.append(f"{protocol} dport {ports} accept" if ports else f"meta l4proto {_NUMBERS[entry]} accept")
    return [*rules, "drop"]


def _allowed(bridge: BridgeSpec, others: t.Sequence[BridgeSpec]) -> list[str]:
    """The other bridges that this one may talk to: a pair is open if either of them says so."""
    return [other.name for other in others if other.name in bridge.allow_bridges or bridge.name in other.allow_bridges]


def _marked(bridge: BridgeSpec) -> str:
    return f"meta mark & {bridge.mark:#010x} != 0"


def _mark(bits: int) -> str:
    return f"meta mark set meta mark | {bits:#010x}"


def _siblings(bridge: BridgeSpec) -> list[str]:
    """What services of one bridge may send each other, through the host.

    What is published is for everybody. A service address is not published: the packet was not for an address of the host.
    """
    own = f'oifname "{bridge.name}"'
    if bridge.siblings == "allow":
        return [f"{own} accept"]
    pairs = [
        f"{own} {_PROTO[version]} saddr {one} {_PROTO[version]} daddr {other} accept"
        for version in (4, 6)
        for one, other in bridge.pairs(version)
    ]
    return [
        f"{own} ct state established,related accept",
        f"{own} ct status dnat {_marked(bridge)} accept",
        *pairs,
        f"{own} drop",
    ]


def _admit(bridge: BridgeSpec, others: t.Sequence[BridgeSpec]) -> list[str]:
    """What is led behind a bridge by the routing rules, by its mark; these chains come after destination translation.

    Without the mark the rules drop it: so nothing gets through while the tables are gone. Where bridged packets pass
    these chains (br_netfilter), the mark is also what lets a translated one go from port to port.
    """
    sources = [*bridge.trusted_interfaces, *_allowed(bridge, others)]
    rules = [f"ct state established,related {_mark(bridge.mark)}"]
    if sources:
        rules.append(f"iifname {quote_set(sources)} {_mark(bridge.mark)}")
    own = f'iifname "{bridge.name}"'
    if bridge.siblings == "allow":
        return [*rules, f"{own} ct status dnat {_mark(bridge.mark)}"]
    return rules + [
        f"{own} {_PROTO[version]} saddr {one} {_PROTO[version]} daddr {other} ct status dnat {_mark(bridge.mark)}"
        for version in (4, 6)
        for one, other in bridge.pairs(version)
    ]


def _between(others: t.Mapping[int, t.Sequence[str]]) -> list[str]:
    """What was there before forwarding was switched on for bridges is not joined by it (RFC 1812, 2.2.8.1)."""
    return [
        f"meta nfproto ipv{version} iifname {quote_set(names)} oifname {quote_set(names)} drop"
        for version, names in sorted(others.items())
        if names
    ]


def _out(bridge: BridgeSpec, others: t.Sequence[BridgeSpec]) -> list[str]:
    """Where what comes from a bridge may go."""
    rules = [
        "ip daddr 169.254.0.0/16 drop",
        f"ip6 daddr {_set(METADATA6)} drop",
        *_siblings(bridge),
        "ct state established,related accept",
        "ct state invalid drop",
    ]
    if others:
        names = [other.name for other in others]
        rules.append(f"oifname {quote_set(names)} ct status dnat {_marked(bridge)} accept")
        allowed = _allowed(bridge, others)
        if allowed:
            rules.append(f"oifname {quote_set(allowed)} accept")
        rules.append(f"oifname {quote_set(names)} drop")
    rules += [f"meta nfproto ipv{version} drop" for version in (4, 6) if bridge.mode_of(version) == "internal"]
    return rules


def _in(bridge: BridgeSpec) -> list[str]:
    """What may go to a bridge from elsewhere than our bridges."""
    rules = ["ct state established,related accept", "ct status dnat accept"]
    if bridge.trusted_interfaces:
        rules.append(f"iifname {quote_set(bridge.trusted_interfaces)} accept")
    return [*rules, "drop"]


def _nat(bridge: BridgeSpec, names: t.Sequence[str]) -> list[str]:
    """The host's address for what leaves for elsewhere; services of our bridges are seen with their own.

    In one broadcast domain a sibling answers on the link, past the translation, unless the host is who has asked.
    """
    rules = [
        f'oifname "{bridge.name}" {_PROTO[version]} saddr {_set(bridge.subnets(version))} ct status dnat masquerade'
        for version in (4, 6)
        if bridge.l2 and bridge.subnets(version)
    ]
    return rules + [
        f"{_PROTO[version]} saddr {_set(bridge.ranges(version))} oifname != {quote_set(['lo', *names])}"
        + (f" snat {_PROTO[version]} to {bridge.source(version)}" if bridge.source(version) else " masquerade")
        for version in (4, 6)
        if bridge.mode_of(version) == "nat" and bridge.subnets(version)
    ]


def _chains(bridges: t.Sequence[BridgeSpec], apart: t.Mapping[int, t.Sequence[str]]) -> Chains:
    names = [bridge.name for bridge in bridges]
    ours = quote_set(names)

    def base(kind: str, hook: str, priority: int, rules: t.Iterable[str]) -> list[str]:
        return [f"type {kind} hook {hook} priority {priority}; policy accept;", *rules]

    chains: Chains = {}
    for bridge in bridges:
        others = [other for other in bridges if other is not bridge]
        chains[f"spoof-{bridge.name}"] = _spoof(bridge)
        chains[f"guard-{bridge.name}"] = _guard(bridge)
        chains[f"input-{bridge.name}"] = _input(bridge)
        chains[f"out-{bridge.name}"] = _out(bridge, others)
        chains[f"in-{bridge.name}"] = _in(bridge)
        chains[f"nat-{bridge.name}"] = _nat(bridge, names)
        chains[f"admit-{bridge.name}"] = _admit(bridge, others)
    for hook in ("prerouting", "input", "forward"):
        chains[f"admin-{hook}"] = []
    chains["prerouting"] = base(
        "filter",
        "prerouting",
        -300,
        [
            "jump admin-prerouting",
            *(f'iifname "{name}" jump spoof-{name}' for name in names),
            f"iifname {quote_set(['lo', *names])} accept",
            *(f"jump guard-{name}" for name in names),
        ],
    )
    bits = functools.reduce(operator.or_, (bridge.mark for bridge in bridges))
    # Before translation: what is for an address of the host itself, and so can only get to a service by being published.
    chains["addressed"] = base("filter", "prerouting", -120, [f"ct state new fib daddr type local {_mark(bits)}"])
    chains["admitted"] = base(
        "filter",
        "prerouting",
        -90,
        [
            f"{_PROTO[version]} daddr {_set(bridge.ranges(version))} jump admit-{bridge.name}"
            for bridge in bridges
            for version in (4, 6)
            if bridge.subnets(version)
        ],
    )
    inputs = ["jump admin-input", *(f'iifname "{name}" jump input-{name}' for name in names)]
    chains["input"] = base("filter", "input", 0, inputs)
    chains["forward"] = base(
        "filter",
        "forward",
        0,
        [
            "jump admin-forward",
            *(f'iifname "{name}" jump out-{name}' for name in names),
            f"iifname {ours} accept",
            *(f'oifname "{name}" jump in-{name}' for name in names),
            *_between(apart),
        ],
    )
    # Siblings are sent through the host on purpose: the kernel must not point out the shorter way to them (RFC 1812, 5.2.7.2).
    chains["output"] = base(
        "filter",
        "output",
        0,
        [f"oifname {ours} icmp type redirect drop", f"oifname {ours} icmpv6 type nd-redirect drop"],
    )
    chains["postrouting"] = base("nat", "postrouting", 100, [f"jump nat-{name}" for name in names])
    return chains


def _table(name: str, body: t.Iterable[str], chains: Chains) -> list[str]:
    lines = [f"table {name} {{", *body]
    for chain, rules in chains.items():
        lines += [f"\tchain {chain} {{", *(f"\t\t{rule}" for rule in rules), "\t}"]
    return [*lines, "}"]


def table_text(bridges: t.Iterable[BridgeSpec], others: t.Mapping[int, t.Sequence[str]] | None = None) -> str:
    """A script for `nft -f` that replaces both tables as a whole; with no bridges, that removes them.

    `others` are links by family that must not be joined by forwarding.
    """
    bridges = sorted(bridges, key=lambda bridge: bridge.name)
    lines = [f"# {_paths.MARKER}"]
    for table in TABLES:
        lines += [f"table {table}", f"delete table {table}"]
    if bridges:
        apart = {} if any(bridge.forward_between_others == "accept" for bridge in bridges) else dict(others or {})
        lines += _table(TABLE, (), _chains(bridges, apart))
        lines += _table(ports.TABLE, ports.MAPS, ports.chains(bridges))
        lines += [f'include "{GUARD_FILES}"', f'include "{ADMIN_FILES}"']
    return "\n".join(lines) + "\n"


def parse_listing(text: str) -> Chains:
    """The chains and maps of tables as nft lists them, each with its lines; those of the family bridge are named with it."""
    chains: Chains = {}
    current: list[str] = []
    family = ""
    for line in text.splitlines():
        words = line.split()
        if len(words) == 4 and words[0] == "table":
            family = "bridge " if words[1] == "bridge" else ""
        elif len(words) == 3 and words[0] in ("chain", "map") and words[2] == "{":
            current = chains.setdefault(family + words[1], [])
        elif words and words[0] not in ("table", "}"):
            current.append(line.strip())
    return chains


def _definitions(text: str) -> list[tuple[str, str]]:
    """What a listing defines, each with its table: a chain or map with its lines, or a line of the table itself."""
    found: list[tuple[str, str]] = []
    block: list[str] = []
    table = ""
    for line in text.splitlines():
        if line.startswith("table "):
            table = line
            found.append((table, ""))
        elif line.startswith("\t"):
            block.append(line)
            if line == "\t}" or (len(block) == 1 and not line.endswith("{")):
                found.append((table, "\n".join(block)))
                block = []
    return sorted(found)


def is_same(actual: str | None, wanted: str | None) -> bool:
    """Whether two listings define the same: nft lists chains in the order in which they were made, which means nothing."""
    if actual is None or wanted is None:
        return actual == wanted
    return actual == wanted or _definitions(actual) == _definitions(wanted)
