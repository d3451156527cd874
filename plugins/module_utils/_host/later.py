# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the host does by itself after a while, whatever becomes of this process: a timer of systemd calls it, or else a process of nobody."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import typing as t

from . import systemd
from .files import read_text, remove_file, write_atomic
from .process import run

_WAIT = 'sleep "$1" & trap "kill $!; exit" TERM; wait $!; shift; exec "$@"'


def call(name: str, pid_file: str, seconds: float, command: t.Sequence[str]) -> None:
    """Have a command called. `name` is that of the timer, and `pid_file` where the number of a process is kept that waits instead.

    :raises ToolError: nothing can wait.
    :raises OSError: likewise.
    """
    if systemd.booted():
        when = [f"--on-active={seconds:g}s", "--timer-property=AccuracySec=100ms"]
        run(["systemd-run", "--quiet", "--collect", f"--unit={name}", *when, *command])
        return
    # A child of nobody: no supervisor of such a host has timers.
    waiting = subprocess.Popen(
        ["/bin/sh", "-c", _WAIT, "sh", f"{seconds:g}", *command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        start_new_session=True,
    )
    write_atomic(pid_file, f"{waiting.pid}\n")


def cancel(name: str, pid_file: str, token: str) -> None:
    """End what waits, if it is still there; `token` is a word of its command that no other one has."""
    if systemd.booted():
        run(["systemctl", "stop", "--", f"{name}.timer"], check=False)
        return
    pid = (read_text(pid_file) or "").strip()
    if pid.isdigit() and f"\0{token}\0" in (read_text(f"/proc/{pid}/cmdline") or ""):
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGTERM)
    remove_file(pid_file)
