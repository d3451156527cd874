# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How a new release comes into service on one host. Pure.

Note: this is private to the collection, and may change at any time.
"""

from __future__ import annotations

import typing as t

Data = t.Dict[str, t.Any]

SURGE, RECREATE = "surge", "recreate"


def alone(service: Data) -> str | None:
    """Why two instances of a service can't run at once; None if they can."""
    for network in service.get("networks") or []:
        address = network.get("address") or ["auto"]
        if address not in ("auto", ["auto"]) or network.get("mac"):
            return f"its address on {network.get('bridge')} is given, and two instances can't both have it"
    network = str((service.get("namespaces") or {}).get("network") or "private")
    if network != "private":
        return f"its network namespace is {network}, where two instances would want the same ports"
    return None


def _writes(service: Data) -> bool:
    """Whether two instances would write to one volume, which a database does not survive."""
    return any(mount.get("type") == "volume" and not mount.get("read_only") for mount in service.get("mounts") or [])


def strategy(service: Data) -> str:
    """`surge` starts the new instance beside the old one, `recreate` stops that first. What publishes ports is surged, unless two of
    it can't run at once or would write to the same volume.
    """
    given = service.get("strategy")
    if given:
        return str(given)
    published = service.get("ports") or service.get("service_address")
    return SURGE if published and not _writes(service) and alone(service) is None else RECREATE


def wrong(service: Data) -> str | None:
    """What is wrong with the strategy that a service asks for; None if nothing."""
    given = service.get("strategy")
    if given not in (None, SURGE, RECREATE):
        return f"{given!r} is not known: give {SURGE} or {RECREATE}"
    reason = alone(service) if given == SURGE else None
    return f"surge can't be: {reason}: give recreate, or leave that out" if reason else None
