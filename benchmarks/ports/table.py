# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The table, as Markdown."""

from __future__ import annotations

from ..common.figures import Run
from ..common.report import closing, markdown, seconds, whole
from .figures import Latency, Row

HEADINGS = (
    "way", "ports", "publish, s", "again, s", "change one, s", "change one beside, s", "remove, s", "rules", "elements",
    "kernel memory", "processes", "their memory", "connect first → last, µs", "(p95)", "last / first",
)  # fmt: skip


def _kernel_memory(row: Row) -> str:
    return "" if row.kernel_bytes is None else f"{row.kernel_bytes.median / 1024:.0f} KiB"


def _memory(row: Row) -> str:
    return f"{row.proxy_pss / 1024 / 1024:.1f} MiB" if row.proxy_pss else ""


def _latency(latency: Latency | None) -> list[str]:
    if latency is None:
        return ["", "", ""]
    ratio = latency.ratio
    return [
        f"{latency.first:.1f} → {latency.last:.1f}",
        f"{latency.first_p95:.1f} → {latency.last_p95:.1f}",
        f"{ratio.median:.2f} ({ratio.low:.2f} to {ratio.high:.2f})",
    ]


def _cells(name: str, row: Row) -> list[str]:
    times = [seconds(figure) for figure in (row.apply, row.again, row.change, row.change_beside, row.remove)]
    held = [whole(row.rules), whole(row.elements), _kernel_memory(row), whole(row.processes), _memory(row)]
    return [name, str(row.ports), *times, *held, *_latency(row.latency)]


def _cpu_table(run: Run[Row]) -> str:
    rows = [(subject.name, row) for subject in run.subjects for row in subject.rows if row.cpu]
    headings = ["processor time, s", "ports", *dict.fromkeys(step for _name, row in rows for step in row.cpu)]
    lines = [[name, str(row.ports), *(seconds(row.cpu.get(step)) for step in headings[2:])] for name, row in rows]
    return markdown([headings, *lines])


def table(run: Run[Row]) -> str:
    """The tables, what could not be measured, and on which machine."""
    lines = [list(HEADINGS)]
    for subject in run.subjects:
        lines += [_cells(subject.name, row) for row in subject.rows]
    return "\n\n".join([markdown(lines), _cpu_table(run), *closing(run)]) + "\n"
