# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The plot, on logarithmic axes."""

from __future__ import annotations

import pathlib
import typing as t

from .figures import Row, Run


def _publish(row: Row) -> float | None:
    return row.apply.median if row.apply else None


def _change(row: Row) -> float | None:
    """Where nothing can be changed in place, the container is removed and started again."""
    if row.change:
        return row.change.median
    return row.apply.median + row.remove.median if row.apply and row.remove else None


def _rules(row: Row) -> float | None:
    return row.rules


def _last(row: Row) -> float | None:
    return row.latency.last if row.latency else None


PANELS: tuple[tuple[str, t.Callable[[Row], float | None]], ...] = (
    ("publish N ports, s", _publish),
    ("change one of N, s", _change),
    ("rules in the kernel", _rules),
    ("connect to the last port, µs", _last),
)


def plot(run: Run, path: pathlib.Path) -> None:
    """Draw all rows that have ports into an SVG file."""
    import matplotlib as mpl

    # The same figures give the same file, and text stays text.
    mpl.rcParams.update({"svg.hashsalt": "ports", "svg.fonttype": "none", "font.size": 9})
    from matplotlib.figure import Figure as Canvas

    canvas = Canvas(figsize=(9, 6.5), layout="constrained")
    axes = canvas.subplots(2, 2).flat
    for axis, (title, value) in zip(axes, PANELS):
        for subject in run.subjects:
            points = [(row.ports, value(row)) for row in subject.rows if row.ports and value(row) is not None]
            if points:
                axis.plot(*zip(*points), marker="o", label=subject.name)
        axis.set(title=title, xlabel="N, published ports", xscale="log", yscale="log")
        axis.grid(visible=True, which="major", alpha=0.4)
    handles, labels = axis.get_legend_handles_labels()
    canvas.legend(handles, labels, loc="outside lower center", ncols=4)
    canvas.savefig(path, format="svg", metadata={"Date": None})
