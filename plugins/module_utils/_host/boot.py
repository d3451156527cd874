# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What brings kernel state back at boot: a short helper that runs the scripts of /etc/isolation/boot.d, once per boot."""

from __future__ import annotations

import os
import typing as t
from dataclasses import dataclass

from .. import _paths
from . import restore
from .files import RemoveFile, WriteFile, file_matches, remove_empty_directories, remove_file
from .process import SEARCH_PATH, run
from .systemd import DAEMON_RELOAD, Systemctl, active, booted, forget_failure, unit_file

FOLDER = _paths.ETC + "/boot.d"
HELPER = _paths.LIBEXEC + "/boot"
DONE = _paths.RUN + "/booted"
UNIT = "isolation-network.service"
_WANTED = _paths.UNITS + "/multi-user.target.wants/" + UNIT

_SCRIPT = f"""#!/bin/sh
# {_paths.MARKER}: runs the scripts of {FOLDER} in order, once per boot; `boot again` repeats them.
# A host without systemd has no units whose order brings links, tables and control groups back before a service starts:
# each service's run script calls this first, and whichever comes first does the work.
set -u
PATH={SEARCH_PATH}
again=${{1:-once}}
done_already() {{ [ "$again" != again ] && [ -e {DONE} ]; }}
done_already && exit 0
mkdir -p {_paths.RUN}
exec 9>{_paths.RUN}/boot.lock
flock 9
done_already && exit 0
failed=0
for script in {FOLDER}/*.sh; do
  [ -e "$script" ] || continue
  sh -e "$script" 9>&- || {{ echo "$script: failed" >&2; failed=1; }}
done
[ $failed = 0 ] || exit 1
: >{DONE}
"""

_UNIT_TEXT = f"""# {_paths.MARKER}
[Unit]
Description=Networks of isolated services: bridges and published ports
Documentation=file://{FOLDER}
After=nftables.service firewalld.service ufw.service systemd-sysctl.service network.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart={HELPER} again

[Install]
WantedBy=multi-user.target
"""


def script_path(name: str) -> str:
    """The path of a script that runs at boot, such as `10-bridge`."""
    return f"{FOLDER}/{name}.sh"


def _files() -> dict[str, tuple[str, int]]:
    found = {HELPER: (_SCRIPT, 0o755)}
    if booted():
        found[unit_file(UNIT)] = (_UNIT_TEXT, 0o644)
        found.update(restore.files())
    return found


def gaps() -> tuple[str, ...]:
    """What the host lacks to bring our state back at boot and after a flush: paths of files, and units that do not run; empty if all is there."""
    missing = [path for path, (text, mode) in _files().items() if not file_matches(path, text, mode)]
    if booted():
        missing += [path for path in (_WANTED, restore.WANTED) if not os.path.lexists(path)]
        if not missing and not active(restore.SOCKET):
            missing.append(f"{restore.SOCKET} (stopped)")
    return tuple(missing)


NAT_SCRIPT = script_path("20-nat")
"""The script that loads the table of published ports."""


@dataclass(frozen=True)
class EnsureBoot:
    """Step: have the boot helper, and what calls it. Taken after a layer's own files are written and applied.

    On a host without systemd, whose scripts have not run since it was started, they run now: all of them, so that the
    mark that they have run is true.
    """

    def run(self) -> None:
        """Install what is missing.

        :raises ToolError: systemd refused, or a script failed.
        """
        missing = gaps()
        for path, (text, mode) in _files().items():
            if path in missing:
                WriteFile(path, text, mode).run()
        if booted():
            if missing:
                DAEMON_RELOAD.run()
                Systemctl("enable", (UNIT,)).run()
                Systemctl("enable", (restore.SOCKET,), ("--now",)).run()
        elif not os.path.exists(DONE):
            run([HELPER])


@dataclass(frozen=True)
class TidyBoot:
    """Step: when no script is left and no service needs the helper, remove it and what calls it."""

    def run(self) -> None:
        """Remove them if they are of no more use.

        :raises ToolError: systemd refused.
        """
        services = os.path.join(_paths.ETC, "service")
        if _entries(FOLDER, ".sh") or (not booted() and _entries(services, ".json")):
            return
        if booted() and os.path.exists(unit_file(UNIT)):
            if os.path.exists(unit_file(restore.SOCKET)):
                Systemctl("disable", (restore.SOCKET,), ("--now",)).run()
                Systemctl("stop", (restore.SERVICE,)).run()
                forget_failure(restore.SERVICE)
            Systemctl("disable", (UNIT,), ("--now",)).run()
            for unit in (UNIT, restore.SOCKET, restore.SERVICE):
                remove_file(unit_file(unit))
            DAEMON_RELOAD.run()
            RemoveFile(restore.HELPER, os.path.dirname(_paths.LIBEXEC)).run()
        RemoveFile(HELPER, os.path.dirname(_paths.LIBEXEC)).run()
        for path in (DONE, _paths.RUN + "/boot.lock"):
            if os.path.exists(path):
                os.unlink(path)
        if os.path.isdir(FOLDER):
            remove_empty_directories(FOLDER, _paths.ETC)


def _entries(folder: str, suffix: str) -> t.Sequence[str]:
    try:
        return [entry for entry in os.listdir(folder) if entry.endswith(suffix)]
    except (FileNotFoundError, NotADirectoryError):
        return []
