# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which services start after which others. Pure."""

from __future__ import annotations

import typing as t

from .._errors import InvalidOption
from .._host.records import Record
from .._names import check_name
from .promises import Promises, ServiceRefused
from .spec import ServiceSpec

WAIT = 30
"""Seconds that a start waits for each of the others."""


def parse_names(options: t.Mapping[str, t.Any], option: str, name: str, service: str) -> tuple[str, ...]:
    """The services or instances that one names.

    :raises InvalidOption: one is no name, or is itself.
    """
    names = tuple(dict.fromkeys(check_name(item, f"{name}: {option}") for item in options.get(option) or []))
    for own in (name, service):
        if own in names:
            raise InvalidOption(f"{name}: {option}: {own} is itself: leave it out")
    return names


def _graph(
    specs: t.Sequence[ServiceSpec], records: t.Mapping[str, Record], project: str
) -> tuple[dict[str, set[str]], dict[str, str]]:
    """What each service starts after, and the service that a name stands for, as both will be after this task."""
    named = {spec.name for spec in specs if not spec.recorded}
    wanted: dict[str, set[str]] = {}
    services: dict[str, str] = {}
    for name, record in records.items():
        if record.project == project and name not in named:
            service = str(record.spec.get("service", name))
            services.update({name: service, service: service})
            wanted.setdefault(service, set()).update(record.spec.get("after", []), record.spec.get("requires", []))
    for spec in specs:
        if spec.declared:
            services.update({spec.name: spec.service, spec.service: spec.service})
            wanted.setdefault(spec.service, set()).update(spec.after, spec.requires)
    return {service: {services.get(name, name) for name in names} for service, names in wanted.items()}, services


def _circle(graph: t.Mapping[str, t.Collection[str]], service: str) -> list[str]:
    """A way from a service back to itself; empty if there is none."""
    ways = [[service]]
    seen: set[str] = set()
    while ways:
        way = ways.pop()
        for after in sorted(graph.get(way[-1], ())):
            if after == service:
                return [*way, service]
            if after not in seen:
                seen.add(after)
                ways.append([*way, after])
    return []


def check(specs: t.Sequence[ServiceSpec], records: t.Mapping[str, Record], expect: Promises, project: str) -> None:
    """Refuse what can't be waited for.

    :raises ServiceRefused: a name stands for nothing in this project, or services wait for each other.
    """
    graph, services = _graph(specs, records, project)
    promised = {str(item.get(key)) for item in expect.get("services") or [] for key in ("name", "service")}
    for spec in specs:
        for option, names in (("after", spec.after), ("requires", spec.requires)):
            for name in names:
                if spec.declared and name not in services and name not in promised:
                    raise ServiceRefused(
                        f"service {spec.name}: {option}: there is no service {name} of project {project} on this host: make it first,"
                        " or in the same task"
                    )
        circle = _circle(graph, spec.service) if spec.declared and (spec.after or spec.requires) else []
        if circle:
            raise ServiceRefused(
                f"service {spec.name}: after, requires: {' after '.join(circle)}: they would wait for each other: take one of them out"
            )


def order(specs: t.Sequence[ServiceSpec]) -> tuple[int, ...]:
    """The places of the elements in the order in which they are carried out: as given, but each after what it waits for."""
    found: list[int] = []

    def place(index: int) -> None:
        if index in found or index in entered:
            return
        entered.add(index)
        for other, spec in enumerate(specs):
            if {spec.name, spec.service} & {*specs[index].after, *specs[index].requires}:
                place(other)
        found.append(index)

    entered: set[int] = set()
    for index in range(len(specs)):
        place(index)
    return tuple(found)
