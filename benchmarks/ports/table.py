# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The table, as Markdown."""

from __future__ import annotations

import typing as t

from .figures import Figure, Latency, Row, Run

HEADINGS = (
    "way", "ports", "publish, s", "again, s", "change one, s", "change one beside, s", "remove, s", "rules", "elements",
    "kernel memory", "processes", "their memory", "connect first → last, µs", "(p95)", "last / first",
)  # fmt: skip


def _seconds(figure: Figure | None) -> str:
    if figure is None:
        return ""
    digits = 3 if figure.median < 1 else 2 if figure.median < 10 else 1
    return f"{figure.median:.{digits}f}"


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


def _whole(value: int | None) -> str:
    return "" if value is None else str(value)


def _cells(name: str, row: Row) -> list[str]:
    times = [_seconds(figure) for figure in (row.apply, row.again, row.change, row.change_beside, row.remove)]
    held = [_whole(row.rules), _whole(row.elements), _kernel_memory(row), _whole(row.processes), _memory(row)]
    return [name, str(row.ports), *times, *held, *_latency(row.latency)]


def _markdown(lines: t.Sequence[t.Sequence[str]]) -> str:
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]

    def text(line: t.Sequence[str]) -> str:
        cells = [
            cell.ljust(width) if index == 0 else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(line, widths))
        ]
        return f"| {' | '.join(cells)} |"

    rule = "|" + "|".join("-" * (width + 1) + ("-" if index == 0 else ":") for index, width in enumerate(widths)) + "|"
    return "\n".join([text(lines[0]), rule, *map(text, lines[1:])])


def _cpu_table(run: Run) -> str:
    rows = [(subject.name, row) for subject in run.subjects for row in subject.rows if row.cpu]
    headings = ["processor time, s", "ports", *dict.fromkeys(step for _name, row in rows for step in row.cpu)]
    lines = [[name, str(row.ports), *(_seconds(row.cpu.get(step)) for step in headings[2:])] for name, row in rows]
    return _markdown([headings, *lines])


def table(run: Run) -> str:
    """The tables, what could not be measured, and on which machine."""
    lines = [list(HEADINGS)]
    for subject in run.subjects:
        lines += [_cells(subject.name, row) for row in subject.rows]
    parts = [_markdown(lines), _cpu_table(run)]
    failures = [f"* {subject.name}: {subject.failure}" for subject in run.subjects if subject.failure]
    if failures:
        parts.append("Not measured:\n\n" + "\n".join(failures))
    parts.append("\n".join([f"* date: {run.date}", *(f"* {key}: {value}" for key, value in run.machine.items())]))
    return "\n\n".join(parts) + "\n"
