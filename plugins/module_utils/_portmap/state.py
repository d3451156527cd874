# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the host has of published ports: the nftables table, records, boot files, and who listens where."""

from __future__ import annotations

import functools
import typing as t
from dataclasses import dataclass, field

from .. import _paths
from .._host import boot, firewalls, hosts, iproute, nft, revert, sockets
from .._host.files import read_text
from .._host.nfnetlink import ChangedMeanwhile, Reader, generation
from .._host.probe import now
from .._host.process import aside
from .._host.records import Record, load_records
from .._host.sockets import Listener
from . import listing, render
from .elements import Elements, Key, port_keys
from .model import PortmapSpec, from_record
from .unconfirmed import LAYER, Owners, owners_of

TABLE_FILE = _paths.NAT_TABLE
SCRIPT = boot.NAT_SCRIPT

_PATIENCE = 30.0
"""Seconds for which the table is read again while others change the ruleset."""

SHOWN = 100
"""Mappings of one owner that a result tells; there may be thousands, and who asked for them knows them."""


@dataclass(frozen=True)
class World:
    """The host, as far as published ports go. `own` are its addresses, where service addresses are asked for.

    `elements` are those that the kernel has. `intact` tells whether the rest of the table is there and as it should be.
    """

    records: t.Mapping[str, Record] = field(default_factory=dict)
    elements: t.Mapping[Key, tuple[str, str]] = field(default_factory=dict)
    there: bool = False
    intact: bool = False
    listeners: tuple[Listener, ...] = ()
    own: frozenset[str] = frozenset()
    table_file: str | None = None
    script: str | None = None
    boot_gaps: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    services: t.Mapping[str, Record] = field(default_factory=dict)
    booted: frozenset[str] = frozenset()
    unconfirmed: Owners = field(default_factory=dict)


def new_ports(specs: t.Iterable[PortmapSpec], elements: t.Mapping[Key, tuple[str, str]]) -> set[int]:
    """The host's ports that are about to be published by an owner which doesn't have them yet."""
    ports: set[int] = set()
    for spec in specs:
        for mapping, _part in spec.differing(elements) if spec.present else ():
            if any(elements.get(key, ("", ""))[1] != spec.name for key in port_keys(mapping)):
                ports.update(mapping.ports)
    return ports


def _warnings() -> tuple[str, ...]:
    if not nft.available():
        return ("nftables is not installed: the host is taken to have nothing of ours",)
    return firewalls.warnings()


@functools.lru_cache(maxsize=1)
def _table_at(_generation: int | None) -> tuple[Elements, str | None]:
    """The table as it was when the ruleset had this number, which every change of it raises."""
    terse = aside(lambda: nft.list_terse(render.TABLE))
    elements: Elements = {}
    with Reader(render.TABLE.split()[1]) as kernel:
        for name, kind, _interval in render.maps():
            elements.update(listing.read_elements(name, kind, kernel.elements(name)))
    objects = terse.result()
    if objects is None:
        return {}, None
    if listing.spreads(objects):
        objects = nft.list_json(render.TABLE) or []
        elements = listing.parse_elements(objects)
    return elements, listing.definitions(objects, elements)


def _read_table() -> tuple[Elements, str | None]:
    """The elements and the definitions that the kernel has. Read again only if the ruleset has changed since.

    The table is read in parts. A change by others in between is noticed, and it is read again, until they pause, or
    two readings in a row are the same.

    :raises ChangedMeanwhile: they did not pause.
    """
    if not nft.available():
        return {}, None
    last: tuple[Elements, str | None] | None = None
    deadline = now() + _PATIENCE
    while True:
        before = generation()
        try:
            found = _table_at.__wrapped__(None) if before is None else _table_at(before)
        except ChangedMeanwhile:
            last = None
        else:
            if generation() == before or found == last:
                return found
            _table_at.cache_clear()
            last = found
        if now() > deadline:
            raise ChangedMeanwhile(f"table {render.TABLE}: others change the ruleset all the time: run again")


def _wanted() -> str | None:
    """The definitions that the table should have. Asked once."""
    return nft.canonical_skeleton(render.TABLE, render.table_text({}))


def observe(specs: t.Sequence[PortmapSpec]) -> World:
    """The host as it is. Reads only."""
    # Most of the time would be spent in waiting for nft, one call after the other.
    wanted, warnings = aside(_wanted), aside(_warnings)
    elements, skeleton = _read_table()
    records = load_records(LAYER)
    ports = new_ports(specs, elements)
    return World(
        records=records,
        elements=elements,
        there=skeleton is not None,
        intact=skeleton is not None and skeleton == wanted.result(),
        listeners=sockets.listeners(ports) if ports else (),
        own=iproute.own_addresses() if any(spec.service_addresses for spec in specs) else frozenset(),
        table_file=read_text(TABLE_FILE),
        script=read_text(SCRIPT),
        boot_gaps=boot.gaps(),
        warnings=warnings.result(),
        services=load_records("service"),
        booted=hosts.booted(),
        unconfirmed=owners_of(load_records(revert.LAYER)),
    )


def describe(spec: PortmapSpec, unconfirmed: bool, most: int | None = SHOWN) -> dict[str, t.Any]:
    """What an owner publishes, as results show it: at most `most` of its mappings, the rest counted."""
    if not spec.present:
        return {"name": spec.name, "state": "absent", "unconfirmed": unconfirmed}
    shown = spec.mappings[:most]
    return {
        "name": spec.name,
        "mappings": [mapping.record() for mapping in shown],
        "service_addresses": [service.record() for service in spec.service_addresses],
        "exposed": [mapping.record() for mapping in shown if mapping.exposed],
        "omitted": len(spec.mappings) - len(shown),
        "unconfirmed": unconfirmed,
    }


def observe_all() -> list[dict[str, t.Any]]:
    """All owners, and whether the kernel has all their elements (`applied`)."""
    elements, skeleton = _read_table()
    found = []
    unconfirmed = owners_of(load_records(revert.LAYER))
    for name, record in sorted(load_records(LAYER).items()):
        spec = from_record(name, record.spec)
        applied = skeleton is not None and all(elements.get(key) == value for key, value in spec.elements.items())
        found.append({**describe(spec, name in unconfirmed, None), "project": record.project, "applied": applied})
    return found
