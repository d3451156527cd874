# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Slices on hosts with systemd: unit files, and systemd as the one writer of their control groups. Pure.

A unit file and `daemon-reload` are all that a change needs: systemd applies the properties of running slices again after
a reload (newer ones not before `RealizeBeside`), also those that went back to their defaults, and leaves the processes alone.
`set-property` would leave drop-ins behind that outrank the file.
"""

from __future__ import annotations

import typing as t

from .. import _paths
from .._errors import IsolationError
from .._host import systemd
from .._host.cgroupfs import Hierarchy
from .._host.files import RemoveFile, WriteFile
from .._host.records import Record
from .._plan import Step
from . import apply, unit
from .backend import Actions, Target
from .facts import Host, SliceState

_WRITES_FROZEN = 252
"""The last systemd that is known to write limits of a frozen slice."""


def exists(state: SliceState) -> bool:
    """Whether the slice has its unit. A slice that nothing uses is inactive after a reboot, and still right."""
    return state.unit is not None and state.unit.text is not None


def _text(target: Target, state: SliceState) -> str:
    return unit.render(state.name, target.values, target.freed, target.calmed)


def foreign(state: SliceState, records: t.Collection[str]) -> str | None:
    """Why a unit that is there can't be taken over; None if there is none, or it is ours."""
    found = state.unit
    if found is None or (found.text is not None and _paths.MARKER in found.text):
        return None
    if found.text is None and not found.fragment:
        return None
    where = found.fragment or systemd.unit_file(systemd.slice_unit(state.name))
    return f"{where} was not made by this collection: remove it, or choose another name"


def drift(target: Target, state: SliceState, host: Host) -> tuple[str, t.Any, t.Any] | None:
    """What differs beside limits: a name and its values before and after."""
    found = state.unit
    if found is None or found.text != _text(target, state):
        return ("unit file", "different", systemd.unit_file(systemd.slice_unit(state.name)))
    return ("unit", "changed since it was loaded", "loaded") if found.stale else None


def check_overrides(target: Target, state: SliceState, differing: t.Sequence[str]) -> None:
    """Refuse a change that drop-ins of others would undo.

    :raises IsolationError: the unit is as declared, but drop-ins set other limits.
    """
    found = state.unit
    if found is None or not found.drop_ins or not differing or found.stale:
        return
    if found.text == _text(target, state):
        raise IsolationError(
            f"{state.name}: {', '.join(differing)}: overridden by {found.drop_ins}:"
            f" remove that file, or run systemctl revert {systemd.slice_unit(state.name)}"
        )


def check_frozen(target: Target, state: SliceState, host: Host, differing: t.Sequence[str]) -> None:
    """Refuse a change of limits that systemd would put off until the slice is thawed: all after 252 do (tried with 257).

    :raises IsolationError: limits are to change, and the slice is to stay frozen.
    """
    if state.frozen and target.frozen and differing and host.systemd > _WRITES_FROZEN:
        raise IsolationError(
            f"{state.name}: {', '.join(differing)}: systemd {host.systemd} writes no limits of a frozen slice:"
            " set state to present first, or leave the limits as they are"
        )


def present(target: Target, state: SliceState, host: Host, record: Record) -> Actions:
    """Write the unit, have systemd apply it, start it, so that it is visible with its limits before anything is in it."""
    name = systemd.slice_unit(state.name)
    text = _text(target, state)
    found = state.unit
    prepare: list[Step] = []
    if found is None or found.text != text:
        prepare.append(WriteFile(systemd.unit_file(name), text))
    steps: list[Step] = [systemd.Systemctl("start", (name,))]
    if state.frozen and not target.frozen:
        steps.append(systemd.Systemctl("thaw", (name,)))
    if found is not None and found.active:
        steps.append(apply.RealizeBeside(state.name.rpartition("/")[0]))
    if target.frozen and not state.frozen:
        steps.append(systemd.Systemctl("freeze", (name,)))
    return Actions(prepare=tuple(prepare), steps=tuple(steps), reload=True)


def absent(state: SliceState, host: Host, keep: t.Collection[str], force: bool) -> Actions:
    """Stop the slice, remove its unit, and stop the implicit slices above it that are left empty."""
    name = systemd.slice_unit(state.name)
    tree = _tree(host)
    prepare: list[Step] = []
    if state.frozen:
        prepare.append(systemd.Systemctl("thaw", (name,)))
    prepare.append(apply.EndUnit(name, tree, host.path(state.name), force))
    prepare.append(RemoveFile(systemd.unit_file(name)))
    parts = state.name.split("/")
    above = []
    for depth in range(len(parts) - 1, 0, -1):
        parent = "/".join(parts[:depth])
        if parent in keep:
            break
        above.append((systemd.slice_unit(parent), host.path(parent)))
    else:
        above.append(("isolation.slice", "isolation.slice"))
    return Actions(prepare=tuple(prepare), finish=(apply.StopEmptyParents(tuple(above), tree),), reload=True)


def _tree(host: Host) -> Hierarchy:
    return next(tree for tree in host.hierarchies if tree.version == 2)
