# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The steps of a plan, taken phase by phase: what fails, what goes on, what is taken back."""

from __future__ import annotations

import collections
import traceback
import typing as t
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from ._errors import IsolationError
from ._plan import Plan, Step, TaskPlan

_AT_ONCE = 256
"""Elements that may wait at the same time."""


@dataclass
class Outcome:
    """One element on its way through the runner."""

    name: str
    plan: Plan
    error: str | None = None
    trace: str | None = None
    result: t.Mapping[str, t.Any] = field(default_factory=dict)
    told: dict[str, t.Any] = field(default_factory=dict)


def _take(outcome: Outcome, steps: t.Iterable[Step]) -> None:
    if outcome.error is not None:
        return
    for step in steps:
        error = _attempt(step)
        if error is not None:
            outcome.error, outcome.trace = error, traceback.format_exc()
            return
        outcome.told.update(getattr(step, "told", {}))


def _attempt(step: Step) -> str | None:
    try:
        step.run()
    except IsolationError as error:
        return str(error)
    except OSError as error:
        return f"{type(step).__name__}: {error}"
    return None


def _make(
    plan: TaskPlan, outcomes: list[Outcome], phase: t.Callable[[t.Callable[[Plan], tuple[Step, ...]]], None]
) -> None:
    """All phases but the last."""
    phase(lambda element: element.prepare)
    if all(outcome.error is not None for outcome in outcomes if outcome.plan.changed):
        return
    for step in plan.shared:
        error = _attempt(step)
        if error is not None:
            for outcome in outcomes:
                if outcome.plan.changed and outcome.error is None:
                    outcome.error, outcome.trace = error, traceback.format_exc()
            return
    phase(lambda element: element.steps)


def undo(outcome: Outcome, steps: t.Iterable[Step]) -> None:
    """Take back what a failed element has begun. What can't be is told, and the rest is tried."""
    for step in steps:
        error = _attempt(step)
        if error is not None:
            outcome.error = f"{outcome.error}; what was begun could not be taken back: {error}"


def _waits(step: Step) -> bool:
    return bool(getattr(step, "waits", False))


def _side_by_side(outcomes: list[Outcome], pick: t.Callable[[Plan], tuple[Step, ...]]) -> None:
    """One phase of all elements: their steps in order, but what only waits at the same time. Each thread has an outcome to itself."""
    chosen = [(outcome, pick(outcome.plan)) for outcome in outcomes]
    waiting = []
    for outcome, steps in chosen:
        first = next((index for index, step in enumerate(steps) if _waits(step)), len(steps))
        _take(outcome, steps[:first])
        last = next((index for index in range(first, len(steps)) if not _waits(steps[index])), len(steps))
        waiting.append((outcome, steps[first:last], steps[last:]))
    busy = [(outcome, steps) for outcome, steps, _rest in waiting if steps and outcome.error is None]
    if len(busy) > 1:
        with ThreadPoolExecutor(max_workers=min(len(busy), _AT_ONCE)) as pool:
            collections.deque(pool.map(lambda one: _take(*one), busy), maxlen=0)
    else:
        for one in busy:
            _take(*one)
    for outcome, _steps, rest in waiting:
        _take(outcome, rest)


def apply_plan(plan: TaskPlan, on_error: str) -> list[Outcome]:
    """Take the steps of a task, phase by phase. A failed element does not stop the others, unless told so."""
    outcomes = [Outcome(element.name, element) for element in plan.elements]
    ordered = [outcomes[place] for place in plan.order] or outcomes

    def phase(pick: t.Callable[[Plan], tuple[Step, ...]]) -> None:
        if on_error == "continue":
            _side_by_side(ordered, pick)
            return
        for outcome in ordered:
            if any(other.error for other in outcomes):
                if outcome.error is None and outcome.plan.changed:
                    outcome.error = "not carried out: an element before it failed, and on_error is stop"
                continue
            _take(outcome, pick(outcome.plan))

    _make(plan, outcomes, phase)
    for outcome in outcomes:
        if outcome.error is not None:
            undo(outcome, outcome.plan.undo)
    phase(lambda element: element.finish)
    return outcomes
