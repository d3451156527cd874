# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Sources of bind mounts: whether a symbolic link on the way, that others than root can change, could lead one elsewhere.

A runtime follows links. Who can make one in the place of a directory that a service is given, which another service may be, would decide
what of the host the next start mounts.
"""

from __future__ import annotations

import os
import stat
import typing as t

__all__ = ["loose_link"]

_MAX_LINKS = 40
"""Links that the kernel follows in one path, too (path_resolution(7))."""


def _is_roots(found: os.stat_result) -> bool:
    """Whether root alone can make and replace entries of a directory; a sticky one keeps its entries from others than their owners."""
    writable = found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return found.st_uid == 0 and not (writable and not found.st_mode & stat.S_ISVTX)


def loose_link(path: str) -> tuple[str, str] | None:
    """The first symbolic link on the way to a path that others than root can change, or lead elsewhere by a directory above it, and
    where the path leads now. None if there is none.
    """
    todo = [part for part in reversed(path.split("/")) if part not in ("", ".")]
    here, links, safe = "/", 0, _is_roots(os.stat("/"))
    while todo:
        part = todo.pop()
        if part == "..":
            here = os.path.dirname(here)
            continue
        entry = os.path.join(here, part)
        try:
            found = os.lstat(entry)
            if not stat.S_ISLNK(found.st_mode):
                safe = safe and (not stat.S_ISDIR(found.st_mode) or _is_roots(found))
                here = entry
                continue
            links += 1
            if not safe or found.st_uid != 0 or links > _MAX_LINKS:
                return entry, os.path.realpath(path)
            target = os.readlink(entry)
        except OSError:  # what is not there leads nowhere
            return None
        if target.startswith("/"):
            here = "/"
        todo += [step for step in reversed(target.split("/")) if step not in ("", ".")]
    return None


def loose_links(paths: t.Iterable[str]) -> dict[str, tuple[str, str]]:
    """Those of the paths that have such a link on their way, with that link and where they lead now."""
    found = {path: loose_link(path) for path in paths}
    return {path: link for path, link in found.items() if link is not None}
