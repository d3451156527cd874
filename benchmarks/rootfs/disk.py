# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How much a folder of the disk holds, and what of it was changed."""

from __future__ import annotations

from world import World


def used(world: World, folder: str) -> int:
    """The bytes that a folder takes on its file system, without what is mounted below it (du -x)."""
    # What a journal has not allocated yet counts as nothing.
    return int(world.sh(f"sync -f {folder}; du -sx --block-size=1 {folder} | cut -f 1"))


def mark(world: World) -> str:
    """The time now, as find(1) takes it; whatever is changed from now on is later."""
    return world.sh("sleep 0.05; date +@%s.%N; sleep 0.05").strip()


def touched(world: World, folder: str, since: str) -> int:
    """The files and directories of a folder whose status was changed since then (st_ctime)."""
    return int(world.sh(f"find {folder} -xdev -newerct {since} | wc -l"))
