# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""User and group ids for services: disjoint ranges, assigned once by service and kept in a record."""

from __future__ import annotations

import hashlib
import typing as t

from ._errors import IsolationError

LAYER = "id_range"
SIZE = 65536
FIRST = 16 * SIZE
LAST = 32767 * SIZE
"""Ranges lie between 1,048,576 and 2,147,418,112: above users of hosts and below what 32-bit signed ids can hold."""


def overlaps(base: int, ranges: t.Iterable[tuple[int, int]]) -> bool:
    """Whether the range that begins with `base` shares an id with one of `ranges` (first id, number of ids)."""
    return any(base < first + count and first < base + SIZE for first, count in ranges)


def assign(service: str, taken: t.Iterable[tuple[int, int]]) -> int:
    """The first id of a free range for a service: a hash of its name, then the next free one.

    `taken` are ranges (first id, number of ids) that are in use, by records, /etc/subuid and /etc/passwd.

    :raises IsolationError: every range is taken.
    """
    occupied = list(taken)
    slots = (LAST - FIRST) // SIZE + 1
    start = int.from_bytes(hashlib.sha256(service.encode()).digest()[:8], "big") % slots
    for offset in range(slots):
        base = FIRST + ((start + offset) % slots) * SIZE
        if not overlaps(base, occupied):
            return base
    raise IsolationError(f"service {service}: no free range of {SIZE} ids is left: remove services, or set id_base")
