# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What has the host look after the health of its services from time to time: one systemd timer, or one sleeping process under runit."""

from __future__ import annotations

import contextlib
import os
import shutil
import typing as t
from dataclasses import dataclass, field

from .. import _paths
from . import runit
from .files import RemoveFile, WriteFile, read_text, remove_empty_directories, remove_file
from .helpers import health as _helper
from .libexec import path as helper_path
from .libexec import program
from .records import load_records
from .systemd import DAEMON_RELOAD, Systemctl, active, booted, forget_failure, unit_file

HELPER = helper_path("health")
SERVICE = "isolation-health.service"
TIMER = "isolation-health.timer"
_WANTED = f"{_paths.UNITS}/timers.target.wants/{TIMER}"
_FOLDER = _paths.ETC + "/runit/health"
_LINK = "isolation.health"
"""No instance has a name with a dot."""

interval_of = _helper.interval_of
checked = _helper.checked
address_of = _helper.address_of
read_state = _helper.read_state
again_mark = _helper.again_mark
ill_mark = _helper.ill_mark

_SERVICE_TEXT = f"""# {_paths.MARKER}
[Unit]
Description=Ask isolated services whether they are well

[Service]
Type=oneshot
ExecStart={HELPER}
# Of every look systemd would log that it began and ended.
LogLevelMax=notice
"""

_RUN_TEXT = """#!/bin/sh
# {marker}: sleeps; its finish script then asks the services, so that nothing but this is there in between.
exec sleep {interval}
"""

_FINISH_TEXT = f"""#!/bin/sh
# {_paths.MARKER}
[ "$1" = 0 ] || exit 0
exec {HELPER}
"""


def _timer_text(interval: float) -> str:
    return f"""# {_paths.MARKER}
[Unit]
Description=Ask isolated services whether they are well every {interval:g} s

[Timer]
OnActiveSec=1s
OnUnitActiveSec={interval:g}s
AccuracySec=100ms

[Install]
WantedBy=timers.target
"""


def files(interval: float, on_systemd: bool, helper: str) -> dict[str, tuple[str, int]]:
    """All that is needed for a look every `interval` seconds, with modes; `helper` is the helper's text. Pure."""
    found = {HELPER: (helper, 0o755)}
    if on_systemd:
        found[unit_file(SERVICE)] = (_SERVICE_TEXT, 0o644)
        found[unit_file(TIMER)] = (_timer_text(interval), 0o644)
    else:
        text = _RUN_TEXT.format(marker=_paths.MARKER, interval=f"{interval:g}")
        found[f"{_FOLDER}/run"] = (text, 0o755)
        found[f"{_FOLDER}/finish"] = (_FINISH_TEXT, 0o755)
    return found


@dataclass(frozen=True)
class Looks:
    """What the host has of that: files with their modes, and whether they are at work; and what the helper's text is to be."""

    files: t.Mapping[str, tuple[str, int]] = field(default_factory=dict)
    at_work: bool = False
    helper: str = ""

    def fit(self, interval: float, on_systemd: bool) -> bool:
        """Whether all is there for a look every `interval` seconds, and at work."""
        return self.at_work and self.files == files(interval, on_systemd, self.helper)


def _at_work() -> bool:
    if booted():
        return os.path.lexists(_WANTED) and active(TIMER)
    folders = runit.watched()
    if not folders:  # nothing supervises: there is nothing to be done about it
        return True
    linked = any(os.path.islink(os.path.join(folder, _LINK)) for folder in folders)
    return linked and runit.is_supervised(_FOLDER)


def observe() -> Looks:
    """What the host has."""
    found = {}
    helper = program(_helper)
    for path in files(1.0, booted(), helper):
        text = read_text(path)
        if text is not None:
            found[path] = (text, os.stat(path).st_mode & 0o7777)
    return Looks(found, bool(found) and _at_work(), helper)


@dataclass(frozen=True)
class Install:
    """Step: have a look every `interval` seconds, from now on and after a boot."""

    interval: float

    def run(self) -> None:
        """Install what is missing.

        :raises IsolationError: the supervisor refused.
        """
        on_systemd, there = booted(), observe()
        for path, content in files(self.interval, on_systemd, program(_helper)).items():
            if there.files.get(path) != content:
                WriteFile(path, *content).run()
        if on_systemd:
            DAEMON_RELOAD.run()
            Systemctl("enable", (TIMER,)).run()
            Systemctl("restart", (TIMER,)).run()
            return
        folders = runit.watched()
        if not folders:
            return
        if not any(os.path.islink(os.path.join(folder, _LINK)) for folder in folders):
            os.symlink(_FOLDER, os.path.join(folders[0], _LINK))
        if not runit.wait(lambda: runit.is_supervised(_FOLDER), runit.SCAN):
            raise runit.RunitError(f"{_FOLDER}: no runsv has taken it up: {runit.no_supervisor()}")
        runit.control(_FOLDER, "t")  # what sleeps now, sleeps for as long as it was told before


@dataclass(frozen=True)
class Settle:
    """Step, after services went: looks are as often as those that are left ask for. Without any, nothing of it is left."""

    def run(self) -> None:
        """Look at the records as they are now: an element that failed is still checked.

        :raises IsolationError: the supervisor refused.
        """
        interval = interval_of(record.spec for record in load_records("service").values())
        there = observe()
        if interval is not None:
            if there.files and not there.fit(interval, booted()):
                Install(interval).run()
            return
        if not there.files and not os.path.isdir(_helper.STATES):
            return
        if booted():
            if os.path.exists(unit_file(TIMER)):
                Systemctl("disable", (TIMER,), ("--now",)).run()
                Systemctl("stop", (SERVICE,)).run()
                forget_failure(SERVICE)
            for unit in (TIMER, SERVICE):
                remove_file(unit_file(unit))
            DAEMON_RELOAD.run()
        elif os.path.isdir(_FOLDER):
            self._dismiss()
        RemoveFile(HELPER, os.path.dirname(_paths.LIBEXEC)).run()
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(_helper.STATES)

    @staticmethod
    def _dismiss() -> None:
        for folder in runit.watched():
            with contextlib.suppress(FileNotFoundError):
                os.unlink(os.path.join(folder, _LINK))
        for letter in "dx":
            with contextlib.suppress(runit.RunitError):
                runit.control(_FOLDER, letter)
        if not runit.wait(lambda: not runit.is_supervised(_FOLDER), 15.0):
            raise runit.RunitError(f"{_FOLDER}: its runsv was told to end, but has not")
        shutil.rmtree(_FOLDER)
        remove_empty_directories(os.path.dirname(_FOLDER), _paths.ETC)


def forget(name: str) -> None:
    """Forget the health of an instance that goes."""
    for path in (os.path.join(_helper.STATES, name + ".json"), again_mark(name), ill_mark(name)):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
