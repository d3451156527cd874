# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A service's link by the host's end: what has gone over it (the kernel's sysfs-class-net-statistics), and where it leads."""

from __future__ import annotations

import os

from .files import read_text

_MIRRORED = {"rx": "tx", "tx": "rx"}
_IFF_UP = 1
_COUNTERS = ("bytes", "packets", "dropped", "errors")


def of_service(link: str) -> dict[str, int] | None:
    """Counters as the service's end has them: what it receives is what the host's end sends. None if there is no such link."""
    folder = f"/sys/class/net/{link}/statistics"
    if not os.path.isdir(folder):
        return None
    found = {}
    for side, host_side in _MIRRORED.items():
        for counter in _COUNTERS:
            text = (read_text(f"{folder}/{host_side}_{counter}") or "").strip()
            if text.isdigit():
                found[f"{side}_{counter}"] = int(text)
    return found or None


def astray(link: str, bridge: str) -> str | None:
    """What is wrong with the host's end of a service's link; None if it is up, and a port of the bridge."""
    folder = f"/sys/class/net/{link}"
    if not os.path.isdir(folder):
        return "gone"
    master = os.path.join(folder, "master")
    found = os.path.basename(os.readlink(master)) if os.path.islink(master) else None
    if found != bridge:
        return f"on {found or 'no bridge'}"
    flags = (read_text(f"{folder}/flags") or "0").strip()
    return None if int(flags, 16) & _IFF_UP else "down"
