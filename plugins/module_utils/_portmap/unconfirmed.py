# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whose change of published ports is taken back unless it is confirmed. Pure."""

from __future__ import annotations

import typing as t

from .._host.records import Record
from .model import PortmapSpec

LAYER = "portmap"

Owners = t.Mapping[str, t.Optional[Record]]
"""Owners whose change is not confirmed, each with the record that it had before; None if it published nothing."""


def owners_of(records: t.Mapping[str, Record]) -> dict[str, Record | None]:
    """Those that the host has written down."""
    record = records.get(LAYER)
    kept = record.spec["owners"] if record is not None else {}
    return {
        name: None if earlier is None else Record(LAYER, name, earlier["project"], earlier["spec"], {})
        for name, earlier in kept.items()
    }


def owners_after(
    specs: t.Sequence[PortmapSpec], changed: t.Collection[str], records: t.Mapping[str, Record], now: Owners
) -> Owners:
    """Whose change is not confirmed once a task is done. `changed` are the names of what it changes.

    Who is applied without a time confirms what was changed before. Who had a change before that is not confirmed is led back to what was
    before that.
    """
    found = dict(now)
    for spec in specs:
        if spec.confirm_timeout is None:
            found.pop(spec.name, None)
        elif spec.name in changed:
            found.setdefault(spec.name, records.get(spec.name))
    return found
