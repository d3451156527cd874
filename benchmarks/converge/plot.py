# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The plot."""

from __future__ import annotations

import pathlib
import typing as t

from ..common.figures import Run
from ..common.panels import Panel, draw
from .figures import Row


def _took(step: str) -> t.Callable[[Row], float | None]:
    def value(row: Row) -> float | None:
        return row.wall[step].median if step in row.wall and not row.over_ssh else None

    return value


def _per_host(row: Row) -> float | None:
    return row.wall["again"].median / row.hosts if "again" in row.wall and row.over_ssh else None


PANELS: tuple[Panel[Row], ...] = (
    Panel("from nothing to N services, s", _took("first")),
    Panel("once more, without a change, s", _took("again")),
    Panel("a new release of one of N, s", _took("change")),
    Panel("once more, per host over ssh, s", _per_host, (0.2, 10), "hosts", lambda row: row.hosts),
)


def plot(run: Run[Row], path: pathlib.Path) -> None:
    """Draw all rows into an SVG file."""
    draw(run, path, PANELS, "services", lambda row: row.services)
