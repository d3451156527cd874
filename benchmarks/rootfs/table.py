# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The tables, as Markdown."""

from __future__ import annotations

from ..common.figures import Run
from ..common.report import closing, markdown, seconds, whole
from .figures import Row

HEADINGS = (
    "way", "services", "first, s", "all of them, s", "again, s", "one more, s", "remove one, s", "mount at start, s",
    "image", "disk for each", "touched by one more", "touched by the mount",
)  # fmt: skip


def _size(value: int | None) -> str:
    if value is None:
        return ""
    return f"{value / 2**20:.1f} MiB" if abs(value) >= 2**20 else f"{value / 2**10:.0f} KiB"


def _cells(name: str, row: Row) -> list[str]:
    times = [seconds(figure) for figure in (row.first, row.fill, row.again, row.one_more, row.remove_one, row.mount)]
    counts = [whole(row.touched), whole(row.touched_by_mount)]
    return [name, str(row.services), *times, _size(row.image), _size(row.each), *counts]


def table(run: Run[Row]) -> str:
    """The tables, what could not be measured, and on which machine."""
    rows = [(subject.name, row) for subject in run.subjects for row in subject.rows]
    measured = [(name, row) for name, row in rows if row.cpu]
    headings = ["processor time, s", "services", *dict.fromkeys(step for _name, row in measured for step in row.cpu)]
    lines = [
        [name, str(row.services), *(seconds(row.cpu.get(step)) for step in headings[2:])] for name, row in measured
    ]
    tables = [markdown([list(HEADINGS), *(_cells(name, row) for name, row in rows)]), markdown([headings, *lines])]
    return "\n\n".join([*tables, *closing(run)]) + "\n"
