# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What planners make: changes for people to read, steps for the runner to take."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field


class Step(t.Protocol):
    """One atomic or repeatable action on the host, a value until the runner takes it.

    A step that only waits says so by a true `waits`: the runner takes it at the same time as those of other elements. What a step
    has to tell beside the state of the host is in the dictionary `told` once it has been taken, and goes into the result.
    """

    def run(self) -> None:
        """Take the step.

        :raises IsolationError: the host refused; the message says what, and what to do.
        :raises OSError: an unforeseen refusal by the kernel; the runner adds which step it was.
        """


@dataclass(frozen=True)
class Change:
    """One option or mapping that is not as asked for: one line of the diff.

    `None` as `before` or `after` stands for its absence. `effect` is `live`, `restart` or `replace`: what the
    change does to a running service.
    """

    key: str
    before: t.Any
    after: t.Any
    effect: str = "live"


@dataclass(frozen=True)
class Plan:
    """What one element needs. No changes means no steps, and the other way round.

    `prepare` is taken for every element, then the shared steps of the whole task (one nft transaction, one
    daemon-reload), then `steps` of every element, then `finish` of every element (waiting for health).
    `effect` is what the changes together do to what runs, None where nothing does: the last line of the diff.
    `undo` is taken, as far as it goes, if one of those before `finish` failed: what was only claimed is given back.
    `recall` is taken if all went well and the host still differs: what was begun beside something else goes, and that stays.
    `result` is what the element looks like when the plan is carried out; with no changes, what it is.
    `predicted` is set where a part of the result can't be looked into before an earlier layer has been applied.
    """

    name: str
    changes: tuple[Change, ...] = ()
    prepare: tuple[Step, ...] = ()
    steps: tuple[Step, ...] = ()
    finish: tuple[Step, ...] = ()
    result: t.Mapping[str, t.Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    predicted: bool = False
    undo: tuple[Step, ...] = ()
    recall: tuple[Step, ...] = ()
    effect: str | None = None

    @property
    def changed(self) -> bool:
        """Whether anything is to be done."""
        return bool(self.changes)


@dataclass(frozen=True)
class TaskPlan:
    """The plans of all elements of a task, in the order in which they were given, and what is done once for all."""

    elements: tuple[Plan, ...]
    shared: tuple[Step, ...] = ()
    order: tuple[int, ...] = ()
    """The places of the elements in the order in which their steps are taken; as given if empty."""


def compare(before: t.Mapping[str, t.Any], after: t.Mapping[str, t.Any], effect: str = "live") -> tuple[Change, ...]:
    """A change for each key whose value differs, in the order of `after`, then of what is only in `before`."""
    keys = list(after) + [key for key in before if key not in after]
    return tuple(
        Change(key, before.get(key), after.get(key), effect) for key in keys if before.get(key) != after.get(key)
    )
