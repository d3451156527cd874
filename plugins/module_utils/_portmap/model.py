# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What owners publish, in canonical form. Pure."""

from __future__ import annotations

import functools
import ipaddress
import typing as t
from dataclasses import dataclass

from . import elements

Target = t.Tuple[str, int]
"""An address and a port of a service."""


def endpoint(address: str, ports: str) -> str:
    """An address with its port, or ports: `10.88.0.2:80`, `[fd88::2]:80`."""
    return f"[{address}]:{ports}" if ":" in address else f"{address}:{ports}"


def span(low: int, high: int) -> str:
    """A port, or a range of them."""
    return str(low) if low == high else f"{low}-{high}"


class Mapping(t.NamedTuple):
    """A port of the host, or a range of ports, and what it leads to. A tuple, as there may be thousands.

    `host_address` None is every address of the family. `allow` and `deny` are networks of clients, sorted and merged; with
    no `allow` everybody is allowed who is not denied. `backends` are all targets, sorted, where there are several: then
    `address` and `port` are those of the first.
    """

    host_address: str | None
    low: int
    high: int
    protocol: str
    address: str
    port: int
    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    backends: tuple[Target, ...] = ()

    @property
    def six(self) -> bool:
        """Whether it is of IPv6."""
        return ":" in self.address

    @property
    def ports(self) -> range:
        """The host's ports."""
        return range(self.low, self.high + 1)

    def targets(self, port: int) -> tuple[Target, ...]:
        """Where a port of the host leads."""
        return self.backends or ((self.address, self.port + port - self.low),)

    @property
    def addresses(self) -> tuple[str, ...]:
        """The addresses that it leads to."""
        return tuple(address for address, _port in self.backends) or (self.address,)

    @property
    def label(self) -> str:
        """What it publishes, for people: `tcp 80`, `udp 127.0.0.1:9000-9009`, `tcp [::]:80` for every v6 address."""
        ports = span(self.low, self.high)
        if self.host_address is not None:
            return f"{self.protocol} {endpoint(self.host_address, ports)}"
        return f"{self.protocol} {'[::]:' if self.six else ''}{ports}"

    @property
    def target(self) -> str:
        """What it leads to, for people."""
        if self.backends:
            return ", ".join(endpoint(address, str(port)) for address, port in self.backends)
        return endpoint(self.address, span(self.port, self.port + self.high - self.low))

    @property
    def summary(self) -> str:
        """What it leads to, and for whom, for people."""
        allow = f" from {', '.join(self.allow)}" if self.allow else ""
        deny = f" not from {', '.join(self.deny)}" if self.deny else ""
        return f"{self.target}{allow}{deny}"

    @property
    def exposed(self) -> bool:
        """Whether other machines can reach it."""
        return self.host_address is None or not ipaddress.ip_address(self.host_address).is_loopback

    def record(self) -> dict[str, t.Any]:
        """The form that records and results have. What is not restricted has no word of it."""
        host_address, low, high, protocol, address, port, allow, deny, backends = self
        kept: dict[str, t.Any] = {
            "host_address": host_address,
            "host_port": low if low == high else span(low, high),
            "protocol": protocol,
        }
        if backends:
            kept["backends"] = [{"address": one, "port": number} for one, number in backends]
        else:
            kept["address"] = address
            kept["port"] = port if low == high else span(port, port + high - low)
        if allow:
            kept["allow_from"] = list(allow)
        if deny:
            kept["deny_from"] = list(deny)
        return kept


@dataclass(frozen=True)
class ServiceAddress:
    """A stable address of a service, and the address of the instance that serves."""

    address: str
    to: str

    @property
    def six(self) -> bool:
        """Whether it is of IPv6."""
        return ":" in self.address

    def record(self) -> dict[str, t.Any]:
        """The form that records have."""
        return {"address": self.address, "to": self.to}


@dataclass(frozen=True)
class Verify:
    """What must answer after a change: an HTTP URL with a status (None: 200 to 399), or a TCP port if there is no path."""

    address: str
    port: int
    path: str | None = None
    status: int | None = None
    timeout: float = 5.0


@dataclass(frozen=True)
class PortmapSpec:
    """What one owner publishes. `verify` is no part of it: it says how to see whether a change is good; nor is `confirm_timeout`, the seconds
    after which a change is taken back.
    """

    name: str
    mappings: tuple[Mapping, ...] = ()
    service_addresses: tuple[ServiceAddress, ...] = ()
    present: bool = True
    verify: Verify | None = None
    confirm_timeout: float | None = None

    def __hash__(self) -> int:
        """Quick, however many mappings there are: plans of one task ask again for what was made of the same owners."""
        return hash((self.name, self.present, len(self.mappings)))

    def differing(self, actual: t.Mapping[elements.Key, tuple[str, str]]) -> list[tuple[Mapping, elements.Elements]]:
        """The mappings, each with its elements, that are not all among `actual`."""
        known = self.__dict__.get("_differing")
        if known is None or known[0] is not actual:
            keys = {key for key, value in self.elements.items() if actual.get(key) != value}
            found = [(mapping, part) for mapping, part in self.parts if not keys.isdisjoint(part)] if keys else []
            known = self.__dict__["_differing"] = (actual, found)
        return known[1]

    @functools.cached_property
    def parts(self) -> tuple[tuple[Mapping, elements.Elements], ...]:
        """The elements of each mapping. Made once: not to be changed."""
        return tuple((mapping, elements.mapping_elements(mapping, self.name)) for mapping in self.mappings)

    @functools.cached_property
    def elements(self) -> elements.Elements:
        """All elements of the table that belong to the owner. Made once: not to be changed."""
        found: elements.Elements = {}
        for _mapping, part in self.parts:
            found.update(part)
        for service in self.service_addresses:
            found.update(elements.service_element(service, self.name))
        return found

    @functools.cached_property
    def targets(self) -> frozenset[str]:
        """The addresses of all services that it leads to."""
        found = {mapping.address for mapping in self.mappings}
        found.update(*[mapping.addresses for mapping in self.mappings if mapping.backends])
        return frozenset(found.union(service.to for service in self.service_addresses))

    @functools.cached_property
    def kept(self) -> dict[str, t.Any]:
        """The canonical form that the record keeps. Made once: not to be changed."""
        return {
            "mappings": [mapping.record() for mapping in self.mappings],
            "service_addresses": [service.record() for service in self.service_addresses],
        }


def _bounds(kept: t.Any) -> tuple[int, int]:
    low, _sep, high = str(kept).partition("-")
    return int(low), int(high or low)


def _from_record(item: t.Mapping[str, t.Any]) -> Mapping:
    get = item.get
    low = high = item["host_port"]
    if not isinstance(low, int):
        low, high = _bounds(low)
    kept = get("backends")
    backends = tuple([(one["address"], one["port"]) for one in kept]) if kept else ()
    address, port = backends[0] if backends else (item["address"], item["port"])
    if not isinstance(port, int):
        port = _bounds(port)[0]
    allow, deny = tuple(get("allow_from", ())), tuple(get("deny_from", ()))
    return Mapping(item["host_address"], low, high, item["protocol"], address, port, allow, deny, backends)


def mappings_of_record(kept: t.Mapping[str, t.Any], lows: t.Collection[int]) -> list[Mapping]:
    """The mappings of a record that begin at certain ports of the host."""
    found = []
    for item in kept["mappings"]:
        low = item["host_port"]
        if (low if isinstance(low, int) else _bounds(low)[0]) in lows:
            found.append(_from_record(item))
    return found


_KNOWN: dict[str, tuple[t.Mapping[str, t.Any], PortmapSpec]] = {}


def from_record(name: str, kept: t.Mapping[str, t.Any]) -> PortmapSpec:
    """The specification that a record keeps. That of the same record, which nobody changes, is made once."""
    known = _KNOWN.get(name)
    if known is None or known[0] is not kept:
        services = [ServiceAddress(item["address"], item["to"]) for item in kept.get("service_addresses", [])]
        spec = PortmapSpec(name, tuple(_from_record(item) for item in kept["mappings"]), tuple(services))
        known = _KNOWN[name] = (kept, spec)
    return known[1]
