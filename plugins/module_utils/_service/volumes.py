# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What services need of named volumes, and what is purged. Pure."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from .._errors import IsolationError
from .._host import volumes as host
from .._host.records import Record, SaveRecord, check_project
from .._plan import Change, Step
from .spec import ServiceSpec


class VolumeRefused(IsolationError):
    """A named volume can't be used or purged as asked."""


@dataclass(frozen=True)
class Claim:
    """What is to be done about volumes for one element."""

    changes: tuple[Change, ...] = ()
    steps: tuple[Step, ...] = ()


class Plans:
    """Volumes as they stand after the elements of a task that have been planned so far."""

    def __init__(
        self, there: host.Volumes, services: t.Mapping[str, Record], specs: t.Sequence[ServiceSpec], project: str
    ) -> None:
        self._there = there
        self._project = project
        self._made: set[str] = set()
        self._purged: set[str] = set()
        named = {spec.name for spec in specs}
        self._users = host.users({name: record for name, record in services.items() if name not in named})
        for spec in specs:
            for name in spec.volume_names:
                self._users.setdefault(name, []).append(spec.name)

    def _ours(self, name: str) -> Record | None:
        """The record of a volume.

        :raises IsolationError: it is another project's, or nobody's.
        """
        record = self._there.records.get(name)
        check_project(host.LAYER, name, self._project, record)
        if record is None and name in self._there.directories:
            raise VolumeRefused(
                f"volume {name}: {host.directory(name)} is there, but no record tells of it: move it away by hand, or"
                " choose another name"
            )
        return record

    def claim(self, spec: ServiceSpec, root: str | None, id_base: int) -> Claim:
        """What makes the volumes that an instance names; `root` is its root filesystem, if it can be looked into.

        :raises IsolationError: a volume is another project's, or nobody's.
        """
        changes: list[Change] = []
        steps: list[Step] = []
        targets = {mount.source: mount.target for mount in reversed(spec.volumes)}
        for name in spec.volume_names:
            record = self._ours(name)
            if name in self._made:
                continue
            self._made.add(name)
            if record is None:  # first, so that a killed run leaves nothing that nobody knows of
                steps.append(SaveRecord(Record(host.LAYER, name, self._project)))
            if name not in self._there.directories:
                before = None if record is None else "gone"
                changes.append(Change(f"volume {name}", before, "empty", "restart"))
                steps.append(host.MakeVolume(name, root, targets[name], id_base))
        return Claim(tuple(changes), tuple(steps))

    def purge(self, spec: ServiceSpec) -> Claim:
        """What removes the volumes that are to be purged with an instance.

        :raises IsolationError: a volume is in use, another project's, or nobody's.
        """
        changes: list[Change] = []
        steps: list[Step] = []
        for name in spec.purge_volumes:
            record = self._ours(name)
            if record is None or name in self._purged:
                continue
            used = self._users.get(name)
            if used:
                raise VolumeRefused(
                    f"{spec.name}: purge_volumes: {name} is used by {', '.join(used)}: remove that first (state: absent),"
                    " or take the volume out of its mounts"
                )
            self._purged.add(name)
            changes.append(Change(f"volume {name}", "kept", None, "replace"))
            steps.append(host.PurgeVolume(record))
        return Claim(tuple(changes), tuple(steps))
