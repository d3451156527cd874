# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The host's time zones (tzfile(5))."""

from __future__ import annotations

import os
import stat
import typing as t

FOLDER = "/usr/share/zoneinfo"


def path(name: str) -> str:
    """The file of a time zone."""
    return f"{FOLDER}/{name}"


def _is_zone(name: str) -> bool:
    try:
        with open(path(name), "rb") as stream:
            return stat.S_ISREG(os.fstat(stream.fileno()).st_mode) and stream.read(4) == b"TZif"
    except OSError:
        return False


def present(names: t.Iterable[str]) -> frozenset[str]:
    """Those of the names that the host has a time zone of."""
    return frozenset(name for name in names if _is_zone(name))
