# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The table, as Markdown."""

from __future__ import annotations

from ..common.figures import Run
from ..common.report import closing, markdown, seconds
from .figures import Row

HEADINGS = (
    "way", "services", "start to service, s", "all of them, s", "again, s", "one more, s", "beside each, MB", "processes beside each",
    "engine, MB",
)  # fmt: skip


def _megabytes(value: int | None) -> str:
    return "" if value is None else f"{value / 2**20:.2f}"


def _cells(name: str, row: Row) -> list[str]:
    times = [seconds(figure) for figure in (row.start, row.fill, row.again, row.one_more)]
    processes = "" if row.processes is None else f"{row.processes:g}"
    return [name, str(row.services), *times, _megabytes(row.beside), processes, _megabytes(row.engine)]


def table(run: Run[Row]) -> str:
    """The table, what could not be measured, and on which machine."""
    rows = [_cells(subject.name, row) for subject in run.subjects for row in subject.rows]
    return "\n\n".join([markdown([list(HEADINGS), *rows]), *closing(run)]) + "\n"
