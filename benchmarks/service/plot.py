# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The plot."""

from __future__ import annotations

import pathlib
import typing as t

from ..common.figures import Figure, Run
from ..common.panels import Panel, draw
from .figures import Row


def _median(pick: t.Callable[[Row], Figure | None]) -> t.Callable[[Row], float | None]:
    def value(row: Row) -> float | None:
        figure = pick(row)
        return figure.median if figure is not None else None

    return value


def _megabytes(row: Row) -> float | None:
    return row.beside / 2**20 if row.beside and row.beside > 0 else None


PANELS: tuple[Panel[Row], ...] = (
    Panel("start N services, s", _median(lambda row: row.fill)),
    Panel("start one more beside N, s", _median(lambda row: row.one_more), (0.05, 2)),
    Panel("memory beside each idle service, MB", _megabytes),
    Panel("from the start command to the service, s", _median(lambda row: row.start)),
)


def plot(run: Run[Row], path: pathlib.Path) -> None:
    """Draw all rows into an SVG file."""
    draw(run, path, PANELS, "services", lambda row: row.services)
