# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Several instances of one release of a service. Pure.

The first is called `web-3fa91c2`, as if it were alone, the others `web-3fa91c2-2` and so on. So a service that gets more replicas keeps the
one that runs.

Note: this is private to the collection, and may change at any time.
"""

from __future__ import annotations

import re
import typing as t

from . import strategies

Data = t.Dict[str, t.Any]

MOST = 99
"""Replicas of a service on one host."""

_INSTANCE = re.compile(r"(?P<service>.+)-(?P<release>[0-9a-f]{7})(?:-(?P<number>[1-9][0-9]?))?")


def count(service: Data) -> int:
    """How many instances of a service serve at the same time."""
    return int(service.get("replicas") or 1)


def instance(service: str, release: str, number: int) -> str:
    """The name of a replica; the first is number 1."""
    return f"{service}-{release}" + (f"-{number}" if number > 1 else "")


def parts(name: str) -> tuple[str, str, int] | None:
    """Service, release and number of an instance; None if the name is not one that the role gives."""
    found = _INSTANCE.fullmatch(name)
    return (found["service"], found["release"], int(found["number"] or 1)) if found else None


def release_of(entry: Data) -> str:
    """The release of an instance that host_info told of."""
    found = parts(str(entry["name"]))
    return found[1] if found else str(entry["name"])


def number_of(entry: Data) -> int:
    """The number of an instance that host_info told of."""
    found = parts(str(entry["name"]))
    return found[2] if found else 1


def wrong(service: Data) -> str | None:
    """What is wrong with the number of replicas that a service asks for; None if nothing."""
    given = service.get("replicas")
    if given is None or given == 1:
        return None
    if isinstance(given, bool) or not isinstance(given, int) or not 1 <= given <= MOST:
        return f"{given!r} is not a number from 1 to {MOST}"
    reason = strategies.alone(service)
    if reason:
        return f"there can't be {given} of it: {reason}: leave that out"
    if service.get("service_address"):
        return "a service_address leads to one instance only: leave it out, siblings reach all of them by the service's name"
    if service.get("ports") and strategies.strategy(service) != strategies.SURGE:
        return (
            "behind a port, all of them are replaced at once, beside the earlier ones: give strategy: surge, if two releases may be at work on its"
            " volumes at the same time, or no ports"
        )
    return None
