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


def _ratio(row: Row) -> float | None:
    """Docker tries its rules from the last port to the first, the others the other way round: what counts is how far apart they are."""
    if row.latency is None:
        return None
    ratio = row.latency.ratio.median
    return max(ratio, 1 / ratio)


PANELS: tuple[tuple[str, t.Callable[[Row], float | None]], ...] = (
    ("publish N ports, or start the container with them, s", _publish),
    ("change one of N, or remove and start the container, s", _change),
    ("rules in the kernel", _rules),
    ("time to connect: slower of first and last port / quicker", _ratio),
)


def plot(run: Run, path: pathlib.Path) -> None:
    """Draw all rows that have ports into an SVG file."""
    import matplotlib as mpl

    # The same figures give the same file, and text stays text.
    mpl.rcParams.update({"svg.hashsalt": "ports", "svg.fonttype": "none", "font.size": 9})
    from matplotlib.figure import Figure as Canvas
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    canvas = Canvas(figsize=(9, 6.5), layout="constrained")
    axes = canvas.subplots(2, 2).flat
    for axis, (title, value) in zip(axes, PANELS):
        for subject in run.subjects:
            points = [(row.ports, value(row)) for row in subject.rows if row.ports and value(row) is not None]
            if points:
                axis.plot(*zip(*points), marker="o", label=subject.name)
        axis.set(title=title, xlabel="N, published ports", xscale="log", yscale="log")
        axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.yaxis.set_minor_formatter(NullFormatter())
        for scale in (axis.xaxis, axis.yaxis):
            scale.set_major_formatter(FuncFormatter(lambda value, _position: f"{value:g}"))
        if value is _ratio:  # what differs by noise alone shall not look like much
            axis.set_ylim(min(0.5, axis.get_ylim()[0]), max(5, axis.get_ylim()[1]))
        axis.grid(visible=True, which="major", alpha=0.4)
    handles, labels = axis.get_legend_handles_labels()
    canvas.legend(handles, labels, loc="outside lower center", ncols=4)
    canvas.savefig(path, format="svg", metadata={"Date": None})
