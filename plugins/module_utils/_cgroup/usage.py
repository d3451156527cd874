# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the processes of any control group use: for groups that are no slices of ours, such as a service's own."""

from __future__ import annotations

import os
import typing as t

from .._host import cgroupfs, machine
from .._host.cgroupfs import Hierarchy
from . import metrics


class Meter:
    """Reads groups; what all have in common (hierarchies, disks) is read once."""

    def __init__(self) -> None:
        self._trees: tuple[Hierarchy, ...] = cgroupfs.hierarchies()
        self._old = any(tree.version == 1 and tree.controllers for tree in self._trees)
        self._disks = {number: node for node, number in machine.disks().items()}

    def read(self, path: str) -> dict[str, t.Any]:
        """Usage, peak, pressure, throttling and OOM kills of a group, as slices have them; `path` is below each hierarchy's root.

        On a host with both versions services are in the hierarchies of version 1.
        """
        files: dict[str, str] = {}
        for tree in self._trees:
            if tree.version == (1 if self._old else 2):
                known: tuple[str, ...] = metrics.V2
                if tree.version == 1:
                    known = tuple(name for name in metrics.V1 if name.split(".", 1)[0] in tree.controllers)
                files.update(cgroupfs.read_files(os.path.join(tree.path, path.lstrip("/")), known))
        return metrics.read_v1(files, self._disks) if self._old else metrics.read_v2(files, self._disks)
