# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the back-off helper remembers of a service: how often it has ended, and when it is started again."""

from __future__ import annotations

import time
from dataclasses import dataclass

from . import oci
from .files import read_text


@dataclass(frozen=True)
class Ends:
    """The ends of a service since it was last told to start: how many, seconds since the last one, and until the next start.

    `status` is the last exit status, or the name of the signal that ended it; None where nobody knows.
    """

    count: int = 0
    since: float = 0.0
    wait: float = 0.0
    status: str | None = None


def parse(text: str, now: float) -> Ends:
    """What the helper's file says: the next delay, the begin of the last run, the number of ends, the time and the status of the last one. Times are
    milliseconds since the boot, as `now` is in seconds.
    """
    words = text.split()
    if len(words) < 4 or not all(word.isdigit() for word in words[:4]):
        return Ends()
    delay, _began, count, ended = (int(word) for word in words[:4])
    since = max(0.0, now - ended / 1000)
    status = words[4] if len(words) > 4 and words[4] != "-" else None
    return Ends(count, since, max(0.0, delay / 1000 - since), status) if count else Ends()


def read(name: str) -> Ends:
    """The ends of an instance."""
    return parse(read_text(oci.delay_file(name)) or "", time.clock_gettime(time.CLOCK_BOOTTIME))
