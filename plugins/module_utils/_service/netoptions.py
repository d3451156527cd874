# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From the option `networks` to what is asked for. Pure."""

from __future__ import annotations

import ipaddress
import re
import typing as t

from .._errors import InvalidOption
from .spec import Network

_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
HOSTNAME = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)(\.(?!-)[A-Za-z0-9-]{1,63}(?<!-))*")
LEAST_MTU = {4: 68, 6: 1280}
"""RFC 791 and RFC 8200."""


def _addresses(given: t.Iterable[str], option: str) -> dict[int, str]:
    found: dict[int, str] = {}
    for text in given:
        if text == "auto":
            continue
        try:
            address = ipaddress.ip_address(text.strip())
        except ValueError:
            raise InvalidOption(
                f"{option}: address: {text!r} is neither auto nor an IP address without a prefix"
            ) from None
        if address.version in found:
            raise InvalidOption(f"{option}: address: at most one address of each family")
        found[address.version] = str(address)
    return found


def _mac(text: str | None, option: str) -> str | None:
    """A MAC address that one interface can have: the kernel refuses a group's (the first octet's lowest bit), and none."""
    if text is None:
        return None
    mac = text.strip().lower().replace("-", ":")
    if not _MAC.fullmatch(mac):
        raise InvalidOption(f"{option}: mac: {text!r} is not a MAC address such as 02:00:00:00:00:05")
    if int(mac[:2], 16) & 1:
        raise InvalidOption(
            f"{option}: mac: {mac} is a multicast address: its first octet must be even, such as 02 (a locally administered one)"
        )
    if mac == "00:00:00:00:00:00":
        raise InvalidOption(f"{option}: mac: {mac} stands for no address at all")
    return mac


def _route(given: t.Mapping[str, t.Any], option: str) -> tuple[str, str | None]:
    text = given.get("to")
    try:
        to = ipaddress.ip_network(str(text or "").strip())
    except ValueError as error:
        raise InvalidOption(f"{option}: to: {error}: write a network such as 192.0.2.0/24") from None
    if to.prefixlen == 0:
        raise InvalidOption(f"{option}: to: {to} is the default route: that is what default_route is for")
    if to.is_multicast or to.is_loopback or to.is_link_local:
        raise InvalidOption(f"{option}: to: {to} is not routed")
    if given.get("via") is None:
        return str(to), None
    try:
        via = ipaddress.ip_address(str(given["via"]).strip())
    except ValueError as error:
        raise InvalidOption(f"{option}: via: {error}") from None
    if via.version != to.version:
        raise InvalidOption(f"{option}: via: {via} is of another family than {to}")
    return str(to), str(via)


def _aliases(given: t.Iterable[str], option: str) -> tuple[str, ...]:
    for alias in given:
        if len(alias) > 253 or not HOSTNAME.fullmatch(alias) or alias == "localhost":
            raise InvalidOption(f"{option}: aliases: {alias!r} is not a name that a host can have")
    return tuple(sorted(set(given)))


def _network(given: t.Mapping[str, t.Any], option: str) -> Network:
    if not given.get("bridge"):
        raise InvalidOption(f"{option}: bridge: needed")
    found = _addresses(given["address"], option)
    mtu = given.get("mtu")
    if mtu is not None and not LEAST_MTU[4] <= mtu <= 65535:
        raise InvalidOption(f"{option}: mtu: {mtu}: must be {LEAST_MTU[4]} to 65535")
    default = given.get("default_route")
    routes = sorted((_route(item, f"{option}: routes") for item in given.get("routes") or ()), key=lambda one: one[0])
    return Network(
        given["bridge"],
        found.get(4),
        found.get(6),
        _mac(given.get("mac"), option),
        mtu,
        default is None or bool(default),
        tuple(routes),
        _aliases(given.get("aliases") or (), option),
    )


def parse_networks(given: t.Sequence[t.Mapping[str, t.Any]], name: str) -> tuple[Network, ...]:
    """The networks of an instance, in order.

    :raises InvalidOption: they can't be meant.
    """
    found = tuple(_network(item, f"{name}: networks") for item in given)
    bridges = [network.bridge for network in found]
    if len(set(bridges)) < len(bridges):
        raise InvalidOption(f"{name}: networks: a bridge is named more than once")
    macs = [network.mac for network in found if network.mac]
    if len(set(macs)) < len(macs):
        raise InvalidOption(f"{name}: networks: mac: one that is given to two networks")
    targets = [to for network in found for to, _via in network.routes]
    for to in targets:
        if targets.count(to) > 1:
            raise InvalidOption(f"{name}: networks: routes: {to} is there more than once")
    return found
