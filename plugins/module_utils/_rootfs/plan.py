# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What brings the host's root filesystems to what is asked for. Pure."""

from __future__ import annotations

import os
import typing as t

from .. import _paths
from .._errors import InvalidOption, IsolationError
from .._host import images, instances, systemd
from .._host.files import RemoveFile, WriteFile
from .._host.helpers.rootfs import Layout, matches
from .._host.instances import SeenFile
from .._host.libexec import path as helper_path
from .._host.records import DropRecord, Record, SaveRecord, check_project
from .._plan import Change, Plan, Step, TaskPlan
from .._ranges import Ranges
from .apply import NeedTool, Release, UnpackImage
from .spec import DebianSource, FileSpec, RootfsSpec, Source
from .state import HELPER, LAYER, Instance, World, unit_name, unit_text

_REMOUNTING = ("image", "mode", "size", "mounted")
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


def _mount_state(instance: Instance, layout: Layout) -> str:
    """What is wrong with a mount, beside what other lines of the diff say."""
    seen = instance.seen
    if seen.mount is None:
        return "no"
    if seen.id_base != layout.id_base or not seen.shifted:
        return "with other owners"
    return "yes" if matches(seen.mount, layout) else "with other layers or options"


def _found_files(instance: Instance, record: Record) -> dict[str, tuple[t.Any, ...]]:
    """Files as they are. In a root filesystem that is in use, or not mounted, they are what was last laid in: it is the service's to change them."""
    if instance.users or instance.seen.mount is None:
        return {
            item["path"]: (item["digest"], int(item["mode"], 8), item["owner"], item["group"])
            for item in record.spec.get("files", [])
        }
    shown: t.Mapping[str, SeenFile] = instance.seen.files or {}
    return {path: (seen.digest, seen.mode, seen.owner, seen.group) for path, seen in shown.items()}


def _describe(file: tuple[t.Any, ...], sensitive: bool) -> str:
    digest, mode, owner, group = file
    kind = "directory" if digest is None else "sensitive" if sensitive else f"sha256:{digest[:12]}"
    return f"{kind}, {mode:04o}, {owner}:{group}"


def _file_changes(spec: RootfsSpec, instance: Instance, record: Record | None) -> list[Change]:
    found = _found_files(instance, record) if record is not None else {}
    noted = {item["path"]: item for item in record.spec.get("files", [])} if record is not None else {}
    changes = []
    for file in spec.files:
        laid = file.laid
        wanted = (file.digest, laid.mode, laid.owner, laid.group)
        before = found.get(file.path)
        if before == wanted:
            continue
        hidden = file.sensitive or bool(noted.get(file.path, {}).get("sensitive"))
        after = _describe(wanted, hidden)
        shown = None if before is None else _describe(before, hidden)
        changes.append(
            Change(f"files {file.path}", shown, after + (", other content" if shown == after else ""), "restart")
        )
    wanted_paths = {file.path for file in spec.files}
    for path, item in noted.items():
        if path not in wanted_paths:
            last = (item["digest"], int(item["mode"], 8), item["owner"], item["group"])
            changes.append(Change(f"files {path}", _describe(last, bool(item.get("sensitive"))), None, "restart"))
    return changes


def _forgotten(spec: RootfsSpec, record: Record | None) -> tuple[str, ...]:
    """Files that were laid in and are no longer asked for; directories stay."""
    wanted = {file.path for file in spec.files}
    noted = record.spec.get("files", []) if record is not None else []
    return tuple(item["path"] for item in noted if item["digest"] is not None and item["path"] not in wanted)


def _unit_value(instance: Instance, name: str) -> str:
    unit = instance.unit
    if unit is None or unit.text is None:
        return "none"
    if unit.text != unit_text(name):
        return "other content"
    return "enabled" if unit.enabled and unit.active else "not enabled or not active"


def _source_text(source: t.Mapping[str, t.Any]) -> str:
    kind, options = next(iter(source.items()))
    shown = [
        f"{key}={' '.join(value) if isinstance(value, list) else value}"
        for key, value in sorted(options.items())
        if value
    ]
    return f"{kind} {', '.join(shown)}"


def _changes(spec: RootfsSpec, instance: Instance, wanted: Record, layout: Layout, world: World) -> list[Change]:
    """What is not as asked for, one line each."""
    record, seen = instance.record, instance.seen
    digest = wanted.assigned["digest"]
    had: dict[str, t.Any] = dict(record.spec) if record is not None else {}
    has_image = None
    if record is not None:
        has_image = record.assigned["digest"] if record.assigned["digest"] in world.images else "missing"
    size = had.get("size")
    if record is not None and had.get("mode") == "ephemeral" and spec.mode == "ephemeral" and seen.mount is not None:
        size = seen.size
    lines = [
        Change("service", had.get("service"), spec.service),
        Change("source", _source_text(had["source"]) if had else None, _source_text(wanted.spec["source"])),
        Change("image", has_image, digest, "replace"),
        Change(
            "id_base", record.assigned["id_base"] if record is not None else None, wanted.assigned["id_base"], "replace"
        ),
        Change("mode", had.get("mode"), spec.mode, "restart"),
        Change("size", size, spec.size, "restart"),
        Change("mounted", _mount_state(instance, layout) if record is not None else None, "yes", "restart"),
    ]
    changes = [line for line in lines if line.before != line.after] + _file_changes(spec, instance, record)
    if world.systemd:
        unit = Change("unit", _unit_value(instance, spec.name) if record is not None else None, "enabled")
        changes += [unit] if unit.before != unit.after else []
    return changes


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
        "cached": image is not None and digest not in world.unpacked,
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
    changes = _changes(spec, instance, wanted, layout, world)
    if with_helper:
        changes.append(Change("helper", "other version" if world.helper_there else None, helper_path(HELPER)))
    result = _result(spec, wanted, layout, world)
    if not changes:
        return Plan(spec.name, result=result)

    remount = [change.key for change in changes if change.key in _REMOUNTING or change.key.startswith("files ")]
    if remount:
        _refuse_users(spec, instance, f"changed ({', '.join(remount)})")
    fresh = instance.record is None or instance.record.assigned["digest"] != digest
    prepare: list[Step] = [*range_steps]
    if instance.record is None:  # the claim: from here on, what a killed run leaves is known to be ours
        prepare.append(SaveRecord(wanted))
    if with_helper:
        prepare.append(WriteFile(helper_path(HELPER), world.helper, 0o755))
    if world.systemd and (instance.unit is None or instance.unit.text != unit_text(spec.name)):
        prepare.append(WriteFile(systemd.unit_file(unit_name(spec.name)), unit_text(spec.name)))
    steps: list[Step] = []
    if digest not in world.images:
        steps.append(UnpackImage(digest, spec.source, spec.limits))
    if remount:
        files = tuple(file.laid for file in spec.files)
        steps.append(instances.MountInstance(layout, files, fresh, () if fresh else _forgotten(spec, instance.record)))
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
        result=result,
        warnings=tuple(warnings),
        predicted=digest not in world.images,
    )


def _plan_untold(spec: RootfsSpec, world: World, project: str) -> Plan:
    """What can be said while the tool is missing that tells the digest of a source: in check mode, a host that an earlier role will prepare."""
    tool = world.untold[spec.name]
    record = world.instances[spec.name].record
    check_project(LAYER, spec.name, project, record)
    source = t.cast("Source", spec.source)
    return Plan(
        spec.name,
        (Change("source", None, _source_text(source.canonical())),),
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


def _prune(specs: t.Sequence[RootfsSpec], world: World, plans: list[Plan]) -> None:
    """Let the last element that asks for it remove the images that no root filesystem refers to any more."""
    asking = [index for index, spec in enumerate(specs) if spec.prune_images]
    if not asking:
        return
    named = {spec.name for spec in specs if spec.name not in world.untold}
    needed = {record.assigned["digest"] for name, record in world.records.items() if name not in named}
    needed |= {world.sources[spec.name] for spec in specs if spec.name in world.sources}
    idle = [
        image
        for digest, image in world.images.items()
        if digest not in needed and f"{image.path}/rootfs" not in world.used_images
    ]
    if not idle:
        return
    plan = plans[asking[-1]]
    plans[asking[-1]] = Plan(
        plan.name,
        plan.changes + tuple(Change(f"images {image.digest}", f"{image.size} bytes", None) for image in idle),
        plan.prepare,
        plan.steps,
        tuple(images.RemoveImage(image.digest) for image in idle) + (images.RemoveEmptyStore(),),
        plan.result,
        plan.warnings,
        plan.predicted,
    )


def plan(specs: t.Sequence[RootfsSpec], world: World, project: str) -> TaskPlan:
    """The plan of a task.

    :raises IsolationError: something that is asked for can't be.
    """
    ranges = Ranges("rootfs", world.ranges, world.foreign, project)
    plans = []
    helper_due = not world.helper_current
    for spec in specs:
        if spec.name in world.untold:
            plans.append(_plan_untold(spec, world, project))
        elif spec.present:
            plans.append(_plan_present(spec, world, ranges, project, helper_due))
            helper_due = False
        else:
            plans.append(_plan_absent(spec, world, project))
    _prune(specs, world, plans)
    units = any(
        isinstance(step, (WriteFile, RemoveFile)) and step.path.startswith(_paths.UNITS + "/")
        for one in plans
        for step in one.prepare
    )
    return TaskPlan(tuple(plans), (systemd.DAEMON_RELOAD,) if units else ())
