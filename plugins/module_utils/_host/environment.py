# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Files of the host that hold environment variables."""

from __future__ import annotations

import os
import stat
import typing as t
from dataclasses import dataclass, field

MOST = 1 << 20
"""Bytes of a file: the kernel starts no program with much more (execve(2))."""


@dataclass(frozen=True)
class EnvironmentFile:
    """The content of a file; where it can't be read, `error` says why."""

    content: bytes = field(default=b"", repr=False)
    error: str | None = None


def _read(path: str) -> EnvironmentFile:
    try:
        # A pipe would be waited for.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        return EnvironmentFile(error=error.strerror)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        return EnvironmentFile(error="not a regular file")
    with os.fdopen(descriptor, "rb") as stream:
        content = stream.read(MOST + 1)
    return EnvironmentFile(content) if len(content) <= MOST else EnvironmentFile(error="longer than 1 MiB")


def read(paths: t.Iterable[str]) -> dict[str, EnvironmentFile]:
    """Each of the files."""
    return {path: _read(path) for path in paths}
