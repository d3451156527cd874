# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What published ports become in the maps and sets of the table, in nft's words. Pure.

Exact ports lie in hash maps, so that a connection costs the same however many ports there are: one for ports of every
address and one for ports of one address, since nft 1.0.6 takes no constant in a concatenation. A range that keeps its
numbers is one element of an interval map that holds addresses only; a shifted one is an element for each port. A port
with several targets leads to a chain of its own, whose name tells its content. Who may reach a port is in three
interval sets: networks that are allowed, networks that are denied, and ports that are only for those allowed.
"""

from __future__ import annotations

import functools
import hashlib
import typing as t

if t.TYPE_CHECKING:
    from .model import Mapping, PortmapSpec, ServiceAddress

Key = t.Tuple[str, str]
"""A map and a key in it, in nft's words: `("any4", "6 . 80")`; or CHAIN and the name of a chain."""

Elements = t.Dict[Key, t.Tuple[str, str]]
"""Data and owner by key. What has no data is of a set; the pairs of the sets `self4` and `self6`, and chains, have no owner."""

PROTOCOLS = {"tcp": 6, "udp": 17, "sctp": 132}
"""Numbers, since a host without /etc/protocols does not know the names (IANA, Protocol Numbers)."""

CHAIN = "chain"
SPREAD = "spread_"
"""How the names of chains begin that spread connections."""

_NAMES = {str(number): name for name, number in PROTOCOLS.items()}
_EVERY = {"4": "0.0.0.0/0", "6": "::/0"}


def chain_data(protocol: int | str, targets: t.Iterable[tuple[str, t.Any]]) -> str:
    """The content of a chain that spreads connections: its protocol and its targets."""
    return f"{protocol} " + ", ".join(f"{address} . {port}" for address, port in targets)


def _spread(kind: str, key: str, mapping: Mapping) -> t.Iterator[tuple[Key, str, bool]]:
    data = chain_data(PROTOCOLS[mapping.protocol], mapping.backends)
    name = SPREAD + hashlib.sha256(f"{kind} {key} {data}".encode()).hexdigest()[:16]
    yield (f"{kind}_spread", key), f"goto {name}", True
    yield (CHAIN, name), data, False


def _clients(mapping: Mapping) -> t.Iterator[Key]:
    version = "6" if mapping.six else "4"
    ports = str(mapping.low) if mapping.low == mapping.high else f"{mapping.low}-{mapping.high}"
    key = f"{mapping.host_address or _EVERY[version]} . {PROTOCOLS[mapping.protocol]} . {ports}"
    for client in mapping.allow:
        yield f"allow{version}", f"{client} . {key}"
    for client in mapping.deny:
        yield f"deny{version}", f"{client} . {key}"
    if mapping.allow:
        yield f"only{version}", key


def _ports(mapping: Mapping) -> t.Iterator[tuple[Key, str, bool]]:
    """Keys, data, and whether they have an owner."""
    kind = ("any" if mapping.host_address is None else "one") + ("6" if mapping.six else "4")
    start = "" if mapping.host_address is None else f"{mapping.host_address} . "
    start += f"{PROTOCOLS[mapping.protocol]} . "
    if mapping.backends:
        yield from _spread(kind, f"{start}{mapping.low}", mapping)
    elif mapping.low < mapping.high and mapping.port == mapping.low:
        yield (f"{kind}_range", f"{start}{mapping.low}-{mapping.high}"), mapping.address, True
    else:
        for port in mapping.ports:
            yield (kind, f"{start}{port}"), f"{mapping.address} . {mapping.port + port - mapping.low}", True


def port_keys(mapping: Mapping) -> list[Key]:
    """The keys of a mapping that lead packets somewhere."""
    return [key for key, _data, owned in _ports(mapping) if owned]


def mapping_elements(mapping: Mapping, owner: str) -> Elements:
    """The elements of one mapping."""
    host, low, high, protocol, address, port, allow, deny, backends = mapping
    if low == high and host is None and not (allow or deny or backends):
        # Of this kind there may be thousands.
        key = ("any6" if ":" in address else "any4", f"{PROTOCOLS[protocol]} . {low}")
        return {key: (f"{address} . {port}", owner)}
    found = {key: (data, owner if owned else "") for key, data, owned in _ports(mapping)}
    if allow or deny:
        found.update((key, ("", owner)) for key in _clients(mapping))
    return found


def service_element(service: ServiceAddress, owner: str) -> Elements:
    """The element of a service address."""
    return {("service6" if service.six else "service4", service.address): (service.to, owner)}


def self_elements(specs: t.Iterable[PortmapSpec]) -> Elements:
    """A pair for each target: a service that reaches itself by the host must be masqueraded, or it would answer itself directly."""
    targets = sorted({target for spec in specs for target in spec.targets})
    return {("self6" if ":" in target else "self4", f"{target} . {target}"): ("", "") for target in targets}


@functools.lru_cache(maxsize=2)
def _all_elements(specs: tuple[PortmapSpec, ...]) -> Elements:
    found: Elements = {}
    for spec in specs:
        found.update(spec.elements)
    found.update(self_elements(specs))
    return found


def all_elements(specs: t.Iterable[PortmapSpec]) -> Elements:
    """All elements of the table. Those of the same owners are made once: not to be changed."""
    return _all_elements(tuple(specs))


class Place(t.NamedTuple):
    """What an element is about: a family, an address of the host (None: every one), and ports (None: all)."""

    six: bool
    address: str | None
    ports: range | None


def udp_place(key: Key) -> Place | None:
    """What UDP packets a change of an element concerns; None if none."""
    kind, words = key[0], key[1].split(" . ")
    six = "6" in kind
    if kind == CHAIN or kind.startswith("self"):
        return None
    if kind.startswith("service"):
        return Place(six, words[0], None)
    if words[-2] != str(PROTOCOLS["udp"]):
        return None
    low, _sep, high = words[-1].partition("-")
    address = words[-3] if len(words) > 2 and words[-3] not in _EVERY.values() else None
    return Place(six, address, range(int(low), int(high or low) + 1))


def show_key(key: Key) -> str:
    """An element's key for people, such as `tcp 80` or `udp 127.0.0.1 9000-9009`."""
    kind, words = key[0], key[1].split(" . ")
    if kind == CHAIN:
        return f"chain {words[0]}"
    if kind.startswith("service"):
        return f"service address {words[0]}"
    if kind.startswith("self"):
        return f"return {words[0]}"
    shown = " ".join([_NAMES.get(words[-2], words[-2]), *words[:-2], words[-1]])
    return f"{kind[:-1]} {shown}" if kind[:-1] in ("allow", "deny", "only") else shown


def show_data(data: str) -> str:
    """An element's data for people."""
    return data.replace(" . ", ":") or "present"
