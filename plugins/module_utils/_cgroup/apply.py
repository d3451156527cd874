# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Steps on slices: values until the runner takes them."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

from .._host import cgroupfs, systemd
from .._host.cgroupfs import Hierarchy
from .._host.process import run
from .._host.records import Record, SaveRecord
from .facts import DEFAULTS


@dataclass(frozen=True)
class MakeGroups:
    """Make a slice's directory in hierarchies; on v2, have these controllers in it."""

    trees: tuple[Hierarchy, ...]
    path: str
    controllers: tuple[str, ...]

    def run(self) -> None:
        """Make them.

        :raises CgroupError: the kernel has refused.
        """
        for tree in self.trees:
            cgroupfs.make_group(tree, self.path, [name for name in self.controllers if name in tree.controllers])


@dataclass(frozen=True)
class WriteLimit:
    """Write one interface file of a slice."""

    directory: str
    file: str
    text: str

    def run(self) -> None:
        """Write it.

        :raises CgroupError: the kernel has refused.
        """
        cgroupfs.write_value(self.directory, self.file, self.text)


@dataclass(frozen=True)
class NoteDefaults:
    """Before raw keys are set for the first time, write down the kernel's own values, to which they can go back."""

    record: Record
    directories: tuple[tuple[str, str], ...]

    def run(self) -> None:
        """Read them and save the record.

        :raises CgroupError: the kernel has no such key.
        """
        noted = dict(self.record.assigned.get(DEFAULTS, {}))
        for directory, key in self.directories:
            found = cgroupfs.read_files(directory, [key])
            if key not in found:
                raise cgroupfs.CgroupError(
                    f"{os.path.join(directory, key)}: this kernel has no such control: remove it from unified"
                )
            noted[key] = found[key]
        SaveRecord(replace(self.record, assigned={**self.record.assigned, DEFAULTS: noted})).run()


@dataclass(frozen=True)
class Freeze:
    """Freeze or thaw all processes of a slice by the file system."""

    tree: Hierarchy
    path: str
    frozen: bool

    def run(self) -> None:
        """Do so, and wait until all have followed.

        :raises CgroupError: the kernel has refused, or a process did not follow in time.
        """
        cgroupfs.freeze(self.tree, self.path, self.frozen)


@dataclass(frozen=True)
class RemoveGroups:
    """Remove a slice's directories with what a runtime has left below them; with `kill`, end the processes first."""

    trees: tuple[Hierarchy, ...]
    path: str
    kill: bool

    def run(self) -> None:
        """Remove them.

        :raises CgroupError: a process is inside, or does not end.
        """
        if self.kill:
            cgroupfs.kill_all(self.trees, self.path)
        for tree in self.trees:
            cgroupfs.remove_group(os.path.join(tree.path, self.path))


@dataclass(frozen=True)
class RemoveEmptyParents:
    """Remove the directories above a slice that were made for it and hold nothing more."""

    trees: tuple[Hierarchy, ...]
    paths: tuple[str, ...]

    def run(self) -> None:
        """Remove them, the nearest first."""
        for tree in self.trees:
            for path in self.paths:
                if not cgroupfs.remove_empty_group(os.path.join(tree.path, path)):
                    break


@dataclass(frozen=True)
class EndUnit:
    """Stop a slice unit, and with it all units inside; with `kill`, what is left after that too."""

    unit: str
    tree: Hierarchy
    path: str
    kill: bool

    def run(self) -> None:
        """Stop it.

        :raises ToolError: systemd has refused.
        :raises CgroupError: a process does not end.
        """
        systemd.Systemctl("stop", (self.unit,)).run()
        if self.kill:
            cgroupfs.kill_all((self.tree,), self.path)


@dataclass(frozen=True)
class RealizeBeside:
    """Have systemd write the properties of a running slice again, after a reload.

    systemd 252 does so by itself. 257 remembers that it has to, and waits until a unit in the same parent is started: an empty
    slice is one, in which no process ever is.
    """

    parent: str

    def run(self) -> None:
        """Start an empty slice beside it, and stop it again.

        :raises ToolError: systemd has refused.
        """
        unit = systemd.slice_unit(f"{self.parent}/_" if self.parent else "_")
        systemd.Systemctl("start", (unit,)).run()
        systemd.Systemctl("stop", (unit,)).run()


@dataclass(frozen=True)
class StopEmptyParents:
    """Stop the implicit slices above a removed one, as long as no unit is in them."""

    units: tuple[tuple[str, str], ...]
    tree: Hierarchy

    def run(self) -> None:
        """Stop them, the nearest first; the kernel tells whether one is empty."""
        for unit, path in self.units:
            if cgroupfs.children(os.path.join(self.tree.path, path)):
                return
            run(["systemctl", "stop", "--", unit])
