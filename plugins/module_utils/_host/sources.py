# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the host has of the sources of bind mounts."""

from __future__ import annotations

import os
import typing as t

from .helpers import sources as _helper
from .mounts import find, mounts

loose_links = _helper.loose_links


def receiving(paths: t.Collection[str]) -> frozenset[str]:
    """Those of the paths that lie on a mount of which later mounts can be passed on."""
    if not paths:
        return frozenset()
    there = mounts()
    found = set()
    for path in paths:
        above = os.path.realpath(path)
        mount = find(above, there)
        while mount is None and above != "/":
            above = os.path.dirname(above)
            mount = find(above, there)
        if mount is not None and mount.receives:
            found.add(path)
    return frozenset(found)
