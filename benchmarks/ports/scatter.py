# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which ports are published."""

from __future__ import annotations


def scattered(number: int) -> list[int]:
    """So many ports between 10000 and 60000, evenly apart, so that no two make a range."""
    step = 50000 // max(number, 2)
    return [10000 + step * index for index in range(number)]
