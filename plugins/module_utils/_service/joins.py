# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Services that join the namespaces of others: which instance is meant, and that it can be so. Pure."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from .._host.records import Record
from .promises import Promises, ServiceRefused, promised
from .spec import ServiceSpec
from .state import World


@dataclass(frozen=True)
class Joined:
    """An instance that is joined: the first id of its range, and an address at which it answers."""

    instance: str
    service: str
    id_base: int
    address: str | None


def _address(networks: t.Sequence[t.Mapping[str, t.Any]]) -> str | None:
    return next((item[key] for item in networks for key in ("ipv4", "ipv6") if item.get(key)), None)


def check_host_pids(spec: ServiceSpec, world: World) -> None:
    """Refuse what no supervisor could end.

    :raises ServiceRefused: it has the host's pid namespace under runit.
    """
    if spec.namespace("pid") == "host" and not world.systemd:
        raise ServiceRefused(
            f"service {spec.name}: namespaces: pid: host: without systemd nothing ends processes that outlive the first one, and the"
            " runtime waits for them: leave it private, or join another service's"
        )


class Joins:
    """Who joins whom, as it stands after the elements of a task that have been planned so far."""

    def __init__(self, world: World, expect: Promises, specs: t.Sequence[ServiceSpec], project: str) -> None:
        self._world = world
        self._expect = expect
        self._project = project
        self._specs = {spec.name: spec for spec in specs}
        self._planned: dict[str, Record] = {}
        self._check_cycles()

    def note(self, record: Record) -> None:
        """An element that has been planned, as its record will be."""
        self._planned[record.name] = record

    def _edges(self) -> dict[str, str]:
        """Who is joined by whom, by name as it was given, after this task."""
        edges = {}
        for name, record in self._world.records.items():
            if name not in self._specs and record.assigned.get("joined"):
                edges[name] = str(record.assigned["joined"])
        for spec in self._specs.values():
            if spec.joins:
                edges[spec.name] = spec.joins
        return edges

    def _check_cycles(self) -> None:
        """Refuse services that wait for each other.

        :raises ServiceRefused: there are some.
        """
        edges = self._edges()
        for start in self._specs:
            seen = [start]
            while seen[-1] in edges:
                target = edges[seen[-1]]
                if target in seen:
                    way = " → ".join([*seen, target])
                    raise ServiceRefused(
                        f"service {start}: namespaces: {way}: services that join each other in a circle could never start"
                    )
                seen.append(target)

    def _candidates(self, spec: ServiceSpec) -> list[str]:
        """The instances that a name may mean: the one of this name, else those of the service of this name that are to run."""
        wanted = spec.joins
        if wanted in self._specs or wanted in self._world.records:
            return [str(wanted)]
        planned = [
            name
            for name, record in self._planned.items()
            if record.spec["service"] == wanted and self._specs[name].state in ("started", "restarted", "reloaded")
        ]
        if planned:
            return planned[-1:]
        return [
            name
            for name, instance in self._world.instances.items()
            if name != spec.name
            and instance.record is not None
            and instance.record.spec.get("service") == wanted
            and (instance.wanted or instance.running)
        ]

    def resolve(self, spec: ServiceSpec) -> Joined | None:
        """The instance that a service joins.

        :raises ServiceRefused: there is none, or it does not run.
        """
        if spec.joins is None:
            return None
        promise = promised(self._expect, "services", spec.joins)
        found = self._candidates(spec)
        if not found and promise is not None:
            service = str(promise.get("service", spec.joins))
            return Joined(spec.joins, service, int(promise["id_base"]), _address(promise.get("addresses") or []))
        if len(found) != 1:
            what = (
                f"{len(found)} instances of it run ({', '.join(found)})" if found else "this host has none of that name"
            )
            raise ServiceRefused(
                f"service {spec.name}: namespaces: service:{spec.joins}: {what}: name one that runs, make it first, or name it"
                " earlier in this task"
            )
        name = found[0]
        self._check_runs(spec, name)
        record = self._planned.get(name) or self._world.records.get(name)
        if record is None:
            raise ServiceRefused(
                f"service {spec.name}: namespaces: service:{name}: it comes later in this task: name it before {spec.name}"
            )
        if record.project != self._project:
            raise ServiceRefused(
                f"service {spec.name}: namespaces: service:{name} belongs to project {record.project!r}, not {self._project!r}"
            )
        return Joined(
            name,
            str(record.spec["service"]),
            int(record.assigned["id_base"]),
            _address(record.assigned.get("networks", [])),
        )

    def _check_runs(self, spec: ServiceSpec, name: str) -> None:
        """What is to run can join only what runs.

        :raises ServiceRefused: the other one is stopped, or goes.
        """
        target = self._specs.get(name)
        instance = self._world.instances.get(name)
        there = instance is not None and (instance.wanted or instance.running is not None)
        if target is not None and target.state != "present":
            there = target.state in ("started", "restarted", "reloaded")
        if not there and (
            spec.state in ("started", "restarted", "reloaded") or (target is not None and not target.present)
        ):
            raise ServiceRefused(
                f"service {spec.name}: namespaces: service:{name} does not run, so that nothing can join it: start it first"
            )

    def check_unused(self, name: str) -> None:
        """Refuse to remove what is joined by an instance that stays.

        :raises ServiceRefused: it is.
        """
        users = sorted(
            other
            for other, record in self._world.records.items()
            if record.assigned.get("joined") == name
            and (other not in self._specs or (self._specs[other].present and self._specs[other].joins is not None))
        )
        if users:
            raise ServiceRefused(
                f"service {name}: {', '.join(users)} has joined its namespaces: remove that first (state: absent)"
            )
