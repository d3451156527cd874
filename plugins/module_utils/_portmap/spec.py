# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What can be asked of published ports, and its canonical form."""

from __future__ import annotations

import ipaddress
import re
import typing as t
from dataclasses import dataclass

from .._errors import InvalidOption
from .._names import check_name

PROTOCOLS = {"tcp": 6, "udp": 17, "sctp": 132}
"""Numbers, since a host without /etc/protocols does not know the names (IANA, Protocol Numbers)."""

OPTIONS: dict[str, t.Any] = {
    "name": {"type": "str"},
    "mappings": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "host_address": {"type": "str"},
            "host_port": {"type": "str", "required": True},
            "protocol": {"type": "str", "choices": list(PROTOCOLS), "default": "tcp"},
            "address": {"type": "str", "required": True},
            "port": {"type": "str"},
        },
    },
    "service_addresses": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {"address": {"type": "str", "required": True}, "to": {"type": "str", "required": True}},
    },
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
}

Address = t.Union[ipaddress.IPv4Address, ipaddress.IPv6Address]


def endpoint(address: str, ports: str) -> str:
    """An address with its port, or ports: `10.88.0.2:80`, `[fd88::2]:80`."""
    return f"[{address}]:{ports}" if ":" in address else f"{address}:{ports}"


def _span(low: int, high: int) -> str:
    return str(low) if low == high else f"{low}-{high}"


@dataclass(frozen=True)
class Mapping:
    """A port of the host, or a range of ports, and what it leads to. `host_address` None is every address of the family."""

    host_address: str | None
    low: int
    high: int
    protocol: str
    address: str
    port: int

    @property
    def six(self) -> bool:
        """Whether it is of IPv6."""
        return ":" in self.address

    @property
    def ports(self) -> range:
        """The host's ports."""
        return range(self.low, self.high + 1)

    @property
    def label(self) -> str:
        """What it publishes, for people: `tcp 80`, `udp 127.0.0.1:9000-9009`, `tcp [every v6 address]:80`."""
        ports = _span(self.low, self.high)
        if self.host_address is not None:
            return f"{self.protocol} {endpoint(self.host_address, ports)}"
        return f"{self.protocol} {'[::]:' if self.six else ''}{ports}"

    @property
    def target(self) -> str:
        """What it leads to, for people."""
        return endpoint(self.address, _span(self.port, self.port + self.high - self.low))

    @property
    def exposed(self) -> bool:
        """Whether other machines can reach it."""
        return self.host_address is None or not ipaddress.ip_address(self.host_address).is_loopback

    def record(self) -> dict[str, t.Any]:
        """The form that records and results have."""
        return {
            "host_address": self.host_address,
            "host_port": self.low if self.low == self.high else _span(self.low, self.high),
            "protocol": self.protocol,
            "address": self.address,
            "port": self.port if self.low == self.high else _span(self.port, self.port + self.high - self.low),
        }


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
class PortmapSpec:
    """What one owner publishes."""

    name: str
    mappings: tuple[Mapping, ...] = ()
    service_addresses: tuple[ServiceAddress, ...] = ()
    present: bool = True

    def record(self) -> dict[str, t.Any]:
        """The canonical form that the record keeps."""
        return {
            "mappings": [mapping.record() for mapping in self.mappings],
            "service_addresses": [service.record() for service in self.service_addresses],
        }


def _bounds(kept: t.Any) -> tuple[int, int]:
    low, _sep, high = str(kept).partition("-")
    return int(low), int(high or low)


def from_record(name: str, kept: t.Mapping[str, t.Any]) -> PortmapSpec:
    """The specification that a record keeps."""
    mappings = []
    for item in kept["mappings"]:
        low, high = _bounds(item["host_port"])
        port = _bounds(item["port"])[0]
        mappings.append(Mapping(item["host_address"], low, high, item["protocol"], item["address"], port))
    services = [ServiceAddress(item["address"], item["to"]) for item in kept.get("service_addresses", [])]
    return PortmapSpec(name, tuple(mappings), tuple(services))


def _address(text: str, option: str) -> Address:
    try:
        found = ipaddress.ip_address(text.strip())
    except ValueError:
        raise InvalidOption(f"{option}: {text!r} is not an IPv4 or IPv6 address") from None
    if getattr(found, "scope_id", None):
        raise InvalidOption(f"{option}: {text!r}: an address with a zone can't be translated")
    return found


def _target(text: str, option: str) -> Address:
    """An address that a service can have."""
    found = _address(text, option)
    if found.is_loopback or found.is_multicast or found.is_unspecified or found.is_link_local:
        raise InvalidOption(
            f"{option}: {found} is a loopback, multicast, link-local or unspecified address: give the service's own"
        )
    return found


def _ports(text: str, option: str) -> tuple[int, int]:
    match = re.fullmatch(r"\s*(\d{1,5})\s*(?:-\s*(\d{1,5})\s*)?", str(text))
    low, high = (int(match.group(1)), int(match.group(2) or match.group(1))) if match else (0, 0)
    if not 1 <= low <= high <= 65535:
        raise InvalidOption(f"{option}: {text!r} is not a port (1 to 65535) or a range of ports such as 9000-9009")
    return low, high


def _host_address(text: str | None, address: Address, option: str) -> str | None:
    if text is None:
        return None
    found = _address(text, f"{option}: host_address")
    if found.version != address.version:
        raise InvalidOption(
            f"{option}: host_address: {found} can't be led to {address}, an address of the other family:"
            f" give the service an IPv{found.version} address"
        )
    if found.is_unspecified:
        return None
    if found.is_loopback and found.version == 6:
        raise InvalidOption(
            f"{option}: host_address: ::1 can't be published by address translation: the kernel sends nothing from ::1 out of"
            " a link (there is no route_localnet for IPv6): publish on 127.0.0.1, or on another IPv6 address of the host"
        )
    if found.is_multicast:
        raise InvalidOption(f"{option}: host_address: {found} is a multicast address")
    return str(found)


def _mapping(given: t.Mapping[str, t.Any], name: str) -> Mapping:
    option = f"{name}: mappings: host_port {given['host_port']}"
    low, high = _ports(given["host_port"], f"{name}: mappings: host_port")
    first, last = (low, high) if given.get("port") is None else _ports(given["port"], f"{option}: port")
    if last - first != high - low:
        raise InvalidOption(
            f"{option}: port: {high - low + 1} ports of the host can't be led to {last - first + 1} of the service:"
            " the ranges must be equally long"
        )
    address = _target(given["address"], f"{option}: address")
    host_address = _host_address(given.get("host_address"), address, option)
    return Mapping(host_address, low, high, given["protocol"], str(address), first)


def _service_address(given: t.Mapping[str, t.Any], name: str) -> ServiceAddress:
    option = f"{name}: service_addresses"
    address, to = _target(given["address"], f"{option}: address"), _target(given["to"], f"{option}: to")
    if address.version != to.version:
        raise InvalidOption(f"{option}: {address} can't be led to {to}, an address of the other family")
    if address == to:
        raise InvalidOption(f"{option}: {address} leads to itself: choose an address that no instance has")
    return ServiceAddress(str(address), str(to))


def _order(mapping: Mapping) -> tuple[t.Any, ...]:
    return (mapping.six, mapping.protocol, mapping.low, mapping.host_address or "", mapping.high)


def parse(options: t.Mapping[str, t.Any]) -> PortmapSpec:
    """One element's options.

    :raises InvalidOption: an option can't be meant.
    """
    name = check_name(options["name"])
    mappings = [_mapping(item, name) for item in options["mappings"]]
    services = [_service_address(item, name) for item in options["service_addresses"]]
    return PortmapSpec(
        name=name,
        mappings=tuple(sorted(mappings, key=_order)),
        service_addresses=tuple(sorted(services, key=lambda service: (service.six, service.address))),
        present=options["state"] == "present",
    )
