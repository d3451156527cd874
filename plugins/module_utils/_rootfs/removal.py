# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Steps that take a root filesystem away: one that was only begun, or that is one release too many."""

from __future__ import annotations

from dataclasses import dataclass

from .._errors import IsolationError
from .._host import images, instances, systemd
from .._host.files import RemoveFile
from .._host.records import DropRecord, Record
from .._plan import Step
from .apply import Release
from .state import HELPER, unit_name


@dataclass(frozen=True)
class RemoveUnit:
    """Step: remove one of our units, if it is there."""

    unit: str

    def run(self) -> None:
        """Stop and disable it, remove its file, let systemd know.

        :raises ToolError: systemd refused.
        """
        if systemd.is_ours(self.unit):
            systemd.Systemctl("disable", (self.unit,), ("--now",)).run()
            RemoveFile(systemd.unit_file(self.unit)).run()
            systemd.DAEMON_RELOAD.run()


@dataclass(frozen=True)
class NotSent:
    """Step: the archive of an image that is missing is on the controller, which has been told that the image is here."""

    digest: str

    def run(self) -> None:
        """Refuse.

        :raises IsolationError: always, unless an element before has brought the image.
        """
        if images.load(self.digest) is None:
            raise IsolationError(
                f"image {self.digest}: has vanished since the controller has asked for it: run again, and it is sent"
            )


def removal(record: Record, on_systemd: bool) -> tuple[Step, ...]:
    """The steps that take away a root filesystem which no process uses, and what only it has held."""
    unit: tuple[Step, ...] = (RemoveUnit(unit_name(record.name)),) if on_systemd else ()
    return (
        instances.RefuseUsers(record.name),
        instances.UnmountInstance(record.name),
        *unit,
        instances.RemoveInstance(record.name),
        DropRecord(record),
        Release(record.spec["service"], HELPER),
    )
