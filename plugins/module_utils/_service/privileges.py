# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a service's processes may do and use: capabilities(7), getrlimit(2). Pure."""

from __future__ import annotations

import typing as t

from .._capabilities import CAPABILITIES
from .._errors import InvalidOption

_RLIMIT_NAMES = """
AS CORE CPU DATA FSIZE LOCKS MEMLOCK MSGQUEUE NICE NOFILE NPROC RSS RTPRIO RTTIME SIGPENDING STACK
"""

_CAPABILITIES = frozenset(f"CAP_{name.upper()}" for name in CAPABILITIES)
_RLIMITS = frozenset("RLIMIT_" + name for name in _RLIMIT_NAMES.split())


def parse_capabilities(given: t.Sequence[str], name: str) -> tuple[str, ...]:
    """Capabilities by their names, in order.

    :raises InvalidOption: there is none of that name.
    """
    found = set()
    for item in given:
        full = item.upper() if item.upper().startswith("CAP_") else "CAP_" + item.upper()
        if full not in _CAPABILITIES:
            raise InvalidOption(f"{name}: capabilities: {item!r} is none (capabilities(7))")
        found.add(full)
    return tuple(sorted(found))


def _limit(text: str, option: str) -> int:
    if text in ("unlimited", "infinity", "-1"):
        return 2**64 - 1
    if not text.isdigit():
        raise InvalidOption(f"{option}: {text!r} is neither a number nor unlimited")
    return int(text)


def parse_rlimits(given: t.Mapping[str, t.Any], name: str) -> tuple[tuple[str, int, int], ...]:
    """Limits of processes: name, soft and hard limit.

    :raises InvalidOption: there is none of that name, or the limit can't be meant.
    """
    found = []
    for key, value in sorted(given.items()):
        option = f"{name}: rlimits: {key}"
        full = key.upper() if key.upper().startswith("RLIMIT_") else "RLIMIT_" + key.upper()
        if full not in _RLIMITS:
            raise InvalidOption(f"{option}: no such limit (getrlimit(2))")
        soft, _colon, hard = str(value).partition(":")
        low, high = _limit(soft, option), _limit(hard or soft, option)
        if low > high:
            raise InvalidOption(f"{option}: the soft limit is above the hard one")
        found.append((full, low, high))
    return tuple(found)
