# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The nftables table of published ports as text, and its elements. Pure.

Exact ports lie in hash maps, so that a connection costs the same however many ports there are: one for ports of every
address and one for ports of one address, since nft 1.0.6 takes no constant in a concatenation. A range that keeps its
numbers is one element of an interval map that holds addresses only; a shifted one is an element for each port.
"""

from __future__ import annotations

import ipaddress
import typing as t

from .. import _paths
from .._bridge.render import GROUP
from .spec import PROTOCOLS, Mapping, PortmapSpec, ServiceAddress

TABLE = "inet isolation_nat"

Key = t.Tuple[str, str]
"""A map and a key in it, in nft's words: `("any4", "6 . 80")`."""

Elements = t.Dict[Key, t.Tuple[str, str]]
"""Data and owner by key. The pairs of the sets `self4` and `self6` have neither."""

_NAMES = {str(number): name for name, number in PROTOCOLS.items()}
_CHUNK = 1000

_FAMILIES = (("4", "ip", "ipv4_addr", "127.0.0.0/8"), ("6", "ip6", "ipv6_addr", "::1"))


def _keys(mapping: Mapping) -> t.Iterator[tuple[Key, str]]:
    version = "6" if mapping.six else "4"
    kind = ("any" if mapping.host_address is None else "one") + version
    start = "" if mapping.host_address is None else f"{mapping.host_address} . "
    start += f"{PROTOCOLS[mapping.protocol]} . "
    if mapping.low < mapping.high and mapping.port == mapping.low:
        yield (f"{kind}_range", f"{start}{mapping.low}-{mapping.high}"), mapping.address
        return
    for port in mapping.ports:
        yield (kind, f"{start}{port}"), f"{mapping.address} . {mapping.port + port - mapping.low}"


def mapping_elements(mapping: Mapping, owner: str) -> Elements:
    """The elements of one mapping."""
    return {key: (data, owner) for key, data in _keys(mapping)}


def service_element(service: ServiceAddress, owner: str) -> Elements:
    """The element of a service address."""
    return {("service6" if service.six else "service4", service.address): (service.to, owner)}


def owner_elements(spec: PortmapSpec) -> Elements:
    """All elements that belong to an owner."""
    found: Elements = {}
    for mapping in spec.mappings:
        found.update(mapping_elements(mapping, spec.name))
    for service in spec.service_addresses:
        found.update(service_element(service, spec.name))
    return found


def self_elements(specs: t.Iterable[PortmapSpec]) -> Elements:
    """A pair for each target: a service that reaches itself by the host must be masqueraded, or it would answer itself directly."""
    targets = {mapping.address for spec in specs for mapping in spec.mappings}
    targets |= {service.to for spec in specs for service in spec.service_addresses}
    return {("self6" if ":" in target else "self4", f"{target} . {target}"): ("", "") for target in targets}


def all_elements(specs: t.Iterable[PortmapSpec]) -> Elements:
    """All elements of the table."""
    specs = list(specs)
    found: Elements = {}
    for spec in specs:
        found.update(owner_elements(spec))
    found.update(self_elements(specs))
    return found


def flow_of(key: Key) -> tuple[bool, str | None, range | None] | None:
    """What a UDP element translates: family, address (None: every one of the host), ports (None: all). None if it is not of UDP."""
    kind, words = key[0], key[1].split(" . ")
    six = "6" in kind
    if kind.startswith("self"):
        return None
    if kind.startswith("service"):
        return six, words[0], None
    if words[-2] != str(PROTOCOLS["udp"]):
        return None
    low, _sep, high = words[-1].partition("-")
    return six, words[0] if kind.startswith("one") else None, range(int(low), int(high or low) + 1)


def show_key(key: Key) -> str:
    """An element's key for people, such as `tcp 80` or `udp 127.0.0.1 9000-9009`."""
    kind, words = key[0], key[1].split(" . ")
    if kind.startswith("service"):
        return f"service address {words[0]}"
    return " ".join([_NAMES.get(words[-2], words[-2]), *words[:-2], words[-1]])


def _maps() -> list[tuple[str, str, bool]]:
    """Name, type and whether it holds intervals, of each map and set."""
    found = []
    for version, _proto, kind, _loopback in _FAMILIES:
        key, exact = "inet_proto . inet_service", f"{kind} . inet_service"
        found += [
            (f"one{version}", f"{kind} . {key} : {exact}", False),
            (f"any{version}", f"{key} : {exact}", False),
            (f"one{version}_range", f"{kind} . {key} : {kind}", True),
            (f"any{version}_range", f"{key} : {kind}", True),
            (f"service{version}", f"{kind} : {kind}", False),
            (f"self{version}", f"{kind} . {kind}", False),
        ]
    return found


def _chains() -> list[tuple[str, list[str]]]:
    guard = ["type filter hook prerouting priority -300; policy accept;"]
    publish, service, output, post = [], [], [], ["type nat hook postrouting priority 90; policy accept;"]
    for version, proto, _kind, loopback in _FAMILIES:
        guard += [f'iifname != "lo" {proto} {side} {loopback} drop' for side in ("saddr", "daddr")]
        one, any_ = f"{proto} daddr . meta l4proto . th dport", "meta l4proto . th dport"
        publish += [f"dnat {proto} to {one} map @one{version}{suffix}" for suffix in ("", "_range")]
        if version == "6":
            publish.append("ip6 daddr ::1 return")
        publish += [f"dnat {proto} to {any_} map @any{version}{suffix}" for suffix in ("", "_range")]
        service.append(f"iifgroup {GROUP} dnat {proto} to {proto} daddr map @service{version}")
        output.append(f"dnat {proto} to {proto} daddr map @service{version}")
        post.append(f"{proto} saddr . {proto} daddr @self{version} masquerade")
    post.append('ip saddr 127.0.0.0/8 oifname != "lo" ct status dnat masquerade')
    local = "fib daddr type local jump publish"
    return [
        ("guard", guard),
        ("publish", publish),
        ("prerouting", ["type nat hook prerouting priority -110; policy accept;", local, *service]),
        ("output", ["type nat hook output priority -110; policy accept;", local, *output]),
        ("postrouting", post),
    ]


def _element(key: str, data: str, owner: str) -> str:
    return f'{key} comment "{owner}" : {data}' if data else key


def table_text(elements: Elements | None) -> str:
    """A script for `nft -f` that replaces the table as a whole; with None, that removes it."""
    lines = [f"# {_paths.MARKER}", f"table {TABLE}", f"delete table {TABLE}"]
    if elements is None:
        return "\n".join(lines) + "\n"
    held: dict[str, list[str]] = {}
    for (name, key), (data, owner) in sorted(elements.items()):
        held.setdefault(name, []).append(_element(key, data, owner))
    lines.append(f"table {TABLE} {{")
    for name, kind, interval in _maps():
        lines += [f"\t{'map' if ':' in kind else 'set'} {name} {{", f"\t\ttype {kind}"]
        lines += ["\t\tflags interval"] if interval else []
        if name in held:
            lines += ["\t\telements = {", *(f"\t\t\t{element}," for element in held[name]), "\t\t}"]
        lines.append("\t}")
    for name, rules in _chains():
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
    """A script for `nft -f` that deletes and adds elements in one transaction; a key in both is swapped."""
    gone: dict[str, list[str]] = {}
    for name, key in sorted(delete):
        gone.setdefault(name, []).append(key)
    new: dict[str, list[str]] = {}
    for (name, key), (data, owner) in sorted(add.items()):
        new.setdefault(name, []).append(_element(key, data, owner))
    return "\n".join([*_batches("delete", gone), *_batches("add", new)]) + "\n"


def _word(value: t.Any) -> str:
    """One part of a key or of data in JSON: a string, a number, a range, or a prefix (of ports or of one address)."""
    if isinstance(value, dict):
        if "range" in value:
            low, high = value["range"]
            return f"{low}-{high}"
        if "prefix" in value:
            address, length = value["prefix"]["addr"], value["prefix"]["len"]
            if str(address).isdigit():
                return f"{address}-{int(address) + 2 ** (16 - length) - 1}"
            return str(ipaddress.ip_network(f"{address}/{length}").network_address)
        return str(value)
    return str(PROTOCOLS.get(value, value)) if isinstance(value, str) else str(value)


def _words(value: t.Any) -> str:
    parts = value["concat"] if isinstance(value, dict) and "concat" in value else [value]
    return " . ".join(_word(part) for part in parts)


def parse_elements(objects: t.Iterable[t.Mapping[str, t.Any]]) -> Elements:
    """The elements of the table from its JSON (libnftables-json(5)), whichever release of nft wrote it."""
    found: Elements = {}
    for item in objects:
        body = item.get("map") or item.get("set")
        if body is None:
            continue
        held = body.get("elem", [])
        for entry in held if isinstance(held, list) else [held]:
            pair = entry if isinstance(entry, list) else [entry, ""]
            key, data, owner = pair[0], pair[1], ""
            if isinstance(key, dict) and "elem" in key:
                owner = key["elem"].get("comment", "")
                key = key["elem"]["val"]
            found[(body["name"], _words(key))] = (_words(data) if data != "" else "", owner)
    return found
