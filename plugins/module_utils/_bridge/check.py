# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is refused of bridges before anything is changed. Pure."""

from __future__ import annotations

import dataclasses
import itertools
import typing as t

from .._errors import InvalidOption, IsolationError
from .._host.records import check_project
from . import ports
from .routes import PROTOCOL, Network
from .spec import BridgeSpec
from .state import LAYER, Route, World


class BridgeError(IsolationError):
    """What is asked of a bridge can't be."""


def _check_existing(spec: BridgeSpec, world: World, project: str) -> None:
    record = world.records.get(spec.name)
    check_project(LAYER, spec.name, project, record)
    link = world.links.get(spec.name)
    if link is None:
        return
    if record is None and spec.present:
        raise BridgeError(
            f"bridge {spec.name}: a link of this name ({link.kind or 'a device'}) exists already and is not ours:"
            " choose another name, or remove that link first"
        )
    if record is not None and link.kind != "bridge":
        raise BridgeError(
            f"bridge {spec.name}: the link of this name is no bridge but {link.kind or 'a device'}:"
            " somebody has replaced ours: remove that link, or choose another name"
        )


def _named(spec: BridgeSpec, network: Network) -> str:
    """A range, and the option that it comes from if that is not the addresses."""
    return f"routes: {network}" if network in spec.routed(network.version) else str(network)


def _in_the_way(route: Route, spec: BridgeSpec, leaving: t.Collection[str]) -> bool:
    """Whether a route of the host is somebody else's, who may need it."""
    if route.link in leaving:
        return False
    # The bridge's own are those that the kernel makes of its addresses, and those that we have made.
    return route.link != spec.name or route.protocol not in ("kernel", PROTOCOL)


def _check_overlaps(spec: BridgeSpec, world: World, others: t.Iterable[BridgeSpec], leaving: t.Collection[str]) -> None:
    """Refuse ranges that the host, or another bridge of ours, uses already."""
    for other in others:
        for version in (4, 6):
            for network, theirs in itertools.product(spec.ranges(version), other.ranges(version)):
                if network.overlaps(theirs):
                    raise InvalidOption(
                        f"bridge {spec.name}: {_named(spec, network)} overlaps {theirs} of bridge {other.name}"
                    )
    link = world.links.get(spec.name)
    there = link.addresses if link else ()
    known = world.bridge_routes(spec.name)
    fresh = dataclasses.replace(
        spec,
        addresses=tuple(item for item in spec.addresses if item not in there),
        routes=tuple(item for item in spec.routes if item not in known),
    )
    for route in world.routes:
        network_ = route.network()
        if network_ is None or network_.is_link_local or network_.is_multicast or not _in_the_way(route, spec, leaving):
            continue
        # Somebody's route by the bridge itself is at odds with a route of ours only.
        ranges = fresh.routed(network_.version) if route.link == spec.name else fresh.ranges(network_.version)
        for network in ranges:
            if network.overlaps(network_):
                by = f" by {route.link}" if route.link else ""
                what = "address" if route.kind == "local" else "route"
                raise InvalidOption(
                    f"bridge {spec.name}: {_named(spec, network)} overlaps the host's {what} {network_}{by} ({route.kind}):"
                    " choose a range that nothing else on this network uses"
                )


def _check_ports(spec: BridgeSpec, world: World, bridges: t.Mapping[str, BridgeSpec]) -> None:
    for port in spec.ports:
        link = world.links.get(port)
        if link is None:
            raise BridgeError(f"bridge {spec.name}: ports: the host has no link {port}")
        if link.kind == "bridge" or port in bridges:
            raise BridgeError(f"bridge {spec.name}: ports: {port} is a bridge, which can't be a port")
        if link.master not in (None, spec.name):
            raise BridgeError(
                f"bridge {spec.name}: ports: {port} belongs to {link.master} already:"
                f" release it first (ip link set {port} nomaster)"
            )
    record = world.records.get(spec.name)
    released = set(record.spec.get("ports", []) if record else []) - set(spec.ports)
    held = {link.name for link in world.links.values() if link.master == spec.name} - released
    if len(held.union(spec.ports)) > ports.MAX_PORTS:
        raise BridgeError(
            f"bridge {spec.name}: ports: it would have {len(held.union(spec.ports))}, and the kernel gives a bridge {ports.MAX_PORTS}:"
            " use another bridge"
        )


def _check_allowed(spec: BridgeSpec, bridges: t.Mapping[str, BridgeSpec]) -> None:
    for other in spec.allow_bridges:
        if other not in bridges:
            raise InvalidOption(
                f"bridge {spec.name}: allow_bridges: there is no bridge {other} of ours, and none in this task"
            )


def check(
    spec: BridgeSpec, world: World, project: str, bridges: t.Mapping[str, BridgeSpec], leaving: t.Collection[str]
) -> None:
    """Refuse what can't be; `bridges` are all that are to be, `leaving` the names of those that this task removes.

    :raises IsolationError: the message names the option, and what is in its way.
    """
    _check_existing(spec, world, project)
    if not spec.present:
        return
    if spec.subnets(6) and not world.six:
        raise BridgeError(
            f"bridge {spec.name}: addresses: this host's kernel has IPv6 switched off: leave the v6 address out"
        )
    _check_overlaps(spec, world, [other for other in bridges.values() if other.name != spec.name], leaving)
    _check_ports(spec, world, bridges)
    _check_allowed(spec, bridges)
