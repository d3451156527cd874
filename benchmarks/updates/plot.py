# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The plot."""

from __future__ import annotations

import pathlib

from ..common.figures import Run
from .figures import Row


def plot(run: Run[Row], path: pathlib.Path) -> None:
    """Draw requests without an answer and the time of an update, each for each update, into an SVG file."""
    import matplotlib as mpl

    # The same figures give the same file, and text stays text.
    mpl.rcParams.update({"svg.hashsalt": path.stem, "svg.fonttype": "none", "font.size": 9})
    from matplotlib.figure import Figure as Canvas

    named = [(subject.name, row) for subject in run.subjects for row in subject.rows if row.updates]
    named.reverse()
    canvas = Canvas(figsize=(9, 2.6), layout="constrained")
    left, right = canvas.subplots(1, 2, sharey=True)
    names = [name for name, _row in named]
    left.set(title="requests without an answer, for each update")
    right.set(title="one update, s")
    for axis, values in (
        (left, [row.failed / row.updates for _name, row in named]),
        (right, [row.wall.median if row.wall else 0.0 for _name, row in named]),
    ):
        bars = axis.barh(names, values, color="C0")
        axis.bar_label(bars, fmt="%.1f", padding=3)
        axis.margins(x=0.15)
        axis.grid(visible=True, axis="x", alpha=0.4)
    canvas.savefig(path, format="svg", metadata={"Date": None})
