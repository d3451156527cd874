# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A rollout as people want to see it: from what Ansible tells a callback plugin to lines. Pure; it runs on the controller.

Note: this is private to the collection, and may change at any time.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

from ._rollout_screen import BAD, CHANGED, GOOD, PLAIN, SOFT, Line, clean, gauge

ROLE = "daemonless.isolation.isolation"

LAYERS = {
    "bridges": "prepare bridges",
    "slices": "prepare slices",
    "rootfs": "prepare root file systems",
    "holds": "hold back",
    "services": "start and gate",
    "portmaps": "cut over",
    "returns": "return",
    "confirm": "confirm",
    "ended": "drain and stop",
    "remove:portmaps": "close ports",
    "remove:services": "remove instances",
    "remove:volumes": "purge volumes",
    "remove:rootfs": "remove root file systems",
    "remove:slices": "remove slices",
    "remove:bridges": "remove bridges",
}
"""What layers do in a task that is of all of them."""

PHASES = {
    "Look, plan and begin": "look, plan and begin",
    "Bridges": "prepare bridges",
    "Slices": "prepare slices",
    "Root file systems": "prepare root file systems",
    "Hold back the release that a rollback leaves": "hold back",
    "Services": "start and gate",
    "Published ports": "cut over",
    "Bring up": "bring up",
    "Confirm, drain and stop": "confirm, drain and stop",
    "Stop earlier instances once nobody is connected": "drain and stop",
    "Remove instances": "remove instances",
    "Remove their root file systems": "remove root file systems",
    "Remove their slices": "remove slices",
    "Let other deployments go on": "end",
}
"""What the tasks of the role that are modules are for, by their names."""

_NOT_TOLD = frozenset({"confirm", "end"})
"""Phases whose changes are of no interest afterwards."""

_STARTS = frozenset({"start and gate", "bring up"})
_END = "end"
_NAMES = 8
_BAR = 20


class Task(t.NamedTuple):
    """A task: its name without that of its role, the role, and whether one host stands for all."""

    name: str
    role: str = ""
    once: bool = False

    @property
    def phase(self) -> str | None:
        """What it is for in a rollout; None if it is another play's, or none that takes time."""
        return PHASES.get(self.name) if self.role == ROLE else None


class Part(t.NamedTuple):
    """What a task that is of several layers has done in one of them: the layer, and the objects that it changed."""

    layer: str
    names: t.Sequence[str] = ()


class Outcome(t.NamedTuple):
    """How a task ended on a host: `ok`, `failed`, `ignored`, `skipped` or `unreachable`. `names` are the objects that it changed, `lost` is why some
    of them failed although the task did not, `message` what a task says that does nothing else. `parts` are those of a task of several
    layers, `at` the layer in which it failed. `waves` is how many a plan has, `begun` whether the first one began with it.
    """

    kind: str
    changed: bool = False
    reason: str = ""
    names: t.Sequence[str] = ()
    lost: str = ""
    message: str = ""
    parts: t.Sequence[Part] = ()
    at: str = ""
    waves: int = 0
    begun: bool = False


class Totals(t.NamedTuple):
    """What Ansible counts of a host."""

    failures: int = 0
    unreachable: int = 0
    changed: int = 0
    rescued: int = 0


@dataclass
class Host:
    """What was seen of a host."""

    name: str
    phase: str = ""
    wave: int = 0
    waves: int = 0
    changes: int = 0
    began: float | None = None
    ended: float | None = None
    failed: bool = False
    phased: bool = False
    reasons: list[tuple[str, list[str]]] = field(default_factory=list)

    @property
    def place(self) -> str:
        """Where it is, in words."""
        return self.placed(self.phase)

    def placed(self, phase: str) -> str:
        """A phase, with its wave if there are several."""
        gated = self.waves > 1 and self.wave
        return f"wave {self.wave} of {self.waves}: {phase}" if gated else phase


def cut(number: int, serial: t.Sequence[int]) -> list[int]:
    """The sizes of a play's batches: those of `serial`, the last one again and again."""
    sizes: list[int] = []
    left = number
    given = [size for size in serial if size > 0] or [number]
    while left > 0:
        sizes.append(min(given[min(len(sizes), len(given) - 1)], left))
        left -= sizes[-1]
    return sizes


def _some(names: t.Sequence[str]) -> str:
    more = len(names) - _NAMES
    return ", ".join(names[:_NAMES]) + (f" and {more} more" if more > 0 else "")


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _time(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


class View:
    """Everything that was seen so far. Each event gives the lines that are to stay; `live` what is going on."""

    def __init__(self, check: bool = False, unchanged: bool = False) -> None:
        self.hosts: dict[str, Host] = {}
        self._check, self._unchanged = check, unchanged
        self._play = ""
        self._everybody: list[str] = []
        self._sizes: list[int] = []
        self._before: set[str] = set()
        self._batch: list[str] = []
        self._number = 0
        self._heading: list[Line] = []
        self._is_rollout = False

    def play(
        self, name: str, batch: t.Sequence[str], everybody: t.Sequence[str], sizes: t.Sequence[int], now: float
    ) -> list[Line]:
        """A play, or the next batch of one, is about to begin. It is told once there is a task."""
        lines = self._end_batch(now)
        fresh = name != self._play or bool(self._before.intersection(batch))
        if fresh:
            self._play, self._everybody, self._sizes = name, list(everybody), list(sizes)
            self._before, self._number, self._is_rollout, self._heading = set(), 0, False, []
            many = f" in {len(sizes)} batches" if len(sizes) > 1 else ""
            checked = " (check mode: nothing is changed)" if self._check else ""
            self._heading += [Line(""), Line(f"{name}: {_counted(len(everybody), 'host')}{many}{checked}")]
        self._number += 1
        self._batch = list(batch)
        self._before.update(batch)
        for host in batch:
            seen = self._seen(host)
            seen.phase, seen.wave, seen.waves, seen.began, seen.ended = "", 0, 0, None, None
        if len(self._sizes) > 1:
            canary = " (canary)" if self._number == 1 and self._sizes[0] < max(self._sizes) else ""
            self._heading.append(Line(f"batch {self._number} of {len(self._sizes)}{canary}: {_some(batch)}"))
        return lines

    def task(self) -> list[Line]:
        """A task is about to begin on some hosts."""
        lines, self._heading = self._heading, []
        return lines

    def begins(self, host: str, task: Task, now: float) -> None:
        """A task begins on a host."""
        seen, phase = self._seen(host), task.phase
        if seen.began is None:
            seen.began = now
        if phase is None:
            if not self._is_rollout:
                seen.phase = task.name
            return
        self._is_rollout = seen.phased = True
        seen.phase = phase
        if phase in _STARTS:
            seen.wave += 1

    def result(self, host: str, task: Task, outcome: Outcome, now: float) -> list[Line]:
        """A task has ended on a host."""
        lines, seen = self.task(), self._seen(host)
        if outcome.waves:
            seen.waves, seen.wave = outcome.waves, int(outcome.begun)
        elif outcome.kind == "skipped" and task.phase in _STARTS:
            seen.wave -= 1
        where = seen.place if task.phase else task.name
        if outcome.at or (outcome.lost and outcome.parts):
            where = seen.placed(LAYERS.get(outcome.at or "services", outcome.at))
        lines += self._done(seen, outcome.parts)
        if outcome.kind == "unreachable":
            seen.failed = True
            lines += self._trouble(seen, "unreachable", outcome.reason)
            return lines + self._ends(seen, now) if self._is_rollout else lines
        if outcome.kind == "failed":
            seen.failed = True
            lines += self._trouble(seen, where, outcome.reason)
        elif outcome.kind == "ignored":
            lines.append(Line(f"{host}: {where}: failed, ignored: {' '.join(clean(outcome.reason))}", SOFT))
        elif outcome.kind == "ok":
            lines += self._went_well(seen, task, outcome, where)
        if task.phase == _END and outcome.kind != "failed":
            lines += self._ends(seen, now)
        return lines

    def _done(self, seen: Host, parts: t.Iterable[Part]) -> list[Line]:
        """What layers have changed, whatever became of the task."""
        lines = []
        for part in parts:
            phase = LAYERS.get(part.layer, part.layer)
            if part.names and phase not in _NOT_TOLD:
                seen.changes += 1
                lines.append(Line(f"{seen.name}: {seen.placed(phase)}: {_some(part.names)}", CHANGED))
        return lines

    def _went_well(self, seen: Host, task: Task, outcome: Outcome, where: str) -> list[Line]:
        lines = []
        told = task.phase not in _NOT_TOLD
        if outcome.changed and told and not outcome.parts and (outcome.names or not outcome.lost):
            seen.changes += 1
            names = f": {_some(outcome.names)}" if outcome.names else ""
            lines.append(Line(f"{seen.name}: {where}{names}" + ("" if task.phase else ": changed"), CHANGED))
        elif self._unchanged and not outcome.message and not any(part.names for part in outcome.parts):
            lines.append(Line(f"{seen.name}: {where}: unchanged", SOFT))
        if outcome.lost:
            lines += self._trouble(seen, where, outcome.lost)
        said = clean(outcome.message)
        if task.once or len(said) > 1:
            return lines + [Line(f"{seen.name}:")] * (not task.once) + [Line(text) for text in said]
        return lines + [Line(f"{seen.name}: {text}") for text in said]

    def _trouble(self, seen: Host, where: str, reason: str) -> list[Line]:
        """Why something failed, unless that was told already: what is rescued fails again by the same words."""
        said = clean(reason) or ["no reason was given"]
        flat = "\n".join(said)
        if any(flat in "\n".join(known) for _where, known in seen.reasons):
            return []
        seen.reasons.append((where, said))
        return _reason(f"{seen.name}: {where}" + ("" if where == "unreachable" else ": failed"), said)

    def _ends(self, seen: Host, now: float) -> list[Line]:
        if seen.ended is not None or seen.began is None or not (seen.phased or seen.failed):
            return []
        seen.ended = now
        seen.phase = "failed" if seen.failed or seen.reasons else "done"
        took = _time(now - seen.began)
        if seen.phase == "failed":
            said, style = f"failed after {took}", BAD
        elif seen.changes:
            said, style = f"done: {_counted(seen.changes, 'change')} in {took}", GOOD
        else:
            said, style = f"in sync, {took}", GOOD
        return [Line(f"{seen.name}: {said} {self._bar()}", style)]

    def _end_batch(self, now: float) -> list[Line]:
        if not self._is_rollout:
            return []
        return [line for host in self._batch for line in self._ends(self.hosts[host], now)]

    def _bar(self) -> str:
        done = sum(1 for host in self._everybody if host in self.hosts and self.hosts[host].ended is not None)
        return f"{gauge(done, len(self._everybody), _BAR)} {done} of {_counted(len(self._everybody), 'host')}"

    def live(self, height: int) -> list[Line]:
        """What is going on, in at most that many lines: the bar, and what each host is at."""
        busy = [
            self.hosts[host]
            for host in self._batch
            if self.hosts[host].began is not None and self.hosts[host].ended is None
        ]
        if not busy or self._heading or height < 1:
            return []
        lost = sum(1 for host in self._everybody if host in self.hosts and self.hosts[host].failed)
        batch = f", batch {self._number} of {len(self._sizes)}" if len(self._sizes) > 1 else ""
        found = [Line(self._bar() + batch + (f", {lost} failed" if lost else ""), BAD if lost else PLAIN)]
        shown = busy if len(busy) < height else busy[: max(0, height - 2)]
        found += [Line(f"  {seen.name}: {seen.place}", SOFT) for seen in shown]
        if len(shown) < len(busy) and height > 1:
            found.append(Line(f"  and {_counted(len(busy) - len(shown), 'more host')}", SOFT))
        return found

    def stats(self, totals: t.Mapping[str, Totals], now: float) -> list[Line]:
        """All is over: how each host is, and why."""
        lines = self._end_batch(now)
        self._batch, self._heading = [], []
        kinds: dict[str, int] = {}
        rows: list[Line] = []
        width = max((len(name) for name in [*totals, *self.hosts]), default=0)
        for name in [*totals, *(host for host in self.hosts if host not in totals)]:
            seen = self._seen(name)
            kind, style = self._kind(seen, totals.get(name))
            kinds[kind] = kinds.get(kind, 0) + 1
            changes = f"  {_counted(seen.changes, 'change')}" if seen.changes else ""
            rows.append(Line(f"  {name.ljust(width)}  {kind}{changes}", style))
            if kind in ("failed", "unreachable"):
                rows += [line for where, said in seen.reasons for line in _reason(f"    {where}", said)]
        if not rows:
            return lines
        summary = ", ".join(f"{number} {kind}" for kind, number in kinds.items())
        return [*lines, Line(""), Line(f"{_counted(sum(kinds.values()), 'host')}: {summary}"), *rows]

    def _kind(self, seen: Host, totals: Totals | None) -> tuple[str, str]:
        if totals is not None and totals.unreachable:
            return "unreachable", BAD
        if totals is not None and totals.failures:
            return "failed", BAD
        if self._is_rollout and not seen.phased:
            return "not begun", SOFT
        changed = seen.changes or (totals is not None and totals.changed and not self._is_rollout)
        return ("would change" if self._check else "changed", CHANGED) if changed else ("unchanged", GOOD)

    def _seen(self, name: str) -> Host:
        return self.hosts.setdefault(name, Host(name))


def _reason(head: str, said: t.Sequence[str]) -> list[Line]:
    if len(said) == 1:
        return [Line(f"{head}: {said[0]}", BAD)]
    indent = " " * (len(head) - len(head.lstrip()) + 2)
    return [Line(f"{head}: {said[0]}", BAD), *(Line(f"{indent}| {line}", BAD) for line in said[1:])]
