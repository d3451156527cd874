# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a task changes of the names that services have for each other. Pure."""

from __future__ import annotations

import typing as t
from dataclasses import replace

from .. import _siblings
from .._host.files import WriteFile
from .._host.hosts import RenewHosts, hosts_file
from .._host.records import Record
from .._plan import Change, Plan, Step
from .spec import ServiceSpec
from .state import World


class Names:
    """The instances of a project as they stand after a task: their records, and who is started at boot."""

    def __init__(self, world: World, specs: t.Sequence[ServiceSpec], project: str) -> None:
        self._world = world
        self._specs = specs
        self._project = project
        gone = {spec.name for spec in specs if not spec.present}
        self._after = {name: record for name, record in world.records.items() if name not in gone}
        self._fresh = False
        booted = set(world.booted)
        for spec in specs:
            if spec.state in ("stopped", "absent"):
                booted.discard(spec.name)
            elif spec.state != "present":
                booted.add(spec.name)
                booted.discard(spec.replaces or "")
        self._booted = frozenset(booted)

    def note(self, spec: ServiceSpec, record: Record) -> None:
        """The record of an element as it is to be."""
        self._fresh = self._fresh or spec.name not in self._after
        self._after[spec.name] = record

    def _changes(self) -> dict[tuple[str, str], tuple[list[str], list[str]]]:
        """Names that those who are there already will have other addresses for."""
        found: dict[tuple[str, str], tuple[list[str], list[str]]] = {}
        world = self._world
        were = _siblings.Directory(world.records, world.booted, world.stable)
        are = _siblings.Directory(self._after, self._booted, world.stable)
        for name, before in world.records.items():
            after = self._after.get(name)
            if after is None or after.project != self._project:
                continue
            for key, both in _siblings.differing(were.siblings(before), are.siblings(after)).items():
                found.setdefault(key, both)
        return found

    def told(self, plans: t.Sequence[Plan]) -> list[Plan]:
        """The plans, where a name changes with a line about it, and a step that renews the files once it is so."""
        if not any(plan.changed for plan in plans):  # on a host with many instances the rest takes a while
            return list(plans)
        lines: dict[int, list[Change]] = {}
        owners = {spec.service: index for index, spec in reversed(list(enumerate(self._specs))) if plans[index].changed}
        # Of an instance that is removed, or named alone, only the record tells the service.
        for index, spec in enumerate(self._specs):
            record = self._world.records.get(spec.name)
            if record is not None and not spec.declared and plans[index].changed:
                owners.setdefault(str(record.spec.get("service", spec.name)), index)
        for (service, name), (before, after) in sorted(self._changes().items()):
            if service in owners:
                line = Change(f"name {name}", before or None, after or None)
                lines.setdefault(owners[service], []).append(line)
        return [
            self._with(self._whole(plan), lines.get(index, []), bool(spec.replaces or spec.beside))
            for index, (plan, spec) in enumerate(zip(plans, self._specs))
        ]

    def _whole(self, plan: Plan) -> Plan:
        """A new instance's file is written once, with those that come with it."""
        record = self._after.get(plan.name)
        path = hosts_file(plan.name)
        if plan.name in self._world.records or record is None:
            return plan

        def whole(step: Step) -> Step:
            if not isinstance(step, WriteFile) or step.path != path:
                return step
            others = _siblings.siblings(record, self._after, self._booted, self._world.stable)
            return replace(step, text=_siblings.hosts_of(record, others))

        return replace(plan, prepare=tuple(whole(step) for step in plan.prepare))

    def _with(self, plan: Plan, lines: t.Sequence[Change], takes_over: bool) -> Plan:
        """One that takes another's place has the name from when it is well, also for those that start with the same task."""
        if not lines and not (takes_over and plan.changed and len(self._specs) > 1):
            return plan
        return replace(plan, changes=(*plan.changes, *lines), finish=(*plan.finish, RenewHosts(self._project)))

    def shared(self) -> list[Step]:
        """Before the first start: who is new finds the others, and they find it."""
        together = len(self._after) > 1
        return [RenewHosts(self._project)] if self._fresh and together else []
