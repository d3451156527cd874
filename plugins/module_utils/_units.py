# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Sizes, durations and CPU shares, as people write them, in one canonical form."""

from __future__ import annotations

import re
from decimal import Decimal

from ._errors import InvalidOption

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGTP]?)(?:i?B)?", re.IGNORECASE)
_TIME = re.compile(r"(\d+(?:\.\d+)?)\s*(us|ms|s|m|min|h|d)?")
_SCALE = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4, "P": 5}
_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}


def parse_size(value: str, option: str) -> int:
    """Bytes of a size such as `512M` or `2G` (base 1024, as in systemd.resource-control(5)); a bare number is bytes."""
    match = _SIZE.fullmatch(value.strip())
    if not match:
        raise InvalidOption(f"{option}: {value!r} is not a size: write a number with K, M, G or T, such as 512M")
    return int(Decimal(match.group(1)) * 1024 ** _SCALE[match.group(2).upper()])


def parse_seconds(value: str, option: str) -> float:
    """Seconds of a duration such as `100ms`, `30s` or `5m`; a bare number is seconds."""
    match = _TIME.fullmatch(value.strip())
    if not match:
        raise InvalidOption(f"{option}: {value!r} is not a duration: write a number with ms, s, m or h, such as 30s")
    return float(match.group(1)) * _SECONDS[match.group(2) or "s"]


def parse_cpu(value: str, option: str) -> float:
    """A share of CPU time, in CPUs, of `150%` or `1.5`."""
    text = value.strip()
    try:
        share = float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError:
        share = 0.0
    if not 0 < share < 1e6:
        raise InvalidOption(
            f"{option}: {value!r} is not a share of CPU time: write a percentage such as 50%, or CPUs such as 1.5"
        )
    return share


def format_size(value: int) -> str:
    """The shortest exact form of a number of bytes: `64M`, `1536K`, `100`."""
    for suffix in ("P", "T", "G", "M", "K"):
        factor: int = 1024 ** _SCALE[suffix]
        if value and value % factor == 0:
            return f"{value // factor}{suffix}"
    return str(value)
