# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What brings the host's services to what is asked for. Pure."""

from __future__ import annotations

import os
import typing as t
from dataclasses import replace

from .. import _paths
from .._bridge import ports
from .._host import ending, enter, health, hosts, oci, runit, secrets, systemd, volumes
from .._host.boot import EnsureBoot
from .._host.files import RemoveFile, UpdateFile, WriteFile
from .._host.libexec import path as helper_path
from .._host.nft import ApplyRuleset
from .._host.records import DropRecord, SaveRecord, check_project
from .._plan import Change, Plan, Step, TaskPlan
from .._ranges import Ranges
from .._rootfs.apply import Release
from . import apply, ordering, output
from .apply import Handle
from .changes import KNOWN_FILES, effect_of, instance_changes, linked, shown_addresses, stale_files
from .desired import Desired, desired
from .drain import Draining, plan_drain, stop_steps, told_of_stop
from .environment import with_files
from .gate import AwaitHealth
from .instances import LAYER, Instance, describe, directory
from .joins import Joins
from .names import Names
from .networks import Networks
from .others import check_beside, recorded_handle, replaced
from .promises import Promises, ServiceRefused
from .recorded import plan_recorded
from .secrets import SecretPlan, check_offered, plan_secrets
from .spec import ServiceSpec
from .state import World
from .supervise import unit_name
from .volumes import Claim, Plans


def _helpers(specs: t.Iterable[ServiceSpec], world: World) -> dict[str, str]:
    """The helpers that instances need on the host."""
    found = {**oci.HELPERS, enter.HELPER: world.enter}
    if any(spec.volumes for spec in specs):
        found[volumes.HELPER] = world.volumes.helper
    if any(spec.secrets for spec in specs):
        found[secrets.HELPER] = world.secrets.helper
    return found


def _helper_changes(specs: t.Sequence[ServiceSpec], world: World) -> list[Change]:
    changes = []
    for name, text in _helpers(specs, world).items():
        there = world.helpers.get(name)
        if there != (text, 0o755):
            changes.append(Change(f"helper {name}", None if there is None else "other version", helper_path(name)))
    if world.boot_gaps:
        changes.append(Change("boot files", None, ", ".join(world.boot_gaps)))
    return changes


def _looks(specs: t.Sequence[ServiceSpec], world: World) -> tuple[list[Change], list[Step], list[Step]]:
    """How the host looks after the health of its services, if that is to be otherwise: lines, steps before and after the start."""
    named = {spec.name for spec in specs if not spec.recorded}
    after = [record.spec for name, record in world.records.items() if name not in named]
    interval = health.interval_of([*after, *(spec.record() for spec in specs if spec.declared)])
    there = world.looks
    if interval is None:
        gone = [Change("periodic check", "yes", None)] if there.files else []
        return gone, [], [health.Settle()] if gone else []
    if there.fit(interval, world.systemd):
        return [], [], []
    line = Change("periodic check", "otherwise" if there.files else None, f"every {interval:g}s")
    return [line], [health.Install(interval)], []


def _result(want: Desired, instance: Instance, world: World, changed: bool) -> dict[str, t.Any]:
    shown = describe(want.spec.name, Instance(**{**_fields(instance), "record": want.record}), world.systemd)
    if changed:
        state = {"restarted": "started", "reloaded": "started", "present": instance.state}.get(
            want.spec.state, want.spec.state
        )
        shown.update(state=state)
    return shown


def _fields(instance: Instance) -> dict[str, t.Any]:
    return {name: getattr(instance, name) for name in instance.__dataclass_fields__}


def _prepare(want: Desired, instance: Instance, world: World, claimed: t.Sequence[Step]) -> list[Step]:
    """Claims and files: nothing that touches a running service."""
    name = want.spec.name
    steps: list[Step] = [apply.Refuse(message) for message in want.lacking]
    steps += want.claims
    if instance.record is None:  # the claim: from here on, what a killed run leaves is known to be ours
        steps.append(SaveRecord(want.record))
    steps += claimed
    steps += [
        WriteFile(helper_path(helper), text, 0o755)
        for helper, text in _helpers([want.spec], world).items()
        if world.helpers.get(helper) != (text, 0o755)
    ]
    steps += [
        (UpdateFile if path == hosts.hosts_file(name) and path in instance.files else WriteFile)(path, text, mode)
        for path, (text, mode) in want.artifacts.items()
        if instance.files.get(path) != (text, mode)
    ]
    guard = os.path.join(directory(name), ports.GUARD_FILE)
    if guard in want.artifacts and instance.files.get(guard) != want.artifacts[guard]:
        steps.append(ApplyRuleset(want.artifacts[guard][0], f"table {ports.TABLE}"))
    steps += [RemoveFile(path) for path in stale_files(want, instance)]
    unlinked = instance.record is None or not linked(instance, world)
    if unlinked and not world.systemd and world.watched:
        steps.append(apply.Supervise(name, world.watched[0], instance.links, instance.at_boot))
    return steps


def _until_supervised(instance: Instance, world: World, name: str) -> list[Step]:
    """What waits for runsvdir to find an instance that is not started; a start waits by itself."""
    return [] if world.systemd or instance.supervised or not world.watched else [apply.AwaitSupervision(name)]


def _actions(
    want: Desired,
    instance: Instance,
    world: World,
    changes: t.Sequence[Change],
    old: tuple[Instance, Handle] | None,
    reread: bool,
    draining: Draining,
) -> tuple[list[Step], list[Step]]:
    """What starts, stops, restarts or reloads an instance, and what waits for it. `reread` tells whether it has to read a secret again."""
    spec = want.spec
    handle = Handle(spec.name, world.systemd, spec.stop_timeout, want.start.cgroup)
    active = instance.running is not None or instance.wanted
    restart = active and any(change.effect == "restart" and change.key != "state" for change in changes)
    steps: list[Step] = []
    if spec.state == "stopped":
        if instance.at_boot:
            steps.append(apply.Boot(handle, False))
        if active:
            steps += stop_steps(spec, instance, handle, draining)
        return steps, _until_supervised(instance, world, spec.name)
    if spec.state != "present" and instance.ending is not None:
        steps.append(ending.RunOn(spec.name))
    start = spec.state != "present" and instance.running is None
    again = restart or spec.state == "restarted"
    # One that starts beside another is started at boot once it is well, not before: that tells whether it has ever been.
    untried = spec.beside is not None and not instance.at_boot
    if spec.state != "present" and not instance.at_boot and old is None and not untried:
        steps.append(apply.Boot(handle, True))
    reload = spec.state == "reloaded" or reread
    if not (start or again or old or reload or untried):
        return steps, _until_supervised(instance, world, spec.name)
    if start or again:
        steps.append(apply.Start(handle, active, old[1] if old else None))
    elif old:
        steps.append(apply.Stop(old[1]))
    if reload and not start and not again:
        steps.append(apply.Reload(handle, spec.reload_command, spec.gate.deadline))
    return steps, [
        AwaitHealth(
            handle, spec.gate, spec.health, want.address, old[1] if old else None, beside=spec.beside is not None
        )
    ]


def _recall(spec: ServiceSpec, steps: t.Sequence[Step]) -> tuple[Step, ...]:
    """What stops an instance that was started beside the one that serves, and has turned out not to be as it was asked to be."""
    handles = [step.handle for step in steps if isinstance(step, apply.Start)]
    if spec.beside is None or not spec.gate.auto_revert:
        return ()
    return tuple(step for handle in handles for step in (apply.Stop(handle), apply.Boot(handle, False)))


def _check_foreign(spec: ServiceSpec, instance: Instance) -> None:
    if instance.record is None and instance.files:
        raise ServiceRefused(
            f"service {spec.name}: {', '.join(sorted(instance.files)[:3])} is there, but no record tells of it:"
            " remove it by hand, or choose another name"
        )


def _plan_present(
    spec: ServiceSpec,
    world: World,
    want: Desired,
    project: str,
    helpers: t.Sequence[Change],
    claim: Claim,
    hidden: SecretPlan,
) -> Plan:
    instance = world.instances[spec.name]
    _check_foreign(spec, instance)
    check_beside(spec, spec.service, world)
    old = replaced(spec, spec.service, world, project)
    draining = plan_drain(spec, instance, Handle(spec.name, world.systemd, spec.stop_timeout, want.start.cgroup), world)
    changes = [*instance_changes(want, instance, world), *claim.changes, *hidden.changes, *draining.changes]
    if old is not None:
        changes.append(Change(f"replaces {spec.replaces}", old[0].state, "stopped", "restart"))
    changes += helpers
    warnings = want.warnings + want.lacking + hidden.warnings
    if not changes:
        return Plan(spec.name, result=_result(want, instance, world, False), warnings=warnings)
    own = [change for change in changes if not change.key.startswith("replaces ")]
    steps, finish = _actions(want, instance, world, own, old, hidden.reload, draining)
    pipe = set(map(systemd.unit_file, output.units(spec.name)))
    if not pipe.isdisjoint(stale_files(want, instance)):
        # Units whose files are gone have forgotten that the pipe is to go with them.
        finish[:0] = [
            systemd.Dismiss(output.units(spec.name)),
            RemoveFile(runit.output_pipe(spec.name), runit.OUTPUT),
        ]
    if instance.running is not None and not pipe.isdisjoint(want.artifacts) and pipe.isdisjoint(instance.files):
        # What its unit executes once it is stopped writes there already.
        steps.insert(0, systemd.Systemctl("start", output.units(spec.name)[:1]))
    return Plan(
        spec.name,
        tuple(changes),
        tuple(_prepare(want, instance, world, (*claim.steps, *hidden.steps))),
        (SaveRecord(want.record), *hidden.late, *steps),
        tuple(finish),
        result={
            **_result(want, instance, world, True),
            **(told_of_stop(spec, instance, draining) if spec.state == "stopped" else {}),
        },
        recall=_recall(spec, steps),
        warnings=warnings,
        predicted=want.predicted,
        effect=effect_of(changes, instance),
    )


def _plan_absent(spec: ServiceSpec, world: World, project: str, purge: Claim) -> Plan:
    instance = world.instances[spec.name]
    record = instance.record
    check_project(LAYER, spec.name, project, record)
    result: dict[str, t.Any] = {"name": spec.name, "state": "absent"}
    if record is None:
        _check_foreign(spec, instance)
        return Plan(spec.name, purge.changes, finish=purge.steps, result=result)
    handle = recorded_handle(record, world)
    draining = plan_drain(spec, instance, handle, world)
    prepare: list[Step] = [*draining.steps]
    if instance.running is not None:  # ahead of its removal, since many can end at the same time
        prepare.append(apply.Stop(handle, waits=True))
    if world.systemd and systemd.unit_file(unit_name(spec.name)) in instance.files:
        prepare.append(systemd.Systemctl("disable", (unit_name(spec.name),), ("--now",)))
        prepare.append(RemoveFile(systemd.unit_file(unit_name(spec.name))))
    pipes = [path for path in map(systemd.unit_file, output.units(spec.name)) if path in instance.files]
    if pipes:
        prepare += [systemd.Dismiss(output.units(spec.name)), *map(RemoveFile, pipes)]
    known = tuple(os.path.join(directory(spec.name), name) for name in KNOWN_FILES)
    remove = apply.Remove(
        handle,
        record.assigned.get("runtime", oci.RUNTIMES[0]),
        instance.links,
        tuple(item["interface"] for item in record.assigned.get("networks", [])),
        tuple(path for path in known if path in instance.files),
        record.spec.get("slice") is None,
    )
    changes = [Change("state", instance.state, "absent", "replace")]
    changes += [
        Change(f"address {item['bridge']}", shown_addresses(item), None, "replace")
        for item in record.assigned.get("networks", [])
    ]
    changes += draining.changes
    result.update(draining.told)
    steps = (remove, secrets.RemoveSecrets(spec.name), DropRecord(record), Release(record.spec["service"], "rootfs"))
    finish = (*purge.steps, health.Settle(), apply.DropHelpers())
    return Plan(spec.name, (*changes, *purge.changes), tuple(prepare), steps, finish, result=result)


def _check_replaced(specs: t.Sequence[ServiceSpec]) -> None:
    """One task must not both replace an instance and say something else of it."""
    named = {spec.name: spec for spec in specs}
    seen: dict[str, str] = {}
    for spec in specs:
        if spec.replaces is None:
            continue
        other = named.get(spec.replaces)
        if other is not None and other.state != "stopped":
            raise ServiceRefused(
                f"service {spec.name}: replaces: {spec.replaces} is an element of this task, too: leave it out there"
            )
        if spec.replaces in seen:
            raise ServiceRefused(f"service {spec.name}: replaces: {spec.replaces} is replaced by {seen[spec.replaces]}")
        seen[spec.replaces] = spec.name


def plan(specs: t.Sequence[ServiceSpec], world: World, expect: Promises, project: str) -> TaskPlan:
    """The plan of a task.

    :raises IsolationError: something that is asked for can't be.
    """
    _check_replaced(specs)
    specs = [with_files(spec, world.env_files) for spec in specs]
    ordering.check(specs, world.records, expect, project)
    check_offered(specs)
    ranges = Ranges("service", world.ranges, world.foreign, project)
    nets = Networks(world, expect)
    nets.reserve(specs)
    joins = Joins(world, expect, specs, project)
    plans: list[Plan] = []
    helpers = _helper_changes([spec for spec in specs if spec.declared], world)
    looks, before, later = _looks(specs, world)
    helpers += looks
    named = Plans(world.volumes, world.records, specs, project)
    said: set[str] = set()
    renamed = Names(world, specs, project)
    for spec in specs:
        if not spec.present:
            joins.check_unused(spec.name)
            plans.append(_plan_absent(spec, world, project, named.purge(spec)))
            continue
        if spec.recorded:
            plans.append(plan_recorded(spec, world, project))
            continue
        want = desired(spec, world, expect, project, ranges, nets, joins)
        joins.note(want.record)
        root = world.roots.get(spec.name)
        claim = named.claim(spec, root.path if root is not None else None, want.record.assigned["id_base"])
        hidden = plan_secrets(
            spec,
            world.secrets,
            want.record.assigned["id_base"],
            want.record.assigned.get("secrets", {}),
            world.instances[spec.name].running is not None,
        )
        one = _plan_present(spec, world, want, project, helpers, claim, hidden)
        one = replace(one, steps=(*before, *one.steps), finish=(*one.finish, *later))
        renamed.note(spec, want.record)
        helpers, before, later = [], [], []
        plans.append(_quietly(one, said))
    plans = renamed.told(plans)
    shared: list[Step] = renamed.shared()
    units = [step for one in plans for step in one.prepare if isinstance(step, (WriteFile, RemoveFile))]
    if any(step.path.startswith(_paths.UNITS + "/") for step in units):
        shared.append(systemd.DAEMON_RELOAD)
    if any(isinstance(step, apply.Supervise) for one in plans for step in one.prepare):
        shared.append(apply.Look(world.watched[0]))
    if any(spec.declared and one.changed for spec, one in zip(specs, plans)):
        shared.append(EnsureBoot())
    return TaskPlan(tuple(plans), tuple(shared), ordering.order(specs))


def _quietly(one: Plan, said: set[str]) -> Plan:
    """A plan without warnings that another element has given."""
    fresh = tuple(warning for warning in one.warnings if warning not in said)
    said.update(fresh)
    return replace(one, warnings=fresh)
