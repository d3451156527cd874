# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The way back from a change of published ports that nobody confirms. Pure."""

from __future__ import annotations

import typing as t

from .._errors import InvalidOption
from .._host import revert
from .._host.records import Record
from .._plan import Step
from . import render
from .check import check_conflicts
from .elements import all_elements
from .model import PortmapSpec, from_record
from .unconfirmed import LAYER, Owners


def led_back(desired: t.Mapping[str, PortmapSpec], owners: Owners) -> dict[str, PortmapSpec]:
    """What is published if nobody confirms."""
    found = {name: spec for name, spec in desired.items() if name not in owners}
    found.update({name: from_record(name, record.spec) for name, record in owners.items() if record is not None})
    return found


def _record(owners: Owners) -> Record:
    kept = {
        name: None if record is None else {"project": record.project, "spec": record.spec}
        for name, record in owners.items()
    }
    return Record(revert.LAYER, LAYER, "default", {"owners": kept}, {})


def arm(desired: t.Mapping[str, PortmapSpec], owners: Owners, timeout: float | None, scope: t.Collection[str]) -> Step:
    """What has the host lead owners back.

    :raises InvalidOption: a port is kept for an owner that may come back to it.
    """
    back = led_back(desired, owners)
    try:
        check_conflicts(back, {*scope, *owners})
    except InvalidOption as error:
        raise InvalidOption(f"{error}. A change of it is not confirmed yet: confirm it first") from error
    files = [(revert.TABLE, render.table_text(all_elements(back.values()) if back else None))]
    files += [] if back else [(revert.GONE, "")]
    files += [(revert.record_path(name), record.text() if record else "") for name, record in owners.items()]
    return revert.Arm(_record(owners), tuple(files), timeout)


def steps(
    specs: t.Sequence[PortmapSpec], desired: t.Mapping[str, PortmapSpec], before: Owners, after: Owners, touched: bool
) -> list[Step]:
    """What to do about the way back before a task's own changes."""
    if not after:
        return [revert.Disarm()] if before else []
    if not touched and before == after:
        return []
    times = [spec.confirm_timeout for spec in specs if spec.confirm_timeout is not None and spec.name in after]
    return [arm(desired, after, max(times) if times and touched else None, {spec.name for spec in specs})]
