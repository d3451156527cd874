# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The tables, as Markdown."""

from __future__ import annotations

import typing as t

from ..common.figures import Figure, Run
from ..common.report import closing, markdown, seconds
from .figures import STEPS, Row

_TITLES = {"first": "first, s", "again": "again, s", "change": "change of one, s", "remove": "remove, s"}
_FLEET = ("first", "again")

Named = t.Tuple[str, Row]


def _per_host(figure: Figure | None, hosts: int) -> str:
    return seconds(figure and Figure(figure.median / hosts, figure.low / hosts, figure.high / hosts, figure.count))


def _one_host(rows: t.Sequence[Named]) -> list[str]:
    lines = [[name, str(row.services), *(seconds(row.wall.get(step)) for step in STEPS)] for name, row in rows]
    used = [[name, str(row.services), *(seconds(row.cpu.get(step)) for step in STEPS)] for name, row in rows]
    headings = [_TITLES[step] for step in STEPS]
    return [
        markdown([["way", "services", *headings], *lines]),
        markdown([["processor time", "services", *headings], *used]),
    ]


def _fleet(rows: t.Sequence[Named]) -> str:
    headings = ["way", "hosts", "services on each"]
    for step in _FLEET:
        headings += [f"{step}, s", "per host, s", "of them the controller's processor, s"]
    lines = []
    for name, row in rows:
        cells = [name, str(row.hosts), str(row.services)]
        for step in _FLEET:
            wall, used = row.wall.get(step), row.cpu.get(step)
            cells += [seconds(wall), _per_host(wall, row.hosts), _per_host(used, row.hosts)]
        lines.append(cells)
    return markdown([headings, *lines])


def table(run: Run[Row]) -> str:
    """The tables, what could not be measured, and on which machine."""
    rows = [(subject.name, row) for subject in run.subjects for row in subject.rows]
    parts = _one_host([(name, row) for name, row in rows if not row.over_ssh])
    fleet = [(name, row) for name, row in rows if row.over_ssh]
    if fleet:
        parts.append(_fleet(fleet))
    return "\n\n".join([*parts, *closing(run)]) + "\n"
