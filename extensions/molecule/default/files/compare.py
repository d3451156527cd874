# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) daemonless.isolation contributors
"""Compare two snapshots of a machine: compare.py BEFORE AFTER [FOLDER…].

Prints what differs and fails if anything does. With folders, only files below these count: packages that were installed
in between have files of their own in /etc. The cache of images never counts.
"""

from __future__ import annotations

import json
import re
import sys
import typing as t
from pathlib import Path

IMAGES = "/var/lib/isolation"
# A systemd host makes and removes some of these by itself: sessions, credentials, transient units.
SHARED = ("mounts", "cgroups")
LIFETIME = re.compile(r'"(valid|preferred)_life_time": \d+| expires \d+sec')


def lines(snapshot: dict[str, list[str]], kind: str, folders: t.Sequence[str]) -> set[str]:
    """Return the lines of a kind that count."""
    found = {LIFETIME.sub("", line) for line in snapshot[kind]}
    if kind in SHARED:
        return {line for line in found if "isolation" in line}
    if kind == "files":
        own = {line for line in found if not f"{line.split()[0]}/".startswith(f"{IMAGES}/")}
        return {line for line in own if not folders or line.startswith(tuple(folders))}
    return found


def main() -> None:
    """Compare, print, and fail if anything differs."""
    before, after = (json.loads(Path(path).read_text()) for path in sys.argv[1:3])
    folders = sys.argv[3:]
    differences = []
    for kind in before:
        old, new = lines(before, kind, folders), lines(after, kind, folders)
        differences += [f"{kind}: - {line}" for line in sorted(old - new)]
        differences += [f"{kind}: + {line}" for line in sorted(new - old)]
    sys.exit("\n".join(differences) or 0)


if __name__ == "__main__":
    main()
