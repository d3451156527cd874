# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What goes beside what a task names: older releases, images that nothing refers to, what killed runs have left. Pure.

All of it is looked at once more when it is removed: a process may have begun to use it, an element before may have failed.
"""

from __future__ import annotations

import dataclasses
import typing as t

from .._host import images
from .._host.records import DropRecord, Record
from .._plan import Change, Plan, Step
from .removal import removal
from .spec import RootfsSpec
from .state import World


def _older(spec: RootfsSpec, named: t.Container[str], world: World, project: str) -> list[Record]:
    """The root filesystems of a spec's service that are more than it keeps: not named, not in use, the oldest."""
    idle = [
        record
        for record in world.records.values()
        if record.spec.get("service") == spec.service
        and record.project == project
        and record.name not in named
        and record.name not in world.busy
    ]
    idle.sort(key=lambda record: (world.ages.get(record.name, 0), record.name), reverse=True)
    return idle[spec.keep :]


def _abandoned(named: t.Container[str], world: World, project: str) -> list[Record]:
    """Claims of killed runs."""
    return [
        record
        for name, record in world.records.items()
        if name in world.abandoned and record.project == project and name not in named and name not in world.busy
    ]


def _with(plan: Plan, changes: t.Iterable[Change], finish: t.Iterable[Step]) -> Plan:
    return dataclasses.replace(plan, changes=(*plan.changes, *changes), finish=(*plan.finish, *finish))


def _remove(records: t.Iterable[Record], world: World) -> tuple[list[Change], list[Step]]:
    changes: list[Change] = []
    steps: list[Step] = []
    for record in records:
        shown = f"service {record.spec['service']}, image {record.assigned['digest']}"
        changes.append(Change(f"rootfs {record.name}", shown, None, "replace"))
        steps += removal(record, world.systemd)
    return changes, steps


def _idle_ranges(specs: t.Sequence[RootfsSpec], world: World, project: str) -> list[Record]:
    """Ranges of ids that killed runs have assigned to services of which there is nothing. Those of what goes now are released with it."""
    holders = {
        record.spec.get("service", record.name) for record in (*world.records.values(), *world.services.values())
    }
    holders |= {spec.service for spec in specs}
    return [held for service, held in world.ranges.items() if service not in holders and held.project == project]


def _idle_images(specs: t.Sequence[RootfsSpec], gone: t.Container[str], world: World) -> list[images.Image]:
    """Images that no root filesystem refers to, and no mount but those of ours."""
    named = {spec.name for spec in specs if spec.name not in world.untold}
    kept = (record for name, record in world.records.items() if name not in named and name not in gone)
    needed = {record.assigned["digest"] for record in kept}
    needed |= {world.sources[spec.name] for spec in specs if spec.name in world.sources}
    return [
        image
        for digest, image in world.images.items()
        if digest not in needed and f"{image.path}/rootfs" not in world.used_images
    ]


def collect(specs: t.Sequence[RootfsSpec], world: World, plans: list[Plan], project: str) -> None:
    """Add to the plans of a task what goes: older releases with the element that asks, images and claims with the last that asks."""
    if world.leftovers and plans:
        line = Change("leftovers of killed runs", ", ".join(world.leftovers), None)
        step = images.RemoveLeftovers(world.leftovers)
        plans[0] = dataclasses.replace(plans[0], changes=(*plans[0].changes, line), prepare=(step, *plans[0].prepare))
    named = {spec.name for spec in specs}
    gone: set[str] = set()
    asking = [index for index, spec in enumerate(specs) if spec.prune_images or spec.keep is not None]
    for index in asking:
        spec = specs[index]
        if spec.keep is None or spec.name in world.untold:
            continue
        older = [record for record in _older(spec, named, world, project) if record.name not in gone]
        gone |= {record.name for record in older}
        plans[index] = _with(plans[index], *_remove(older, world))
    if not asking:
        return
    last = asking[-1]
    claims = [record for record in _abandoned(named, world, project) if record.name not in gone]
    gone |= {record.name for record in claims}
    plans[last] = _with(plans[last], *_remove(claims, world))
    if not any(spec.prune_images for spec in specs):
        return
    ranges = _idle_ranges(specs, world, project)
    changes = [Change(f"ids of service {held.name}", held.assigned["id_base"], None) for held in ranges]
    steps: list[Step] = [DropRecord(held) for held in ranges]
    idle = _idle_images(specs, gone, world)
    changes += [Change(f"images {image.digest}", f"{image.size} bytes", None) for image in idle]
    if idle:
        steps.append(images.RemoveImages(tuple(image.digest for image in idle)))
    if changes:
        plans[last] = _with(plans[last], changes, (*steps, images.RemoveEmptyStore()))
