# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Device nodes of the host."""

from __future__ import annotations

import os
import stat
import typing as t
from dataclasses import dataclass


@dataclass(frozen=True)
class Device:
    """A device node: `kind` is c or b. `listed` tells whether it has an access list beside its mode, `closed` whether it lies on a file
    system that is mounted nodev.
    """

    kind: str
    major: int
    minor: int
    mode: int
    uid: int
    gid: int
    listed: bool = False
    closed: bool = False


def look_at(path: str) -> Device | None:
    """The device that a path of the host leads to; None if there is none."""
    try:
        found = os.stat(path)
        closed = bool(os.statvfs(path).f_flag & os.ST_NODEV)
    except OSError:
        return None
    kind = "c" if stat.S_ISCHR(found.st_mode) else "b" if stat.S_ISBLK(found.st_mode) else None
    if kind is None:
        return None
    try:
        listed = "system.posix_acl_access" in os.listxattr(path)
    except OSError:
        listed = False
    number = found.st_rdev
    mode = stat.S_IMODE(found.st_mode)
    return Device(kind, os.major(number), os.minor(number), mode, found.st_uid, found.st_gid, listed, closed)


def observe(paths: t.Iterable[str]) -> dict[str, Device]:
    """The devices that these paths lead to, without those that lead to none."""
    found = {path: look_at(path) for path in paths}
    return {path: device for path, device in found.items() if device is not None}
