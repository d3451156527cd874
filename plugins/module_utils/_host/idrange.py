# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which user and group ids the host has given away already."""

from __future__ import annotations

from .. import _idrange
from .files import read_text
from .records import Record, load_records


def _subordinate(path: str) -> list[tuple[int, int]]:
    """Ranges of subuid(5) or subgid(5)."""
    ranges = []
    for line in (read_text(path) or "").splitlines():
        fields = line.split(":")
        if len(fields) == 3 and fields[1].isdigit() and fields[2].isdigit():
            ranges.append((int(fields[1]), int(fields[2])))
    return ranges


def _accounts(path: str) -> list[tuple[int, int]]:
    """Single ids of passwd(5) or group(5) that lie where our ranges do."""
    ids = []
    for line in (read_text(path) or "").splitlines():
        fields = line.split(":")
        if len(fields) > 2 and fields[2].isdigit() and int(fields[2]) >= _idrange.FIRST:
            ids.append((int(fields[2]), 1))
    return ids


def foreign_ranges() -> tuple[tuple[int, int], ...]:
    """Ranges (first id, number of ids) that belong to the host's users."""
    return tuple(
        _subordinate("/etc/subuid") + _subordinate("/etc/subgid") + _accounts("/etc/passwd") + _accounts("/etc/group")
    )


def own_ranges() -> dict[str, Record]:
    """Records of services' ranges by service; `assigned` holds `id_base`."""
    return load_records(_idrange.LAYER)
