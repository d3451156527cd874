# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is refused of published ports before anything is changed. Pure."""

from __future__ import annotations

import functools
import typing as t

from .._errors import InvalidOption
from .._host.sockets import Listener
from .apply import PortmapError
from .elements import port_keys
from .model import Mapping, PortmapSpec
from .state import World


def check_conflicts(specs: t.Mapping[str, PortmapSpec], names: t.Collection[str]) -> None:
    """Refuse a port of the host that is published twice. A port of every address is one of each address, as for bind(2).

    Only conflicts that one of the owners in `names` is part of are looked for.

    :raises InvalidOption: two mappings want the same port.
    """
    _check_conflicts(tuple(sorted(specs.values(), key=lambda spec: spec.name in names)), frozenset(names))


@functools.lru_cache(maxsize=2)
def _check_conflicts(ordered: tuple[PortmapSpec, ...], names: frozenset[str]) -> None:
    """In `ordered` the owners in `names` come last: of two mappings in conflict, the later one is refused."""
    for first, second in _overlaps(ordered):
        if ordered[second[0]].name in names:
            (one, other), (owner, mapping) = ((ordered[index], held) for index, held in (first, second))
            _refuse(owner.name, mapping, one.name, other)
    addresses: dict[str, str] = {}
    for spec in ordered:
        for service in spec.service_addresses:
            holder = addresses.setdefault(service.address, spec.name)
            if holder != spec.name or sum(one.address == service.address for one in spec.service_addresses) > 1:
                raise InvalidOption(
                    f"portmap {spec.name}: service address {service.address} is taken by {holder}: choose another"
                )


_Held = t.Tuple[int, Mapping]
"""A mapping and the place of its owner."""


def _overlaps(ordered: t.Sequence[PortmapSpec]) -> t.Iterator[tuple[_Held, _Held]]:
    """Pairs of mappings that want the same port, the earlier owner's first. All are looked at in the order of their ports."""
    everything = sorted(
        [
            (mapping.six, mapping.protocol, mapping.low, index, place, mapping)
            for index, spec in enumerate(ordered)
            for place, mapping in enumerate(spec.mappings)
        ],
        key=lambda entry: entry[:5],
    )
    kind: t.Any = None
    reach = 0
    near: list[tuple[int, int, Mapping]] = []
    for six, protocol, low, index, place, mapping in everything:
        if kind != (six, protocol):
            kind, reach, near = (six, protocol), 0, []
        if low > reach:
            near = []
        for held in near:
            other = held[2]
            if other.high >= low and (
                mapping.host_address is None or other.host_address in (None, mapping.host_address)
            ):
                (one, _place, first), (later, _other, second) = sorted((held, (index, place, mapping)))
                yield (one, first), (later, second)
        near.append((index, place, mapping))
        reach = max(reach, mapping.high)


def _refuse(name: str, mapping: Mapping, owner: str, other: Mapping) -> None:
    what = f"portmap {name}: {mapping.label} (to {mapping.target})"
    if owner == name:
        raise InvalidOption(
            f"{what} is published already, as {other.label} (to {other.target}): give each port of the host once"
        )
    raise InvalidOption(
        f"{what}: the port belongs to {owner}, which publishes {other.label} (to {other.target}): choose another port, or remove it there"
    )


def check_listeners(spec: PortmapSpec, world: World) -> None:
    """Refuse ports at which a process of the host waits: it would get nothing any more."""
    if not world.listeners:
        return
    for mapping in spec.mappings:
        if all(world.elements.get(key, ("", ""))[1] == spec.name for key in port_keys(mapping)):
            continue
        for listener in world.listeners:
            if listener.protocol != mapping.protocol or listener.port not in mapping.ports:
                continue
            if _hears(listener, mapping):
                raise PortmapError(
                    f"portmap {spec.name}: {mapping.label}: {listener.user} listens at {listener.protocol} {listener.address}"
                    f" port {listener.port} of this host: stop it, or publish another port or on another host_address"
                )


def _hears(listener: Listener, mapping: Mapping) -> bool:
    """Whether a socket would lose packets to a mapping. `::` hears IPv4, too, unless it is told not to (ipv6(7), IPV6_V6ONLY)."""
    if listener.address == "::":
        return mapping.six or not listener.six_only
    if (":" in listener.address) != mapping.six:
        return False
    if mapping.host_address is None:
        return listener.address != "::1"
    return listener.address in (mapping.host_address, "0.0.0.0")  # noqa: S104 - compared, not bound


def check_service_addresses(spec: PortmapSpec, desired: t.Mapping[str, PortmapSpec], own: t.Collection[str]) -> None:
    """Refuse a service address that somebody has: what is meant for them would be led to the service."""
    if not spec.service_addresses:
        return
    targets = {address: name for name, other in desired.items() for address in other.targets}
    for service in spec.service_addresses:
        if service.address in own:
            raise PortmapError(
                f"portmap {spec.name}: service address {service.address} is an address of this host: choose one that nobody has"
            )
        if service.address in targets:
            raise InvalidOption(
                f"portmap {spec.name}: service address {service.address} is the address of an instance, to which"
                f" {targets[service.address]} leads: choose one that nobody has"
            )
