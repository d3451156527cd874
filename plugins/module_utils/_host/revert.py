# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What takes a change of published ports back unless somebody confirms it: a helper on the host, and what calls it when the time is over.

It is a confirmed commit (RFC 6241, 8.4): whoever has made the change may have cut itself off by it, or have died.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import typing as t
from dataclasses import dataclass

from .. import _paths
from . import boot, later, libexec
from .files import read_text, remove_file, write_atomic
from .process import SEARCH_PATH, ToolError
from .records import Record, SaveRecord

LAYER = "unconfirmed"
FOLDER = f"{_paths.ETC}/{LAYER}"
HELPER = libexec.path("revert")
SCRIPT = boot.script_path("05-revert")
TABLE = f"{FOLDER}/nat.nft"
"""A script for nft that leads back."""
GONE = f"{FOLDER}/gone"
"""Is there if no table was there before."""
_TOKEN = f"{FOLDER}/token"
_PID = f"{_paths.RUN}/revert.pid"
_BOOT_ID = "/proc/sys/kernel/random/boot_id"

_SCRIPT_TEXT = f"#!/bin/sh\n# {_paths.MARKER}\nexec {HELPER}\n"

_TEXT = f"""#!/bin/sh
# {_paths.MARKER}: leads published ports back to where they led before a change that nobody has confirmed.
#   revert TOKEN   the time is over
#   revert         the host has been started since
set -eu
PATH={SEARCH_PATH}
cd {FOLDER} 2>/dev/null || exit 0
if [ $# = 1 ]; then
  mkdir -p {_paths.RUN}
  exec 9>>{_paths.LOCK}
  flock 9
fi
[ -e token ] || exit 0
read -r token started <token
if [ $# = 1 ]; then
  [ "$token" = "$1" ] || exit 0
else
  read -r now <{_BOOT_ID}
  [ "$started" != "$now" ] || exit 0
fi
# The token goes last: what is interrupted is done again when the host is started.
if [ -e gone ]; then
  rm -f {_paths.NAT_TABLE} {boot.NAT_SCRIPT}
else
  cp nat.nft {_paths.NAT_TABLE}.new
  chmod 644 {_paths.NAT_TABLE}.new
  mv {_paths.NAT_TABLE}.new {_paths.NAT_TABLE}
fi
owners=
for record in records/*.json; do
  kept={_paths.ETC}/portmap/${{record##*/}}
  if [ -s "$record" ]; then
    mkdir -p {_paths.ETC}/portmap
    cp -p "$record" "$kept.new"
    mv "$kept.new" "$kept"
  else
    rm -f "$kept"
  fi
  record=${{record##*/}}
  owners="$owners ${{record%.json}}"
done
nft -f nat.nft
sync
rm -f token
message="published ports of$owners lead where they led before, since their change was not confirmed in time"
echo "$message" >&2
[ -e /run/systemd/system ] || ! command -v logger >/dev/null || logger -t isolation -p daemon.warning "$message" || :
cd /
rm -rf {FOLDER} {SCRIPT} {_PID} {HELPER}
"""


def _timer(token: str) -> str:
    return f"isolation-revert-{token}"


def record_path(name: str) -> str:
    """Where the record that an owner is to have again lies; an empty file stands for none."""
    return f"{FOLDER}/records/{name}.json"


def _token() -> str | None:
    words = (read_text(_TOKEN) or "").split()
    return words[0] if words else None


@dataclass(frozen=True)
class Arm:
    """Step: before a change, have it taken back after `timeout` seconds. With None the time that was set before goes on.

    `files` are what leads back, by path; `record` says of whom.
    """

    record: Record
    files: tuple[tuple[str, str], ...]
    timeout: float | None

    def run(self) -> None:
        """Write down what leads back, and let the time begin.

        :raises ToolError: nothing can wait; nothing is left.
        """
        earlier = _token()
        if self.timeout is None and earlier is None:  # one that was interrupted before it had changed anything
            Disarm().run()
            return
        for path in (*self._stale(), GONE):
            if path not in dict(self.files):
                remove_file(path)
        for path, text in self.files:
            write_atomic(path, text, 0o600)
        SaveRecord(self.record).run()
        write_atomic(HELPER, _TEXT, 0o755)
        write_atomic(SCRIPT, _SCRIPT_TEXT)
        if self.timeout is None:
            return
        token = os.urandom(6).hex()
        write_atomic(_TOKEN, f"{token} {(read_text(_BOOT_ID) or '').strip()}\n", 0o600)
        if earlier is not None:
            later.cancel(_timer(earlier), _PID, earlier)
        try:
            later.call(_timer(token), _PID, self.timeout, (HELPER, token))
        except (ToolError, OSError):
            Disarm().run()
            raise

    def _stale(self) -> t.Iterable[str]:
        """Records of owners that are no more to be led back."""
        folder = os.path.dirname(record_path(""))
        with contextlib.suppress(FileNotFoundError):
            return [os.path.join(folder, entry) for entry in os.listdir(folder)]
        return []


@dataclass(frozen=True)
class Disarm:
    """Step: keep what was changed."""

    def run(self) -> None:
        """Forget what leads back, and the time."""
        token = _token()
        remove_file(_TOKEN)
        if token is not None:
            later.cancel(_timer(token), _PID, token)
        shutil.rmtree(FOLDER, ignore_errors=True)
        for path in (SCRIPT, HELPER):
            remove_file(path)
