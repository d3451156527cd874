# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What unpacking may take, and what it has made: values for those that plan it, who need none of what does it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """What unpacking may take: bytes of all files together, and entries."""

    size: int
    entries: int


@dataclass(frozen=True)
class Unpacked:
    """What unpacking has made. `devices` were left out, `xattrs_lost` could not be stored."""

    size: int
    entries: int
    devices: int
    xattrs_lost: int
