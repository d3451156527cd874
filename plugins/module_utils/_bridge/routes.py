# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Routes to networks behind a bridge: what can be asked for, and what changes them. Pure.

A route is written `192.0.2.0/24 via 10.88.0.17`, in the words of ip-route(8). Ours are those that leave by the bridge and carry
our protocol number, so that they are told from others' even where a killed run has left no record of them.
"""

from __future__ import annotations

import ipaddress
import typing as t

from .._errors import InvalidOption
from .._plan import Change

PROTOCOL = "105"
"""Who has made a route (rtnetlink(7), rtm_protocol): numbers from 4 on are for whoever takes them. It is the `i` of ASCII."""

Network = t.Union[ipaddress.IPv4Network, ipaddress.IPv6Network]
Interface = t.Union[ipaddress.IPv4Interface, ipaddress.IPv6Interface]


def split(entry: str) -> tuple[Network, str]:
    """The destination and the gateway of a route."""
    to, _via, gateway = entry.partition(" via ")
    return ipaddress.ip_network(to), gateway


def _destination(text: str, name: str) -> Network:
    option = f"{name}: routes: to: {text!r}"
    try:
        found = ipaddress.ip_network(text.strip())
    except ValueError as error:
        raise InvalidOption(f"{option} is no network, such as 192.0.2.0/24 or 2001:db8:9::/48: {error}") from None
    if found.prefixlen == 0:
        raise InvalidOption(
            f"{option}: a bridge's gateway can't be the host's default route: name the networks behind it"
        )
    if found.is_loopback or found.is_multicast or found.is_link_local or found.is_unspecified:
        raise InvalidOption(f"{option}: loopback, multicast, link-local and unspecified addresses can't be routed to")
    return found


def _gateway(text: str, name: str, to: Network, addresses: t.Iterable[Interface]) -> str:
    option = f"{name}: routes: via: {text!r}"
    try:
        found = ipaddress.ip_address(text.strip())
    except ValueError:
        raise InvalidOption(f"{option} is not an IPv4 or IPv6 address") from None
    if found.version != to.version:
        raise InvalidOption(f"{option}: the gateway and {to} are of different families")
    own = [address for address in addresses if address.version == found.version]
    if any(found == address.ip for address in own):
        raise InvalidOption(f"{option} is the bridge's own address: name the gateway behind the bridge")
    networks = [address.network for address in own if found in address.network]
    if not networks:
        raise InvalidOption(f"{option} is outside of the bridge's subnets: the gateway must be on the bridge")
    if found == networks[0].network_address or (found.version == 4 and found == networks[0].broadcast_address):
        raise InvalidOption(f"{option} is the own address or the broadcast address of {networks[0]}")
    return str(found)


def parse(given: t.Iterable[t.Mapping[str, t.Any]], name: str, addresses: t.Sequence[Interface]) -> tuple[str, ...]:
    """The routes of a bridge with these addresses, in canonical form.

    :raises InvalidOption: one of them can't be.
    """
    found: list[tuple[t.Any, str]] = []
    for item in given:
        to = _destination(item["to"], name)
        gateway = _gateway(item["via"], name, to, addresses)
        for other in (earlier for earlier, _via in found):
            if to.version == other.version and to.overlaps(other):
                raise InvalidOption(f"{name}: routes: {to} and {other} overlap: each network has one gateway")
        for address in addresses:
            if to.version == address.version and to.overlaps(t.cast(t.Any, address.network)):
                raise InvalidOption(f"{name}: routes: {to} overlaps the bridge's subnet {address.network}")
        found.append((to, gateway))
    return tuple(f"{to} via {gateway}" for to, gateway in sorted(found, key=lambda one: (one[0].version, one[0])))


def command(verb: str, entry: str, link: str) -> str:
    """A line for `ip -batch` that adds, replaces or deletes a route."""
    return f"route {verb} {entry} dev {link} proto {PROTOCOL}"


def compare(before: t.Iterable[str], after: t.Iterable[str]) -> list[Change]:
    """A line for each route that differs."""
    old, new = dict(map(split, before)), dict(map(split, after))

    def shown(side: t.Mapping[Network, str], to: Network) -> str | None:
        return f"via {side[to]}" if to in side else None

    return [
        Change(f"route {to}", shown(old, to), shown(new, to)) for to in {**new, **old} if old.get(to) != new.get(to)
    ]


def commands(
    before: t.Iterable[str], after: t.Iterable[str], link: str, version: int
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Lines that delete a family's routes that are of no more use, and lines that make those that are not there.

    A gateway is exchanged without a gap.
    """
    old, new = (dict(map(split, entries)) for entries in (before, after))
    stale = [command("del", f"{to} via {old[to]}", link) for to in old if to not in new and to.version == version]
    fresh = [
        command("replace" if to in old else "add", f"{to} via {new[to]}", link)
        for to in new
        if old.get(to) != new[to] and to.version == version
    ]
    return tuple(stale), tuple(fresh)
