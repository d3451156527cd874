# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Processes, as /proc tells of them (proc(5))."""

from __future__ import annotations

import contextlib
import functools
import os
import typing as t

from .files import read_text

NAMESPACES = ("pid", "mnt", "net", "uts", "ipc", "cgroup", "user", "time")


def status(pid: int) -> dict[str, str]:
    """/proc/PID/status by its keys; empty if there is no such process."""
    try:
        text = read_text(f"/proc/{pid}/status") or ""
    except ProcessLookupError:
        return {}
    return {key: value.strip() for key, _colon, value in (line.partition(":") for line in text.splitlines())}


def is_alive(pid: int) -> bool:
    """Whether there is such a process, and it has not ended."""
    return status(pid).get("State", "Z")[:1] not in ("Z", "X")


def _after_boot(pid: int) -> float | None:
    """Seconds from the boot to the start of a process; None if it is gone."""
    try:
        text = read_text(f"/proc/{pid}/stat")
    except ProcessLookupError:
        return None
    return int(text.rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK") if text else None


def age(pid: int) -> float | None:
    """Seconds since a process was started; None if it is gone."""
    begin = _after_boot(pid)
    return None if begin is None else float((read_text("/proc/uptime") or "0").split()[0]) - begin


@functools.lru_cache(maxsize=1)
def _boot() -> int:
    """When the host was booted, in seconds since 1970 (proc(5), /proc/stat)."""
    lines = (line.split() for line in (read_text("/proc/stat") or "").splitlines())
    return next((int(words[1]) for words in lines if words[:1] == ["btime"]), 0)


def started(pid: int) -> float | None:
    """When a process was started, in seconds since 1970; None if it is gone."""
    begin = _after_boot(pid)
    return None if begin is None else _boot() + begin


def namespaces(pid: int) -> dict[str, int]:
    """The namespaces of a process by their inode numbers (namespaces(7))."""
    found = {}
    for kind in NAMESPACES:
        with contextlib.suppress(OSError, ValueError):
            found[kind] = int(os.readlink(f"/proc/{pid}/ns/{kind}").partition("[")[2].rstrip("]"))
    return found


def control_groups(pid: int) -> tuple[str, ...]:
    """The control groups of a process, one for each hierarchy, as paths."""
    try:
        lines = (read_text(f"/proc/{pid}/cgroup") or "").splitlines()
    except ProcessLookupError:
        return ()
    return tuple(line.split(":", 2)[2] for line in lines if line.count(":") >= 2)


def read_pid(path: str) -> int | None:
    """The number in a pid file; None if there is none."""
    text = (read_text(path) or "").strip()
    return int(text) if text.isdigit() else None


def own_processes(command: str) -> t.Iterator[tuple[int, list[str]]]:
    """Processes of a command name in our own mount namespace, with their arguments."""
    here = os.readlink("/proc/self/ns/mnt")
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        with contextlib.suppress(OSError):
            if (read_text(f"/proc/{entry}/comm") or "").strip() != command:
                continue
            if os.readlink(f"/proc/{entry}/ns/mnt") == here:
                yield int(entry), (read_text(f"/proc/{entry}/cmdline") or "").split("\0")
