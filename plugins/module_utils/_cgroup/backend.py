# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What both managers of control groups have in common: what they are asked for, and what they answer with."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

from .._host.records import Record
from .._plan import Step
from .facts import Host, SliceState
from .limits import Values


@dataclass(frozen=True)
class Target:
    """What a slice shall have here. `raw` holds the unified keys, also those that go back to the kernel's own value.

    `values` is what the kernel will show. `asked` is what was asked for, which is more where a v1 cpuset names just what its
    parent has. `freed` are disks that had limits and have none any more, `calmed` those that had a latency to keep.
    """

    values: Values = field(default_factory=dict)
    asked: Values = field(default_factory=dict)
    raw: t.Mapping[str, str] = field(default_factory=dict)
    asked_raw: t.Mapping[str, str] = field(default_factory=dict)
    freed: tuple[str, ...] = ()
    calmed: tuple[str, ...] = ()
    frozen: bool = False
    has_children: bool = False


@dataclass(frozen=True)
class Actions:
    """Steps by phase; `reload` asks for one daemon-reload of the whole task."""

    prepare: tuple[Step, ...] = ()
    steps: tuple[Step, ...] = ()
    finish: tuple[Step, ...] = ()
    reload: bool = False


class Backend(t.Protocol):
    """A manager of control groups, as the planner uses it. All of it is pure."""

    def exists(self, state: SliceState) -> bool:
        """Whether the slice is there, as ours."""

    def foreign(self, state: SliceState, records: t.Collection[str]) -> str | None:
        """Why what is there can't be taken over; None if there is nothing, or it is ours."""

    def drift(self, target: Target, state: SliceState, host: Host) -> tuple[str, t.Any, t.Any] | None:
        """What differs beside limits: a name and its values before and after."""

    def present(self, target: Target, state: SliceState, host: Host, record: Record) -> Actions:
        """Make the slice, or change it in place."""

    def absent(self, state: SliceState, host: Host, keep: t.Collection[str], force: bool) -> Actions:
        """Remove the slice; `keep` are the names of slices that stay."""
