# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The table of published ports as nft's JSON has it (libnftables-json(5)), whichever release of nft wrote it, and its
elements as the kernel itself has them. Pure.
"""

from __future__ import annotations

import functools
import ipaddress
import socket
import typing as t

from .._host.nfnetlink import parse_element
from .._host.nft import skeleton
from .elements import CHAIN, PROTOCOLS, SPREAD, Elements, Key, chain_data

Objects = t.Sequence[t.Mapping[str, t.Any]]


def _prefix(address: t.Any, length: int) -> str:
    """A prefix, of ports or of addresses."""
    if str(address).isdigit():
        return f"{address}-{int(address) + 2 ** (16 - length) - 1}"
    network = ipaddress.ip_network(f"{address}/{length}", strict=False)
    return str(network.network_address) if network.num_addresses == 1 else str(network)


def _range(low: t.Any, high: t.Any) -> str:
    """A range, of ports or of addresses; nft gives a prefix as such, or as the range that it is."""
    if not str(low).isdigit():
        first, last = ipaddress.ip_address(low), ipaddress.ip_address(high)
        length = first.max_prefixlen - (int(first) ^ int(last)).bit_length()
        network = ipaddress.ip_network(f"{first}/{length}", strict=False)
        if (network[0], network[-1]) == (first, last):
            return _prefix(first, length)
    return f"{low}-{high}"


def _word(value: t.Any) -> str:
    """One part of a key or of data: a string, a number, a range, or a prefix."""
    if isinstance(value, str):
        if value in PROTOCOLS:
            return str(PROTOCOLS[value])
        # An address of both colons and dots is an IPv6 address that Python writes otherwise.
        return str(ipaddress.ip_address(value)) if "." in value and ":" in value else value
    if isinstance(value, dict):
        if "range" in value:
            return _range(*value["range"])
        if "prefix" in value:
            return _prefix(value["prefix"]["addr"], value["prefix"]["len"])
        if "goto" in value:
            return f"goto {value['goto']['target']}"
    return str(value)


def _words(value: t.Any) -> str:
    if isinstance(value, dict) and "concat" in value:
        return " . ".join([_word(part) for part in value["concat"]])
    return _word(value)


def _spread(rules: Objects) -> str | None:
    """What a chain that spreads connections holds, if that is all that it holds."""
    if len(rules) != 1:
        return None
    try:
        match, statement = rules[0]["expr"]
        protocol = match["match"]["right"]
        spread = statement["dnat"]["addr"]["map"]
        entries = spread["data"]["set"]
        targets = [tuple(target["concat"]) for _number, target in entries]
        six = ":" in str(targets[0][0])
        wanted = {
            "match": {"op": "==", "left": {"meta": {"key": "l4proto"}}, "right": protocol},
        }
        numgen = spread["key"]["numgen"]
        if (
            match == wanted
            and set(statement) == {"dnat"}
            and set(statement["dnat"]) == {"family", "addr"}
            and statement["dnat"]["family"] == ("ip6" if six else "ip")
            and (numgen["mode"], numgen["mod"], numgen.get("offset", 0)) == ("inc", len(entries), 0)
            and [number for number, _target in entries] == list(range(len(entries)))
        ):
            return chain_data(_word(protocol), targets)
    except (KeyError, TypeError, ValueError, IndexError):
        pass
    return None


def _chains(objects: Objects) -> Elements:
    """The chains that spread connections, as elements."""
    rules: dict[str, list[t.Mapping[str, t.Any]]] = {}
    for item in objects:
        if "chain" in item and item["chain"]["name"].startswith(SPREAD):
            rules.setdefault(item["chain"]["name"], [])
        elif "rule" in item and item["rule"]["chain"].startswith(SPREAD):
            rules.setdefault(item["rule"]["chain"], []).append(item["rule"])
    found = {(CHAIN, name): _spread(held) for name, held in rules.items()}
    return {key: (data, "") for key, data in found.items() if data is not None}


def parse_elements(objects: Objects) -> Elements:
    """The elements of the table."""
    found = _chains(objects)
    for item in objects:
        body = item.get("map") or item.get("set")
        if body is None:
            continue
        name, held = body["name"], body.get("elem", [])
        for entry in held if isinstance(held, list) else [held]:
            key, data = entry if isinstance(entry, list) else (entry, "")
            owner = ""
            if isinstance(key, dict) and "elem" in key:
                owner = key["elem"].get("comment", "")
                key = key["elem"]["val"]
            found[(name, _words(key))] = (_words(data) if data != "" else "", owner)
    return found


_SIZES = {"ipv4_addr": 4, "ipv6_addr": 16, "inet_proto": 4, "inet_service": 4}
"""Bytes of each part of a concatenation, with what fills it up."""


@functools.lru_cache(maxsize=65536)
def _part(kind: str, value: bytes) -> str:
    if kind == "inet_service":
        return str(int.from_bytes(value[:2], "big"))
    if kind == "inet_proto":
        return str(value[0])
    return socket.inet_ntop(socket.AF_INET, value) if kind == "ipv4_addr" else str(ipaddress.ip_address(value))


@functools.lru_cache(maxsize=64)
def _slices(kinds: str) -> tuple[tuple[str, slice], ...]:
    found, start = [], 0
    for kind in kinds.split(" . "):
        found.append((kind, slice(start, start + _SIZES[kind])))
        start += _SIZES[kind]
    return tuple(found)


def _interval(kind: str, low: bytes, high: bytes) -> str:
    return _part(kind, low) if low == high else _range(_part(kind, low), _part(kind, high))


@functools.lru_cache(maxsize=4096)
def _data(kinds: str, value: bytes, verdict: str) -> str:
    return verdict or " . ".join([_part(kind, value[place]) for kind, place in _slices(kinds)]) if kinds else ""


class _Decoder(t.Dict[bytes, t.Tuple[Key, t.Tuple[str, str]]]):
    """Elements of one map or set by their bytes: those that were seen before are known."""

    def __init__(self, name: str, kind: str) -> None:
        super().__init__()
        self._name = name
        keys, _sep, self._data = kind.partition(" : ")
        self._parts = _slices(keys)

    def __missing__(self, listed: bytes) -> tuple[Key, tuple[str, str]]:
        key, end, value, verdict, comment = parse_element(listed)
        if end is None:
            words = [_part(part, key[place]) for part, place in self._parts]
        else:
            words = [_interval(part, key[place], end[place]) for part, place in self._parts]
        found = self[listed] = (self._name, " . ".join(words)), (_data(self._data, value, verdict), comment)
        return found


_decoder = functools.lru_cache(maxsize=None)(_Decoder)


def read_elements(name: str, kind: str, listed: t.Iterable[bytes]) -> Elements:
    """The elements of the map or set `name` of type `kind`, in nft's words, from what the kernel lists."""
    decoder = _decoder(name, kind)
    return dict([decoder[element] for element in listed])


def spreads(objects: Objects) -> bool:
    """Whether a table has chains that spread connections, whose content only their rules tell."""
    return any(item["chain"]["name"].startswith(SPREAD) for item in objects if "chain" in item)


def definitions(objects: Objects, elements: Elements) -> str:
    """All of the table that is no element, in a form to compare. A chain that is not as we make them is a definition."""
    chains = {name for kind, name in elements if kind == CHAIN}
    kept = [
        dict(item)
        for item in objects
        if item.get("chain", {}).get("name") not in chains and item.get("rule", {}).get("chain") not in chains
    ]
    return skeleton(kept)
