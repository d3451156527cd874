# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""runit's supervision, by the files that runsv(8) keeps in a service's directory, and runsvdir(8)'s watched directory."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
import struct
import time
import typing as t
from dataclasses import dataclass

from .. import _paths
from .._errors import IsolationError
from .files import make_directories, remove_empty_directories
from .proc import own_processes

SERVICES = _paths.ETC + "/runit/sv"
"""Service directories; each is linked from a directory that runsvdir watches."""

LOGS = "/var/log/isolation"
RELOAD = "control/h"
"""What runsv(8) runs when it is told to hang up, within a service directory."""
OUTPUT = _paths.RUN + "/output"
"""Pipes from services to their loggers: nobody but root gets in here."""

_KNOWN = ("/etc/service", "/var/service", "/service", _paths.ETC + "/runit/enabled")
SCAN = 12.0
"""Seconds that runsvdir may take to find a new service: it looks every five, if nobody wakes it."""
_NUDGE = 0.5
"""Seconds after which it is woken again."""
_LONG_AGO = 1_000_000


class RunitError(IsolationError):
    """runit's supervision is not there, or does not follow."""


@dataclass(frozen=True)
class Status:
    """What runsv says: the process that it supervises, whether it is wanted up, and its state (down, run or finish)."""

    pid: int
    want_up: bool
    state: str


def directory(name: str) -> str:
    """The service directory of an instance."""
    return os.path.join(SERVICES, name)


def log_directory(name: str) -> str:
    """Where svlogd keeps the output of an instance."""
    return os.path.join(LOGS, name)


def output_pipe(name: str) -> str:
    """The pipe that an instance writes to."""
    return os.path.join(OUTPUT, name)


def status_file(name: str) -> str:
    """Where the exit status of an instance is left, if it decides whether there is a restart."""
    return os.path.join(OUTPUT, name + ".status")


def watched() -> tuple[str, ...]:
    """The directories that a runsvdir of this host watches, the usual ones first."""
    found = []
    for _pid, arguments in own_processes("runsvdir"):
        paths = [argument for argument in arguments[1:] if argument.startswith("/")]
        if paths:
            found.append(paths[0].rstrip("/"))
    return tuple(sorted(set(found), key=lambda path: (path not in _KNOWN, path)))


def links(name: str, among: t.Iterable[str]) -> tuple[str, ...]:
    """The links to the service directory, in the usual directories and in `among`."""
    found: list[str] = []
    for folder in dict.fromkeys((*among, *_KNOWN)):
        link = os.path.join(folder, "isolation-" + name)
        with contextlib.suppress(OSError):
            if os.readlink(link) == directory(name) and os.path.realpath(folder) not in map(
                os.path.realpath, map(os.path.dirname, found)
            ):
                found.append(link)
    return tuple(found)


def is_supervised(path: str) -> bool:
    """Whether a runsv looks after a service directory: it holds the reading end of supervise/ok."""
    try:
        os.close(os.open(os.path.join(path, "supervise/ok"), os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC))
    except OSError as error:
        if error.errno in (errno.ENXIO, errno.ENOENT, errno.ENOTDIR):
            return False
        raise
    return True


def status(name: str) -> Status | None:
    """What runsv says of an instance; None if no runsv looks after it. supervise/status is 20 bytes (runit's own format)."""
    path = directory(name)
    if not is_supervised(path):
        return None
    try:
        with open(os.path.join(path, "supervise/status"), "rb") as stream:
            content = stream.read(20)
    except FileNotFoundError:
        return None
    if len(content) < 20:
        return None
    (pid,) = struct.unpack_from("<I", content, 12)
    state = {0: "down", 1: "run", 2: "finish"}.get(content[19], "down")
    return Status(pid, content[17:18] == b"u", state)


def control(path: str, letter: str) -> None:
    """Tell a runsv something by supervise/control (runsv(8), CONTROL).

    :raises RunitError: there is no runsv.
    """
    try:
        descriptor = os.open(os.path.join(path, "supervise/control"), os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise RunitError(f"{path}: no runsv looks after it ({error.strerror}): {no_supervisor()}") from error
    try:
        os.write(descriptor, letter.encode())
    finally:
        os.close(descriptor)


def no_supervisor() -> str:
    """The remedy where nothing supervises."""
    return (
        "a runsvdir must watch one of "
        + ", ".join(_KNOWN)
        + ": apply the role daemonless.isolation.isolation_host, or start runsvdir"
    )


def wait(condition: t.Callable[[], bool], seconds: float) -> bool:
    """Poll until a condition holds, for some seconds; says whether it does."""
    deadline = time.monotonic() + seconds
    pause = 0.005
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(pause)
        pause = min(pause * 1.5, 0.1)
    return True


def look(folder: str) -> None:
    """Have the runsvdir of a watched directory look at it now, not when its five seconds are over.

    It rescans the directory when that has another time of change, to the second, and waits a second first if it is the present one, in which more
    may change: a time that has passed long ago, and that it has not seen yet, is both. One with a third argument is woken by what is written to its
    log, a pipe that is its standard error. A dot is what it writes there itself from time to time (runsvdir(8), log). Others can't be woken.
    """
    with contextlib.suppress(OSError):
        os.utime(folder, (time.time(), time.time() - _LONG_AGO - secrets.randbelow(_LONG_AGO)))
    for pid, arguments in own_processes("runsvdir"):
        paths = [place for place, argument in enumerate(arguments) if argument.rstrip("/") == folder]
        if not paths or not any(arguments[paths[0] + 1 :]):
            continue
        with contextlib.suppress(OSError):
            descriptor = os.open(f"/proc/{pid}/fd/2", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                os.write(descriptor, b".")
            finally:
                os.close(descriptor)


def await_supervision(name: str) -> None:
    """Wait until runsvdir has found a service. What wakes it within a second of its last look is in vain, and done again.

    :raises RunitError: it has not in time.
    """
    path = directory(name)
    deadline = time.monotonic() + SCAN
    while not wait(lambda: is_supervised(path), _NUDGE):
        if time.monotonic() >= deadline:
            raise RunitError(f"{path}: no runsv has taken it up within {SCAN:g} s: {no_supervisor()}")
        for folder in watched():
            look(folder)


def bring_up(name: str) -> None:
    """Ask for a service to be started, now and after it has ended.

    :raises RunitError: there is no runsv.
    """
    await_supervision(name)
    control(directory(name), "u")


def bring_down(name: str, timeout: float) -> None:
    """Stop a service: ask it, and after `timeout` seconds end it.

    :raises RunitError: it can't be ended.
    """
    path = directory(name)
    if not is_supervised(path):
        return

    def is_down() -> bool:
        now = status(name)
        return now is None or (now.state == "down" and not now.want_up)

    control(path, "d")
    if wait(is_down, timeout):
        return
    control(path, "k")
    if not wait(is_down, 15.0):
        raise RunitError(f"{path}: it was killed, but runsv still says that it runs: see {log_directory(name)}/current")


def link_service(name: str, folder: str) -> None:
    """Let a runsvdir find a service."""
    target = os.path.join(folder, "isolation-" + name)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(target)
    os.symlink(directory(name), target)


def dismiss(name: str, found: t.Iterable[str]) -> None:
    """Remove the links of a stopped service, and end its runsv.

    :raises RunitError: runsv does not end.
    """
    for link in found:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(link)
    path = directory(name)
    for part in (path, os.path.join(path, "log")):
        with contextlib.suppress(RunitError):
            control(part, "x")
    if not wait(lambda: not is_supervised(path) and not is_supervised(os.path.join(path, "log")), 15.0):
        raise RunitError(f"{path}: its runsv was told to end, but has not")


def forget(name: str) -> None:
    """Remove the service directory and the logs of a service that no runsv looks after."""
    for path, top in ((directory(name), _paths.ETC), (log_directory(name), LOGS)):
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(path)
        with contextlib.suppress(FileNotFoundError):
            remove_empty_directories(os.path.dirname(path), top)


def is_down_marked(name: str) -> bool:
    """Whether a service stays down when its runsv is started, as at boot."""
    return os.path.lexists(os.path.join(directory(name), "down"))


def mark_down(name: str, down: bool) -> None:
    """Let a service stay down at boot, or not."""
    path = os.path.join(directory(name), "down")
    if down:
        make_directories(directory(name))
        with open(path, "w", encoding="ascii"):
            pass
    else:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
