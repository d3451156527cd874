# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The step that waits until a service is well."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from .._host import probe, proven, restarts
from .._host.helpers import asking
from .apply import Handle, ServiceError, give_up
from .spec import Gate, Health

TOO_OFTEN = 3
"""Ends of a service during its gate that settle the matter before the deadline."""


@dataclass(frozen=True)
class AwaitHealth:
    """Step: wait until an instance has run for long enough and is well. From then on it is started at boot instead of `old`."""

    handle: Handle
    gate: Gate
    health: Health | None
    address: str | None
    old: Handle | None = None
    beside: bool = False
    waits: t.ClassVar[bool] = True

    def run(self) -> None:
        """Wait.

        :raises ServiceError: it is not well in time. Unless the gate says otherwise, `old`, if there is one, runs again, and one that was started
            beside another is stopped.
        """
        trouble = self._watch()
        if trouble is not None:
            message = f"{self.handle.name}: {trouble}{self.handle.log()}"
            if not self.gate.auto_revert:
                raise ServiceError(f"{message}\n{self.handle.name} was left as it is, since auto_revert is off")
            give_up(self.handle, self.old, message)
            if self.beside:
                self.handle.stop()
                self.handle.at_boot(False)
                message += f"\n{self.handle.name} was stopped; what serves was left as it is"
            raise ServiceError(message)
        proven.prove(self.handle.name)
        if self.beside or self.old is not None:
            self.handle.at_boot(True)
        if self.old is not None:
            self.old.at_boot(False)

    def _watch(self) -> str | None:
        """None once it is well, or what is wrong with it."""
        deadline = probe.now() + self.gate.deadline
        was_well, failures = False, 0
        unwell_at = float("-inf")
        trouble = "it did not start"
        while True:
            running = self.handle.running()
            if running is not None:
                answer = self._ask()
                if answer is None:
                    was_well, failures = True, 0
                    # A program may need long until it answers: that is not the time for which it has been well.
                    if min(running.age, probe.now() - unwell_at) >= self.gate.min_healthy_time:
                        return None
                    trouble = f"it has been well for less than {self.gate.min_healthy_time:g} s"
                else:
                    trouble, unwell_at = answer, probe.now()
                    failures += 1
                    if self.health is not None and was_well and failures >= self.health.retries:
                        return f"it was well, and then not any more, {failures} times in a row: {trouble}"
            if restarts.read(self.handle.name).count >= TOO_OFTEN:
                return f"it has ended {TOO_OFTEN} times since its start"
            if probe.now() >= deadline:
                return f"not well within {self.gate.deadline:g} s: {trouble}"
            probe.pause(self._interval(was_well))

    def _ask(self) -> str | None:
        if self.health is None or (self.address is None and self.health.kind != "exec"):
            return None
        return asking.ask_one(asking.check_of(self.handle.name, self.health.canonical(), self.address))

    def _interval(self, was_well: bool) -> float:
        if self.health is None:
            return 0.05
        # Looks at one that runs may be rare; a start is not to wait for the next of them.
        interval = min(self.health.interval, 0.5) if self.health.on_failure else self.health.interval
        return interval if was_well else min(interval, 0.2)
