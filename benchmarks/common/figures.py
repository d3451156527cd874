# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Figures and their meaning. Times are in seconds, sizes in bytes."""

from __future__ import annotations

import dataclasses
import statistics
import typing as t


@dataclasses.dataclass(frozen=True)
class Figure:
    """The median of several repetitions, their extremes and their number."""

    median: float
    low: float
    high: float
    count: int

    @classmethod
    def of(cls, values: t.Sequence[float]) -> Figure | None:
        """The figure of some values; none of no value."""
        if not values:
            return None
        return cls(statistics.median(values), min(values), max(values), len(values))


RowT = t.TypeVar("RowT")


@dataclasses.dataclass
class Subject(t.Generic[RowT]):
    """One way to do it, with its rows; or the reason why it could not be measured."""

    name: str
    rows: list[RowT] = dataclasses.field(default_factory=list)
    failure: str | None = None


@dataclasses.dataclass(frozen=True)
class Run(t.Generic[RowT]):
    """A run of a benchmark."""

    date: str
    machine: dict[str, str]
    subjects: list[Subject[RowT]]

    def as_dict(self) -> dict[str, t.Any]:
        """For JSON."""
        return dataclasses.asdict(self)
