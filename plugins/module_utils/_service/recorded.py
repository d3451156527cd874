# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Instances that are named alone: started and stopped as they are, with what their records say. Pure."""

from __future__ import annotations

import dataclasses

from .._host import ending, health, hosts
from .._host.records import Record, SaveRecord, check_project
from .._plan import Change, Plan, Step
from . import apply
from .apply import Handle
from .changes import effect_of, state_changes
from .drain import Draining, plan_drain, stop_steps, told_of_stop
from .gate import AwaitHealth
from .instances import LAYER, Instance, describe
from .others import check_beside, recorded_handle, replaced
from .promises import ServiceRefused
from .spec import Health, ServiceSpec
from .state import World
from .upgrade import completed


def _health(record: Record) -> Health | None:
    kept = completed(record.spec)["health"]
    if not kept:
        return None
    return Health(**{**kept, "port": kept["port"] or 0, "command": tuple(kept["command"])})


def plan_recorded(spec: ServiceSpec, world: World, project: str) -> Plan:
    """What starts, stops or restarts an instance, or holds its release back.

    :raises ServiceRefused: there is no such instance, or it belongs to another project.
    """
    instance = world.instances[spec.name]
    record = instance.record
    if record is None:
        raise ServiceRefused(
            f"service {spec.name}: there is no such instance on this host: give its command and its rootfs to make it"
        )
    check_project(LAYER, spec.name, project, record)
    service = str(record.spec["service"])
    check_beside(spec, service, world)
    old = replaced(spec, service, world, project)
    handle = recorded_handle(record, world)
    draining = plan_drain(spec, instance, handle, world)
    changes = [*state_changes(spec, instance), *draining.changes]
    if old is not None:
        changes.append(Change(f"replaces {spec.replaces}", old[0].state, "stopped", "restart"))
    held = bool(record.spec.get("held"))
    steps: list[Step] = []
    if spec.held is not None and spec.held != held:
        changes.append(Change("held", held, spec.held))
        record = dataclasses.replace(record, spec={**record.spec, "held": spec.held})
        steps.append(SaveRecord(record))
    shown = describe(spec.name, dataclasses.replace(instance, record=record), world.systemd)
    if not changes:
        return Plan(spec.name, result=shown)
    finish: list[Step] = []
    if spec.state == "stopped":
        steps += _stop(spec, instance, handle, project, draining)
        shown.update(told_of_stop(spec, instance, draining))
    elif spec.state != "present":
        began, finish = _start(spec, record, instance, handle, old[1] if old else None)
        steps += began
        shown.update(state="started")
    return Plan(
        spec.name,
        tuple(changes),
        (),
        tuple(steps),
        tuple(finish),
        result=shown,
        effect=effect_of(changes, instance),
    )


def _stop(spec: ServiceSpec, instance: Instance, handle: Handle, project: str, draining: Draining) -> list[Step]:
    # Nobody is to be led to it any more when it stops; another one may be there for that already.
    steps: list[Step] = [apply.Boot(handle, False)] if instance.at_boot else []
    steps.append(hosts.RenewHosts(project))
    if instance.running is not None or instance.wanted:
        steps += stop_steps(spec, instance, handle, draining)
    return steps


def _start(
    spec: ServiceSpec, record: Record, instance: Instance, handle: Handle, old: Handle | None
) -> tuple[list[Step], list[Step]]:
    steps: list[Step] = [] if instance.ending is None else [ending.RunOn(spec.name)]
    untried = spec.beside is not None and not instance.at_boot
    if not instance.at_boot and old is None and not untried:
        steps.append(apply.Boot(handle, True))
    if instance.running is not None and spec.state == "started" and old is None and not untried:
        return steps, []
    if instance.running is None or spec.state == "restarted":
        steps.append(apply.Start(handle, instance.running is not None or instance.wanted, old))
    elif old is not None:
        steps.append(apply.Stop(old))
    gate = AwaitHealth(
        handle, spec.gate, _health(record), health.address_of(record.assigned), old, beside=spec.beside is not None
    )
    return steps, [gate]
