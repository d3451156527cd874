# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Slices on hosts without systemd: directories and files of control groups, made again at boot by a shell file. Pure."""

from __future__ import annotations

import os
import typing as t
from dataclasses import replace

from .. import _paths
from .._host.boot import EnsureBoot, TidyBoot
from .._host.cgroupfs import TOP, Hierarchy
from .._host.files import RemoveFile, WriteFile
from .._host.records import Record
from .._plan import Step
from . import apply, boot, v1, v2
from .backend import Actions, Target
from .facts import DEFAULTS, Host, SliceState
from .limits import LIMITS, MAX, Value, Values

_BASE = ("cpu", "io", "memory", "pids")
"""v2 controllers that every slice has, so that its use is counted; cpuset joins them when it is used."""

Write = tuple[Hierarchy, str, str]


def exists(state: SliceState) -> bool:
    """Whether the slice is there, as ours."""
    return bool(state.present) and state.record is not None


def foreign(state: SliceState, records: t.Collection[str]) -> str | None:
    """Why a slice that is there can't be taken over; None if there is none, or nothing would be lost."""
    if state.record is not None or not state.present or any(name.startswith(state.name + "/") for name in records):
        return None
    limited = [option for option, value in state.limits.items() if value != LIMITS[option].default]
    if not state.processes and not limited:
        return None
    reason = f"processes {_some(state.processes)}" if state.processes else f"limits ({', '.join(limited)})"
    return f"{state.present[0].path}/{TOP}/{state.name} was not made by this collection and has {reason}: remove it, or choose another name"


def _some(pids: t.Collection[int]) -> str:
    shown = ", ".join(str(pid) for pid in sorted(pids)[:5])
    return shown if len(pids) <= 5 else f"{shown} and {len(pids) - 5} more"


def _trees(target: Target, host: Host) -> tuple[Hierarchy, ...]:
    """The hierarchies in which the slice has a directory."""
    needed = [host.raw_tree(key) for key in target.raw]
    needed += [host.tree(LIMITS[option].controller) for option in _limited(target)]
    return (*host.core(), *dict.fromkeys(tree for tree in needed if tree is not None and tree not in host.core()))


def _limited(target: Target) -> list[str]:
    return [option for option, value in target.values.items() if value != LIMITS[option].default]


def _controllers(target: Target, host: Host) -> tuple[str, ...]:
    """The v2 controllers that the slice needs."""
    names = [*_BASE, *(key.split(".", 1)[0] for key in target.raw)]
    names += [LIMITS[option].controller for option in _limited(target)]
    there = {name for tree in host.hierarchies if tree.version == 2 for name in tree.controllers}
    return tuple(sorted(there.intersection(names)))


def drift(target: Target, state: SliceState, host: Host) -> tuple[str, t.Any, t.Any] | None:
    """What differs beside limits: a name and its values before and after."""
    have = sorted(tree.path for tree in state.present)
    need = sorted(tree.path for tree in _trees(target, host))
    if not set(need) <= set(have):
        return ("hierarchies", have, need)
    controllers = _controllers(target, host)
    if not set(controllers) <= state.controllers:
        return ("controllers", sorted(state.controllers), controllers)
    if host.boot_gaps:
        return ("boot helper", "incomplete", list(host.boot_gaps))
    if state.boot_text != _boot_text(target, state, host):
        return ("boot file", "none" if state.boot_text is None else "different", boot.path(state.name))
    return None


def writes(host: Host, before: Values, after: Values, parent: t.Mapping[str, str]) -> list[tuple[str, Write]]:
    """What to write to get from some limits to others, by option, in order; `parent` is the cpuset above."""
    found: list[tuple[str, Write]] = []
    for option, value in after.items():
        tree = host.tree(LIMITS[option].controller)
        old = before.get(option, LIMITS[option].default)
        memory = tree is not None and tree.version == 1 and option in ("memory_max", "memory_swap_max")
        if tree is None or old == value or memory:
            continue
        words = v1 if tree.version == 1 else v2
        found += [(option, (tree, file, text)) for file, text in words.encode(option, value, old, parent, host.disks)]
    return found + _memory_writes(host, before, after)


def _memory_writes(host: Host, before: Values, after: Values) -> list[tuple[str, Write]]:
    """v1 has one file for memory and one for the sum of memory and swap: they change together."""
    tree = host.tree("memory")
    pair = ("memory_max", "memory_swap_max")
    if tree is None or tree.version == 2 or all(before.get(option, MAX) == after.get(option, MAX) for option in pair):
        return []
    lines = v1.encode_memory(after.get("memory_max", MAX), after.get("memory_swap_max", MAX), before, host.lacking)
    return [("memory_max", (tree, file, text)) for file, text in lines]


def _boot_text(target: Target, state: SliceState, host: Host) -> str:
    path = host.path(state.name)
    # Disks by their nodes: the shell looks up their numbers.
    by_node = replace(host, disks={node: node for node in host.disks})
    all_writes = [write for _option, write in writes(by_node, {}, target.asked, state.parent)]
    for key, text in target.asked_raw.items():
        tree = host.raw_tree(key)
        if tree is not None:
            all_writes.append((tree, key, text))
    controllers = _controllers(target, host)
    return boot.render(
        state.name,
        [
            boot.Group(
                tree.path,
                path,
                controllers if tree.version == 2 else (),
                tree.version == 1 and "cpuset" in tree.controllers,
                tuple((file, text) for where, file, text in all_writes if where is tree),
            )
            for tree in _trees(target, host)
        ],
    )


def _share(value: Value) -> float:
    if value == MAX:
        return float("inf")
    quota, _sep, period = str(value).partition("/")
    return int(quota) / int(period)


def _raw_steps(target: Target, state: SliceState, host: Host, record: Record) -> tuple[list[Step], list[Step]]:
    """Noting the kernel's own values of raw keys, and writing them."""
    path, noted = host.path(state.name), record.assigned.get(DEFAULTS, {})
    unnoted: list[tuple[str, str]] = []
    found: list[Step] = []
    for key, text in target.raw.items():
        tree = host.raw_tree(key)
        if tree is None or state.raw.get(key) == text:
            continue
        directory = os.path.join(tree.path, path)
        found.append(apply.WriteLimit(directory, key, text))
        if key not in noted:
            unnoted.append((directory, key))
    return ([apply.NoteDefaults(record, tuple(unnoted))] if unnoted else []), found


def present(target: Target, state: SliceState, host: Host, record: Record) -> Actions:
    """Make the slice, or change it in place.

    v1 allows no group a larger share of CPU time than its parent has: where a slice has others inside, a larger share is
    written before theirs, and a smaller one after theirs.
    """
    path = host.path(state.name)
    text = _boot_text(target, state, host)
    prepare: list[Step] = []
    if state.boot_text != text:
        prepare.append(WriteFile(boot.path(state.name), text))
    prepare.append(apply.MakeGroups(_trees(target, host), path, _controllers(target, host)))
    note, raw = _raw_steps(target, state, host, record)
    prepare += note
    early: list[Step] = []
    steps: list[Step] = []
    late: list[Step] = []
    old = state.limits.get("cpu_max", MAX)
    raised = _share(target.values.get("cpu_max", MAX)) > _share(old)
    busy = state.parent if state.processes or host.version != "v2" else {}
    for option, (tree, file, value) in writes(host, state.limits, target.values, busy):
        parent_first = option == "cpu_max" and tree.version == 1 and target.has_children
        (steps if not parent_first else early if raised else late).append(
            apply.WriteLimit(os.path.join(tree.path, path), file, value)
        )
    steps += raw
    freezer = host.freezer()
    if freezer is not None and state.frozen != target.frozen:
        steps.append(apply.Freeze(freezer, path, target.frozen))
    return Actions(prepare=(*prepare, *early), steps=tuple(steps), finish=(*late, EnsureBoot()))


def absent(state: SliceState, host: Host, keep: t.Collection[str], force: bool) -> Actions:
    """Remove the slice from every hierarchy, and what was made above it."""
    steps: list[Step] = []
    if state.present:
        steps.append(apply.RemoveGroups(state.present, host.path(state.name), force))
    if state.boot_text is not None:
        steps.append(RemoveFile(boot.path(state.name), _paths.ETC))
    parts = state.name.split("/")
    above = ["/".join(parts[:depth]) for depth in range(len(parts) - 1, 0, -1)]
    paths = []
    for name in above:
        if name in keep:
            break
        paths.append(host.path(name))
    else:
        paths.append(TOP)
    parents = apply.RemoveEmptyParents(host.hierarchies, tuple(paths))
    return Actions(steps=tuple(steps), finish=(parents, TidyBoot()))
