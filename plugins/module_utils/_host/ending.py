# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Instances that run on for a while once nobody is led to them any more, so that a rollback has nothing to start. The host stops them in the end."""

from __future__ import annotations

import os
from dataclasses import dataclass

from .. import _paths
from . import later, lease, libexec, oci, runit
from .files import read_text, remove_empty_directories, remove_file, write_atomic
from .process import SEARCH_PATH, ToolError

FOLDER = f"{_paths.RUN}/ending"
HELPER = libexec.path("end")
_OVERDUE = 60.0
"""Seconds after which something that was to stop an instance is taken for lost."""

_TEXT = f"""#!/bin/sh
# {_paths.MARKER}: stops an instance that has run on for a rollback, once the time for that is over.
#   end NAME TOKEN UNIT SECONDS   within SECONDS, as far as there is no systemd, whose unit tells
set -eu
PATH={SEARCH_PATH}
mkdir -p {_paths.RUN}
exec 9>>{_paths.LOCK}
flock 9
read -r token _ <{FOLDER}/$1 || exit 0
[ "$token" = "$2" ] || exit 0
if [ -d /run/systemd/system ]; then
  systemctl stop -- "$3" || :
  systemctl reset-failed -- "$3" 2>/dev/null || :
else
  sv -w "$4" force-stop {runit.SERVICES}/$1 >/dev/null || :
fi
rm -f {oci.DELAYS}/$1 {FOLDER}/$1 {FOLDER}/$1.pid
rmdir {FOLDER} 2>/dev/null || exit 0
rm -f {HELPER}
"""


def _path(name: str) -> str:
    return os.path.join(FOLDER, name)


def _pid(name: str) -> str:
    return f"{_path(name)}.pid"


def _timer(token: str) -> str:
    return f"isolation-end-{token}"


def _kept(name: str) -> tuple[str, float] | None:
    """What is to stop an instance, and when, in seconds since the boot."""
    words = (read_text(_path(name)) or "").split()
    return (words[0], float(words[1])) if len(words) == 2 else None


def left(name: str) -> float | None:
    """Seconds until the host stops an instance; None if it runs for good."""
    kept = _kept(name)
    seconds = kept[1] - lease.boottime() if kept is not None else -_OVERDUE
    return max(0.0, seconds) if seconds > -_OVERDUE else None


def forget(name: str) -> None:
    """Let an instance run for good, as far as it runs."""
    kept = _kept(name)
    if kept is None:
        return
    remove_file(_path(name))
    later.cancel(_timer(kept[0]), _pid(name), kept[0])
    remove_empty_directories(FOLDER, FOLDER)
    if not os.path.isdir(FOLDER):
        remove_file(HELPER)


@dataclass(frozen=True)
class EndLater:
    """Step: have the host stop an instance after `seconds`; `stop_timeout` is how long it may take to end, `unit` what systemd calls it."""

    name: str
    unit: str
    stop_timeout: float
    seconds: float

    def run(self) -> None:
        """Write it down, and let the time begin.

        :raises ToolError: nothing can wait; the instance runs for good.
        """
        forget(self.name)
        token = os.urandom(6).hex()
        write_atomic(HELPER, _TEXT, 0o755)
        write_atomic(_path(self.name), f"{token} {lease.boottime() + self.seconds:.3f}\n", 0o600)
        # sv(8) takes whole seconds.
        command = (HELPER, self.name, token, self.unit, str(int(self.stop_timeout + 0.999)))
        try:
            later.call(_timer(token), _pid(self.name), self.seconds, command)
        except (ToolError, OSError):
            forget(self.name)
            raise


@dataclass(frozen=True)
class RunOn:
    """Step: have an instance run for good that was to be stopped later."""

    name: str

    def run(self) -> None:
        """Forget that."""
        forget(self.name)
