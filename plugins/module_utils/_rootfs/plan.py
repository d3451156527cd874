# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What brings the host's root filesystems to what is asked for. Pure."""

from __future__ import annotations

import dataclasses
import os
import typing as t

from .. import _paths
from .._errors import InvalidOption, IsolationError
from .._host import images, instances, systemd
from .._host.files import RemoveFile, WriteFile
from .._host.helpers.rootfs import Layout
from .._host.libexec import path as helper_path
from .._host.records import DropRecord, Record, SaveRecord, check_project
from .._plan import Change, Plan, Step, TaskPlan
from .._ranges import Ranges
from .apply import NeedTool, Release, UnpackImage
from .collect import collect
from .diff import find_changes, source_text
from .removal import NotSent, removal
from .source_spec import DebianSource, LayoutSource, SavedSource, Source, TarSource
from .spec import FileSpec, RootfsSpec
from .state import HELPER, LAYER, Instance, World, claimed, layout_of, unit_name, unit_text

_REMOUNTING = ("image", "image content", "mode", "size", "mounted")
"""Changes that take a root filesystem that nobody uses; so do those of files."""


class RootfsError(IsolationError):
    """What is asked of a root filesystem can't be."""


def _refuse_users(spec: RootfsSpec, instance: Instance, doing: str) -> None:
    if instance.users:
        shown = ", ".join(f"{user.pid} ({user.command})" for user in instance.users[:3])
        raise RootfsError(
            f"rootfs {spec.name}: in use by process {shown}: it can't be {doing}: stop the service {spec.name} first"
        )


def _file_record(file: FileSpec) -> dict[str, t.Any]:
    laid = file.laid
    return {
        "path": file.path,
        "digest": file.digest,
        "mode": f"{laid.mode:04o}",
        "owner": laid.owner,
        "group": laid.group,
        "sensitive": file.sensitive,
    }


def _record(spec: RootfsSpec, source: Source, world: World, base: int, project: str) -> Record:
    digest = world.sources[spec.name]
    asked = {
        "service": spec.service,
        "source": source.canonical(),
        "mode": spec.mode,
        "size": spec.size,
        "files": [_file_record(file) for file in spec.files],
    }
    assigned: dict[str, t.Any] = {"digest": digest, "id_base": base, "image": images.folder(digest)}
    archive = world.archives.get(spec.name)
    if archive is not None:
        assigned["archive"] = {"digest": archive.digest, "identity": list(archive.identity)}
    return Record(LAYER, spec.name, project, asked, assigned)


def _forgotten(spec: RootfsSpec, record: Record | None) -> tuple[str, ...]:
    """Files that were laid in and are no longer asked for; directories stay."""
    wanted = {file.path for file in spec.files}
    noted = record.spec.get("files", []) if record is not None else []
    return tuple(item["path"] for item in noted if item["digest"] is not None and item["path"] not in wanted)


def _result(spec: RootfsSpec, wanted: Record, layout: Layout, world: World) -> dict[str, t.Any]:
    digest = wanted.assigned["digest"]
    image = world.images.get(digest)
    return {
        "name": spec.name,
        "service": spec.service,
        "path": layout.target,
        "digest": digest,
        "image": wanted.assigned["image"],
        "size": None if image is None else image.size,
        "fetched": None if image is None else image.fetched,
        "entries": None if image is None else image.entries,
        "cached": image is not None and digest not in world.unpacked,
        "seconds": world.unpacked.get(digest),
        "id_base": layout.id_base,
        "mode": spec.mode,
        "files": [file.path for file in spec.files],
    }


def _check_existing(spec: RootfsSpec, instance: Instance, base: int) -> None:
    record = instance.record
    if record is None:
        if instance.seen.exists or instance.seen.mount is not None:
            raise RootfsError(
                f"rootfs {spec.name}: {instances.directory(spec.name)} has a root filesystem that no record tells of:"
                " remove it by hand (unmount it first), or choose another name"
            )
        return
    if record.spec["service"] != spec.service:
        raise RootfsError(
            f"rootfs {spec.name}: belongs to service {record.spec['service']}, not {spec.service}: remove it first (state: absent)"
        )
    if record.assigned["id_base"] != base:
        raise RootfsError(
            f"rootfs {spec.name}: its own layer belongs to ids from {record.assigned['id_base']} on, not {base}:"
            " remove it first (state: absent), or set id_base back"
        )


def _plan_present(spec: RootfsSpec, world: World, ranges: Ranges, project: str, with_helper: bool) -> Plan:
    if spec.source is None:
        raise InvalidOption(f"{spec.name}: source: needed with state present")
    instance = world.instances[spec.name]
    check_project(LAYER, spec.name, project, instance.record)
    base, range_steps = ranges.choose(spec.name, spec.service, spec.id_base)
    _check_existing(spec, instance, base)
    wanted = _record(spec, spec.source, world, base, project)
    digest = wanted.assigned["digest"]
    layout = Layout(spec.name, os.path.join(wanted.assigned["image"], "rootfs"), base, spec.mode, spec.size)
    changes = find_changes(spec, instance, wanted, layout, world)
    if with_helper:
        changes.append(Change("helper", "other version" if world.helper_there else None, helper_path(HELPER)))
    result = _result(spec, wanted, layout, world)
    if not changes:
        return Plan(spec.name, result=result)

    remount = [change.key for change in changes if change.key in _REMOUNTING or change.key.startswith("files ")]
    if remount:
        _refuse_users(spec, instance, f"changed ({', '.join(remount)})")
    # The claim: from here on, what a killed run leaves is known to be ours, and to be no more than begun.
    claim = dataclasses.replace(wanted, assigned={**wanted.assigned, "claim": world.process})
    whole = instance.record if instance.record is not None and not claimed(instance.record) else None
    prepare: list[Step] = [*range_steps]
    if whole is None:
        prepare.append(SaveRecord(claim))
    elif remount:  # that it can be written again is known before anything is taken down
        prepare.append(SaveRecord(whole))
    if with_helper:
        prepare.append(WriteFile(helper_path(HELPER), world.helper, 0o755))
    if world.systemd and (instance.unit is None or instance.unit.text != unit_text(spec.name)):
        prepare.append(WriteFile(systemd.unit_file(unit_name(spec.name)), unit_text(spec.name)))
    steps = [*_image_steps(spec, spec.source, digest, world)]
    if remount:
        fresh = whole is None or whole.assigned["digest"] != digest
        files = tuple(file.laid for file in spec.files)
        forgotten = () if fresh else _forgotten(spec, whole)
        before = None if whole is None else layout_of(whole)
        steps.append(instances.MountInstance(layout, files, fresh, forgotten, before))
    steps.append(SaveRecord(wanted))
    if world.systemd:
        steps.append(systemd.Systemctl("enable", (unit_name(spec.name),), ("--now",)))
    warnings = []
    if isinstance(spec.source, DebianSource) and digest not in world.images and not world.tools.get("mmdebstrap"):
        warnings.append(f"rootfs {spec.name}: source.debian needs mmdebstrap, which is not installed on this host")
    return Plan(
        spec.name,
        tuple(changes),
        tuple(prepare),
        tuple(steps),
        undo=(*removal(claim, world.systemd), images.RemoveEmptyStore()) if whole is None else (),
        result=result,
        warnings=tuple(warnings),
        predicted=digest not in world.images,
    )


def _image_steps(spec: RootfsSpec, source: Source, digest: str, world: World) -> tuple[Step, ...]:
    """The steps that bring an image which is missing or damaged."""
    damage = world.damage.get(digest)
    if digest in world.images and damage is None:
        return ()
    unpack: Step = UnpackImage(digest, source, spec.limits)
    if isinstance(source, (TarSource, LayoutSource, SavedSource)) and not source.sent:
        unpack = NotSent(digest)
    if damage is None:
        return (unpack,)
    within = world.image_users.get(digest, ())
    if within:
        shown = ", ".join(f"{user.pid} ({user.command})" for user in within[:3])
        raise RootfsError(
            f"rootfs {spec.name}: image damaged: {damage}: it can't be unpacked again while process {shown} uses it:"
            f" stop the services of {', '.join(world.image_mounts.get(digest, {})) or 'that image'} first"
        )
    if f"{images.folder(digest)}/rootfs" in world.used_images:
        raise RootfsError(
            f"rootfs {spec.name}: image damaged: {damage}: it can't be unpacked again while it is a layer of a mount"
            " that is none of ours (findmnt -t overlay): unmount that first"
        )
    return (instances.Remount(tuple(world.image_mounts.get(digest, {}).values()), (unpack,)),)


def _plan_untold(spec: RootfsSpec, world: World, project: str) -> Plan:
    """What can be said while the tool is missing that tells the digest of a source: in check mode, a host that an earlier role will prepare."""
    tool = world.untold[spec.name]
    record = world.instances[spec.name].record
    check_project(LAYER, spec.name, project, record)
    source = t.cast("Source", spec.source)
    return Plan(
        spec.name,
        (Change("source", None, source_text(source.canonical())),),
        prepare=(NeedTool(tool),),
        result={"name": spec.name, "service": spec.service, "path": instances.mount_point(spec.name)},
        warnings=(
            f"rootfs {spec.name}: {tool} is not installed on this host, so that it can't be told which image is meant:"
            " apply the role daemonless.isolation.isolation_host first",
        ),
        predicted=True,
    )


def _plan_absent(spec: RootfsSpec, world: World, project: str) -> Plan:
    instance = world.instances[spec.name]
    record = instance.record
    check_project(LAYER, spec.name, project, record)
    result = {"name": spec.name, "state": "absent"}
    if record is None:
        if instance.seen.exists or instance.seen.mount is not None:
            raise RootfsError(
                f"rootfs {spec.name}: {instances.directory(spec.name)} has a root filesystem that no record tells of: remove it by hand"
            )
        return Plan(spec.name, result=result)
    if not spec.force:
        _refuse_users(spec, instance, "removed")
    changes = [
        Change("state", "present", "absent", "replace"),
        Change("image", record.assigned["digest"], None, "replace"),
    ]
    prepare: list[Step] = [instances.UnmountInstance(spec.name, lazy=spec.force)]
    if instance.unit is not None and instance.unit.text is not None:
        prepare.append(systemd.Systemctl("disable", (unit_name(spec.name),), ("--now",)))
        prepare.append(RemoveFile(systemd.unit_file(unit_name(spec.name))))
    steps: list[Step] = [
        instances.RemoveInstance(spec.name),
        DropRecord(record),
        Release(record.spec["service"], HELPER),
    ]
    return Plan(spec.name, tuple(changes), tuple(prepare), tuple(steps), (images.RemoveEmptyStore(),), result)


def plan(specs: t.Sequence[RootfsSpec], world: World, project: str) -> TaskPlan:
    """The plan of a task.

    :raises IsolationError: something that is asked for can't be.
    """
    ranges = Ranges("rootfs", world.ranges, world.foreign, project)
    plans: list[Plan] = []
    helper_due = not world.helper_current
    for spec in specs:
        if spec.name in world.untold:
            plans.append(_plan_untold(spec, world, project))
        elif spec.present:
            plans.append(_plan_present(spec, world, ranges, project, helper_due))
            helper_due = False
        else:
            plans.append(_plan_absent(spec, world, project))
    collect(specs, world, plans, project)
    units = any(
        isinstance(step, (WriteFile, RemoveFile)) and step.path.startswith(_paths.UNITS + "/")
        for one in plans
        for step in one.prepare
    )
    return TaskPlan(tuple(plans), (systemd.DAEMON_RELOAD,) if units else ())
