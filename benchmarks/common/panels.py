# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Plots of several panels, on logarithmic axes."""

from __future__ import annotations

import dataclasses
import pathlib
import typing as t

from .figures import Run

RowT = t.TypeVar("RowT")


@dataclasses.dataclass(frozen=True)
class Panel(t.Generic[RowT]):
    """One diagram: its title, and what it shows of a row. `floor` are limits that the vertical axis reaches at least; `across` and `number` are
    the horizontal axis, where it is another one than that of all.
    """

    title: str
    value: t.Callable[[RowT], float | None]
    floor: tuple[float, float] | None = None
    across: str | None = None
    number: t.Callable[[RowT], int] | None = None


def draw(
    run: Run[RowT],
    path: pathlib.Path,
    panels: t.Sequence[Panel[RowT]],
    across: str,
    number: t.Callable[[RowT], int],
) -> None:
    """Draw all rows whose number is not 0 into an SVG file; `across` names what the number counts."""
    import matplotlib as mpl

    # The same figures give the same file, and text stays text.
    mpl.rcParams.update({"svg.hashsalt": path.stem, "svg.fonttype": "none", "font.size": 9})
    from matplotlib.figure import Figure as Canvas
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    canvas = Canvas(figsize=(9, 6.5), layout="constrained")
    axes = canvas.subplots(2, 2).flat
    named = {}
    for axis, panel in zip(axes, panels):
        along = panel.number or number
        for index, subject in enumerate(run.subjects):
            points = [(along(row), panel.value(row)) for row in subject.rows if along(row) and panel.value(row)]
            if points:
                (named[subject.name],) = axis.plot(*zip(*points), marker="o", color=f"C{index}", label=subject.name)
        axis.set(title=panel.title, xlabel=f"N, {panel.across or across}", xscale="log", yscale="log")
        axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.yaxis.set_minor_formatter(NullFormatter())
        for scale in (axis.xaxis, axis.yaxis):
            scale.set_major_formatter(FuncFormatter(lambda value, _position: f"{value:g}"))
        if panel.floor is not None:
            low, high = axis.get_ylim()
            axis.set_ylim(min(panel.floor[0], low), max(panel.floor[1], high))
        axis.grid(visible=True, which="major", alpha=0.4)
    canvas.legend([*named.values()], [*named], loc="outside lower center", ncols=4)
    canvas.savefig(path, format="svg", metadata={"Date": None})
