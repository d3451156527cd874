# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What can be asked of published ports, and its canonical form."""

from __future__ import annotations

import functools
import ipaddress
import re
import typing as t
import urllib.parse

from .._errors import InvalidOption
from .._names import check_name
from .._units import parse_seconds
from .elements import PROTOCOLS
from .model import Mapping, PortmapSpec, ServiceAddress, Target, Verify

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
            "address": {"type": "str"},
            "port": {"type": "str"},
            "backends": {
                "type": "list",
                "elements": "dict",
                "options": {"address": {"type": "str", "required": True}, "port": {"type": "int"}},
            },
            "allow_from": {"type": "list", "elements": "str"},
            "deny_from": {"type": "list", "elements": "str"},
        },
        "required_one_of": [["address", "backends"]],
        "mutually_exclusive": [["address", "backends"], ["port", "backends"]],
    },
    "service_addresses": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {"address": {"type": "str", "required": True}, "to": {"type": "str", "required": True}},
    },
    "verify": {
        "type": "dict",
        "options": {
            "http": {
                "type": "dict",
                "options": {"url": {"type": "str", "required": True}, "status": {"type": "int"}},
            },
            "tcp": {
                "type": "dict",
                "options": {"address": {"type": "str", "required": True}, "port": {"type": "int", "required": True}},
            },
            "timeout": {"type": "str", "default": "5s"},
        },
        "required_one_of": [["http", "tcp"]],
        "mutually_exclusive": [["http", "tcp"]],
    },
    "confirm_timeout": {"type": "str"},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
}

Address = t.Union[ipaddress.IPv4Address, ipaddress.IPv6Address]

_LAST = 65535
"""The last port (RFC 6335)."""

_MOST_SECONDS = 600
"""How long a check may take at most: the host's lock is held meanwhile."""

_LONGEST_WAIT = 86400
"""Seconds after which a change is taken back at the latest."""


@functools.lru_cache(maxsize=1024)
def _parsed(text: str) -> Address:
    bare = text.strip()
    return ipaddress.ip_address(bare[1:-1] if bare.startswith("[") and bare.endswith("]") else bare)


@functools.lru_cache(maxsize=1024)
def _unfit(address: Address) -> bool:
    """Whether no service can have it."""
    return address.is_loopback or address.is_multicast or address.is_unspecified or address.is_link_local


def _address(text: str, option: str) -> Address:
    try:
        found = _parsed(text)
    except ValueError:
        raise InvalidOption(f"{option}: {text!r} is not an IPv4 or IPv6 address") from None
    if getattr(found, "scope_id", None):
        raise InvalidOption(f"{option}: {text!r}: an address with a zone can't be translated")
    if getattr(found, "ipv4_mapped", None):
        raise InvalidOption(f"{option}: {text!r}: give an IPv4 address as such")
    return found


def _target(text: str, option: str) -> Address:
    """An address that a service can have."""
    found = _address(text, option)
    if _unfit(found):
        raise InvalidOption(
            f"{option}: {found} is a loopback, multicast, link-local or unspecified address: give the service's own"
        )
    return found


@functools.lru_cache(maxsize=1024)
def _known(address: str, host_address: str | None) -> tuple[str, str | None]:
    """A target and an address of the host in canonical form. Many mappings have the same.

    :raises InvalidOption: one of them can't be meant.
    """
    found = _target(address, "")
    return str(found), _host_address(host_address, found, "")


def _ports(text: str, option: str) -> tuple[int, int]:
    match = re.fullmatch(r"\s*(\d{1,5})\s*(?:-\s*(\d{1,5})\s*)?", str(text))
    low, high = (int(match.group(1)), int(match.group(2) or match.group(1))) if match else (0, 0)
    if not 1 <= low <= high <= _LAST:
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


def _clients(given: t.Sequence[str] | None, version: int, option: str) -> tuple[str, ...]:
    """Networks of clients, merged and sorted; a network of one address is written as the address."""
    if not given:
        return ()
    networks = []
    for text in given:
        try:
            network = ipaddress.ip_network(text.strip())
        except ValueError as error:
            raise InvalidOption(f"{option}: {text!r} is not a network such as 10.0.0.0/8: {error}") from None
        if network.version != version:
            raise InvalidOption(
                f"{option}: {network} is of the other family than the mapping's address: clients come with an IPv{version} address"
            )
        networks.append(network)
    merged = sorted(ipaddress.collapse_addresses(networks))  # type: ignore[type-var]
    return tuple(str(one.network_address) if one.num_addresses == 1 else str(one) for one in merged)


def _backends(given: t.Sequence[t.Mapping[str, t.Any]], low: int, option: str) -> tuple[Target, ...]:
    """Targets in canonical order."""
    if not given:
        raise InvalidOption(f"{option}: backends: an empty list leads nowhere: give targets, or leave the mapping out")
    found: list[tuple[Address, int]] = []
    for item in given:
        address = _target(item["address"], f"{option}: backends: address")
        port = low if item.get("port") is None else _ports(str(item["port"]), f"{option}: backends: port")[0]
        if found and found[0][0].version != address.version:
            raise InvalidOption(f"{option}: backends: {found[0][0]} and {address} are of different families")
        if (address, port) in found:
            raise InvalidOption(f"{option}: backends: {address} port {port} is given twice")
        found.append((address, port))
    return tuple((str(address), port) for address, port in sorted(found))


def _where(given: t.Mapping[str, t.Any], low: int, high: int, option: str) -> tuple[Target, tuple[Target, ...]]:
    """The first target, and all of them where there are several."""
    if given.get("backends") is not None:
        if low != high:
            raise InvalidOption(
                f"{option}: backends: a range can't be spread over several targets: the connections of a client to ports"
                " of it would lead to different ones: give single ports"
            )
        backends = _backends(given["backends"], low, option)
        return backends[0], backends if len(backends) > 1 else ()
    first, last = (low, high) if given.get("port") is None else _ports(given["port"], f"{option}: port")
    if last - first != high - low:
        raise InvalidOption(
            f"{option}: port: {high - low + 1} ports of the host can't be led to {last - first + 1} of the service:"
            " the ranges must be equally long"
        )
    return (str(_target(given["address"], f"{option}: address")), first), ()


def _plain(given: t.Mapping[str, t.Any]) -> Mapping | None:
    """A mapping of one port to one target, for everybody; None if it is another one, or not valid."""
    if given.get("backends") is not None or given.get("allow_from") is not None or given.get("deny_from") is not None:
        return None
    host_port, port = given["host_port"], given.get("port")
    if port is None:
        port = host_port
    if not (host_port.isdecimal() and port.isdecimal() and len(host_port) <= 5 and len(port) <= 5):
        return None
    low, target = int(host_port), int(port)
    if not (0 < low <= _LAST and 0 < target <= _LAST):
        return None
    try:
        address, host_address = _known(given["address"], given.get("host_address"))
    except InvalidOption:
        return None
    return Mapping(host_address, low, low, given["protocol"], address, target)


def _mapping(given: t.Mapping[str, t.Any], name: str) -> Mapping:
    """A mapping in canonical form. There may be thousands of the plain kind, hence a quick way for these."""
    return _plain(given) or _any_mapping(given, name)


def _any_mapping(given: t.Mapping[str, t.Any], name: str) -> Mapping:
    option = f"{name}: mappings: host_port {given['host_port']}"
    low, high = _ports(given["host_port"], f"{name}: mappings: host_port")
    (text, port), backends = _where(given, low, high, option)
    address = _target(text, option)
    host_address = _host_address(given.get("host_address"), address, option)
    if given.get("allow_from") is not None and not given["allow_from"]:
        raise InvalidOption(
            f"{option}: allow_from: an empty list would allow nobody: leave the mapping out, or the option, which allows everybody"
        )
    allow = _clients(given.get("allow_from"), address.version, f"{option}: allow_from")
    deny = _clients(given.get("deny_from"), address.version, f"{option}: deny_from")
    return Mapping(host_address, low, high, given["protocol"], text, port, allow, deny, backends)


def _verify(given: t.Mapping[str, t.Any] | None, name: str) -> Verify | None:
    if given is None:
        return None
    timeout = parse_seconds(given["timeout"], f"{name}: verify: timeout")
    if not 0 < timeout <= _MOST_SECONDS:
        raise InvalidOption(f"{name}: verify: timeout: {given['timeout']!r} is not between 0 and {_MOST_SECONDS} s")
    if given.get("tcp") is not None:
        option = f"{name}: verify: tcp"
        port = _ports(str(given["tcp"]["port"]), f"{option}: port")[0]
        return Verify(str(_address(given["tcp"]["address"], f"{option}: address")), port, timeout=timeout)
    http, option = given["http"], f"{name}: verify: http"
    try:
        url = urllib.parse.urlsplit(http["url"])
        host, port = url.hostname, url.port or 80
    except ValueError as error:
        raise InvalidOption(f"{option}: url: {http['url']!r}: {error}") from None
    if url.scheme != "http" or not host:
        raise InvalidOption(
            f"{option}: url: {http['url']!r} is not a URL such as http://127.0.0.1:80/health; for others give tcp"
        )
    if http.get("status") is not None and not 100 <= http["status"] <= 599:
        raise InvalidOption(f"{option}: status: {http['status']} is not a status of HTTP")
    path = (url.path or "/") + (f"?{url.query}" if url.query else "")
    return Verify(host, port, path, http.get("status"), timeout)


def _confirm_timeout(given: str | None, name: str) -> float | None:
    if given is None:
        return None
    timeout = parse_seconds(given, f"{name}: confirm_timeout")
    if not 1 <= timeout <= _LONGEST_WAIT:
        raise InvalidOption(f"{name}: confirm_timeout: {given!r} is not between 1s and 24h")
    return timeout


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
        verify=_verify(options.get("verify"), name),
        confirm_timeout=_confirm_timeout(options.get("confirm_timeout"), name),
    )
