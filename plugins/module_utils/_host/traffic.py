# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What has gone over a service's link, as the host's end counts it (the kernel's sysfs-class-net-statistics)."""

from __future__ import annotations

import os

from .files import read_text

_MIRRORED = {"rx": "tx", "tx": "rx"}
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
