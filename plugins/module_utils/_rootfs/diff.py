# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What of a root filesystem is not as asked for, one line of the diff each. Pure."""

from __future__ import annotations

import typing as t

from .._host.helpers.rootfs import Layout, matches
from .._host.instances import SeenFile
from .._host.records import Record
from .._plan import Change
from .spec import RootfsSpec
from .state import Instance, World, claimed, unit_text


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


def _unit_value(instance: Instance, name: str) -> str:
    unit = instance.unit
    if unit is None or unit.text is None:
        return "none"
    if unit.text != unit_text(name):
        return "other content"
    return "enabled" if unit.enabled and unit.active else "not enabled or not active"


def source_text(source: t.Mapping[str, t.Any]) -> str:
    """A source in one line."""
    kind, options = next(iter(source.items()))
    shown = [
        f"{key}={' '.join(value) if isinstance(value, list) else value}"
        for key, value in sorted(options.items())
        if value
    ]
    return f"{kind} {', '.join(shown)}"


def find_changes(spec: RootfsSpec, instance: Instance, wanted: Record, layout: Layout, world: World) -> list[Change]:
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
        Change("source", source_text(had["source"]) if had else None, source_text(wanted.spec["source"])),
        Change("image", has_image, digest, "replace"),
        Change(
            "id_base", record.assigned["id_base"] if record is not None else None, wanted.assigned["id_base"], "replace"
        ),
        Change("mode", had.get("mode"), spec.mode, "restart"),
        Change("size", size, spec.size, "restart"),
        Change("mounted", _mount_state(instance, layout) if record is not None else None, "yes", "restart"),
    ]
    damage = world.damage.get(digest)
    if damage is not None:
        lines.append(Change("image content", f"damaged: {damage}", "as it was unpacked", "restart"))
    if record is not None and claimed(record):
        lines.append(Change("record", "of a run that was interrupted", "whole"))
    changes = [line for line in lines if line.before != line.after] + _file_changes(spec, instance, record)
    if world.systemd:
        unit = Change("unit", _unit_value(instance, spec.name) if record is not None else None, "enabled")
        changes += [unit] if unit.before != unit.after else []
    return changes
