# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From what is to what is asked for: changes for people, steps for the runner. Pure."""

from __future__ import annotations

import typing as t
from dataclasses import replace

from .._errors import InvalidOption, IsolationError
from .._host import systemd
from .._host.records import DropRecord, Record, SaveRecord, check_project
from .._plan import Change, Plan, Step, TaskPlan, compare
from . import by_cgroupfs, by_systemd, metrics
from .backend import Backend, Target
from .facts import CALMED, DEFAULTS, FREED, RECORDS, Host, SliceState, World
from .limits import LIMITS, Value, Values, disk_latencies, disk_limits, document, show
from .spec import Spec
from .want import asked, wanted, wanted_raw, warnings


def backend_of(host: Host) -> Backend:
    """The manager of this host's control groups."""
    return t.cast(Backend, by_systemd if host.manager == "systemd" else by_cgroupfs)


def describe(state: SliceState, host: Host) -> dict[str, t.Any]:
    """A slice as it is, for results."""
    effective = document(state.limits)
    if state.raw:
        effective["unified"] = dict(state.raw)
    found: dict[str, t.Any] = {
        "name": state.name,
        "state": "frozen" if state.frozen else "present",
        "path": "/" + host.path(state.name),
        "manager": host.manager,
        "version": host.version,
        "effective": effective,
        **state.figures,
    }
    if host.manager == "systemd":
        found["unit"] = systemd.slice_unit(state.name)
    return found


def _shown(values: Values) -> dict[str, t.Any]:
    return {option: show(option, value) for option, value in values.items()}


def _changes(spec: Spec, target: Target, state: SliceState, host: Host, record: Record) -> tuple[Change, ...]:
    """The lines of the diff. Files and records are only mentioned when nothing else tells that they change."""
    backend = backend_of(host)
    there = backend.exists(state)
    before = ("frozen" if state.frozen else "present") if there else "absent"
    lines = [Change("state", before, spec.state)] if before != spec.state else []
    defaults = {option: LIMITS[option].default for option in target.values}
    if state.limits:
        lines += compare(_shown({**defaults, **state.limits}), _shown(target.values))
    else:
        set_here = {option: value for option, value in target.values.items() if value != defaults[option]}
        lines += compare({}, _shown(set_here))
    known = {key: state.raw[key] for key in target.raw if key in state.raw}
    lines += compare(known, target.raw)
    if there and not lines:
        other = backend.drift(target, state, host)
        if other is not None:
            lines.append(Change(*other))
        elif record != state.record:
            lines.append(Change("record", "none" if state.record is None else "different", record.path))
    return tuple(lines)


def _left_disks(option: str, note: str, values: Values, state: SliceState, host: Host) -> tuple[str, ...]:
    """Disks that have or had a value of an option, and shall have none; systemd has to be told so by name."""

    def nodes(value: Value | None) -> set[str]:
        return {disk.device for disk in disk_limits(value)} | {disk.device for disk in disk_latencies(value)}

    if host.manager != "systemd":
        return ()
    noted = state.record.assigned.get(note, []) if state.record is not None else []
    once = {*noted, *nodes(state.limits.get(option))}
    return tuple(sorted(once.intersection(host.disks) - nodes(values.get(option))))


def _plan_present(spec: Spec, world: World, project: str, has_children: bool) -> tuple[Plan, bool]:
    host, state = world.host, world.slices[spec.name]
    backend = backend_of(host)
    reason = backend.foreign(state, world.records)
    if reason is not None:
        raise InvalidOption(f"{spec.name}: {reason}")
    assigned = state.record.assigned if state.record is not None else {}
    values = wanted(spec, state, host)
    raw = wanted_raw(spec, state, host, assigned.get(DEFAULTS, {}))
    cpusets = {option: value for option, value in spec.limits.items() if option.startswith("cpuset")}
    asked_values = {option: cpusets.get(option, value) for option, value in values.items()}
    freed = _left_disks("io_max", FREED, values, state, host)
    calmed = _left_disks("io_latency", CALMED, values, state, host)
    target = Target(values, asked_values, raw, spec.unified, freed, calmed, spec.state == "frozen", has_children)
    for note, disks in ((FREED, freed), (CALMED, calmed)):
        if disks or note in assigned:
            assigned = {**assigned, note: list(disks)}
    record = Record(
        RECORDS, spec.name, project, {"limits": asked(asked_values), "unified": dict(spec.unified)}, assigned
    )
    changes = _changes(spec, target, state, host, record)
    notes = warnings(spec, values, host)
    if not changes:
        return Plan(spec.name, result=describe(state, host), warnings=notes), False
    if host.manager == "systemd":
        differing = [change.key for change in changes if change.key in LIMITS]
        by_systemd.check_overrides(target, state, differing)
        by_systemd.check_frozen(target, state, host, differing)
    actions = backend.present(target, state, host, record)
    # The record comes first: a killed run leaves nothing that is not known to be ours.
    first: tuple[Step, ...] = () if record == state.record else (SaveRecord(record),)
    expected = replace(state, record=record, limits=values, raw=raw, figures=metrics.nothing(), frozen=target.frozen)
    return (
        Plan(
            spec.name,
            changes,
            prepare=(*first, *actions.prepare),
            steps=actions.steps,
            finish=actions.finish,
            result=describe(expected, host),
            warnings=notes,
        ),
        actions.reload,
    )


def _plan_absent(spec: Spec, world: World, going: t.Collection[str]) -> tuple[Plan, bool]:
    host, state = world.host, world.slices[spec.name]
    backend = backend_of(host)
    gone = {"name": spec.name, "state": "absent"}
    stay = [name for name in world.records if name not in going]
    inside = [name for name in stay if name.startswith(spec.name + "/")]
    if inside:
        raise IsolationError(
            f"{spec.name}: the slices {', '.join(inside)} are inside it: remove them in the same task, or first"
        )
    if state.record is None and not backend.exists(state) and not state.present:
        return Plan(spec.name, result=gone), False
    if state.record is None:
        reason = backend.foreign(state, going)
        if reason is not None:
            raise InvalidOption(f"{spec.name}: {reason}")
    if state.processes and not spec.force:
        count = len(state.processes)
        pids = ", ".join(str(pid) for pid in sorted(state.processes)[:5])
        raise IsolationError(
            f"{spec.name}: {count} process{'' if count == 1 else 'es'} inside (such as {pids}):"
            " stop the services that use this slice, or set force to kill them"
        )
    if state.record is None and not backend.exists(state) and any(name.startswith(spec.name + "/") for name in going):
        # Only made for the slices inside it, with which it goes.
        return Plan(spec.name, result=gone), False
    actions = backend.absent(state, host, stay, spec.force)
    # The record goes last: a killed run can be repeated.
    last: tuple[Step, ...] = () if state.record is None else (DropRecord(state.record),)
    change = Change("state", "frozen" if state.frozen else "present", "absent", "replace")
    plan = Plan(
        spec.name, (change,), prepare=actions.prepare, steps=actions.steps, finish=(*actions.finish, *last), result=gone
    )
    return plan, actions.reload


def plan_task(specs: t.Sequence[Spec], world: World, project: str) -> TaskPlan:
    """The plans of all slices of a task.

    :raises IsolationError: one of them can't be had, or is in use; nothing has been changed.
    """
    for spec in specs:
        check_project("slice", spec.name, project, world.slices[spec.name].record)
    going = {spec.name for spec in specs if spec.state == "absent"}
    names = {*world.records, *(spec.name for spec in specs)} - going
    plans = []
    reload = False
    for spec in specs:
        if spec.state == "absent":
            plan, wants = _plan_absent(spec, world, going)
        else:
            nested = any(name.startswith(spec.name + "/") for name in names)
            plan, wants = _plan_present(spec, world, project, nested)
        plans.append(plan)
        reload = reload or wants
    return TaskPlan(tuple(plans), shared=(systemd.DAEMON_RELOAD,) if reload else ())
