# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The plot."""

from __future__ import annotations

import pathlib

from ..common.figures import Run
from ..common.panels import Panel, draw
from .figures import Row


def _publish(row: Row) -> float | None:
    return row.apply.median if row.apply else None


def _change(row: Row) -> float | None:
    """Where nothing can be changed in place, the container is removed and started again."""
    if row.change:
        return row.change.median
    return row.apply.median + row.remove.median if row.apply and row.remove else None


def _rules(row: Row) -> float | None:
    return row.rules


def _ratio(row: Row) -> float | None:
    """Docker tries its rules from the last port to the first, the others the other way round: what counts is how far apart they are."""
    if row.latency is None:
        return None
    ratio = row.latency.ratio.median
    return max(ratio, 1 / ratio)


PANELS: tuple[Panel[Row], ...] = (
    Panel("publish N ports, or start the container with them, s", _publish),
    Panel("change one of N, or remove and start the container, s", _change),
    Panel("rules in the kernel", _rules),
    # What differs by noise alone shall not look like much.
    Panel("time to connect: slower of first and last port / quicker", _ratio, (0.5, 5)),
)


def plot(run: Run[Row], path: pathlib.Path) -> None:
    """Draw all rows that have ports into an SVG file."""
    draw(run, path, PANELS, "published ports", lambda row: row.ports)
