# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is: the host, its slices, and what is written down of them. Values only."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

from .._host import cgroupfs, systemd
from .._host.cgroupfs import Hierarchy
from .._host.records import Record
from . import metrics, unit, v1, v2
from .limits import LIMITS, Values

RECORDS = "cgroup"
"""The folder of this layer's records."""

DEFAULTS = "unified_defaults"
"""In a record's `assigned`: the kernel's own value of each raw key that was ever set."""

FREED = "freed_disks"
"""In a record's `assigned`, under systemd: disks that were limited once."""

CALMED = "calmed_disks"
"""In a record's `assigned`, under systemd: disks that had a latency to keep once."""

_CORE = ("cpu", "cpuacct", "cpuset", "memory", "pids", "io", "blkio", "freezer")
"""Controllers whose v1 hierarchies a slice lies in; a runtime makes directories in the others when it needs them."""


@dataclass(frozen=True)
class Host:
    """What limits depend on. `disks` maps nodes of whole disks to device numbers, `devices` the paths that a task gives.

    `lacking` are interface files that the kernel has not. `settings` are those that can be read and written, by controller of
    v2, as far as a group was there to be looked at. `huge_pages` are sizes in bytes by their names.
    """

    manager: str
    hierarchies: tuple[Hierarchy, ...] = ()
    lacking: frozenset[str] = frozenset()
    settings: t.Mapping[str, frozenset[str]] = field(default_factory=dict)
    huge_pages: t.Mapping[str, int] = field(default_factory=dict)
    cpus: frozenset[int] = frozenset({0})
    nodes: frozenset[int] = frozenset({0})
    memory: int = 0
    page: int = 4096
    disks: t.Mapping[str, str] = field(default_factory=dict)
    devices: t.Mapping[str, str] = field(default_factory=dict)
    systemd: int = 0
    boot_gaps: tuple[str, ...] = ()

    @property
    def version(self) -> str:
        """`v2`, `v1`, or `hybrid` where both are mounted; `none` where there are no control groups.

        A v1 hierarchy of nothing that a slice needs (net_cls of a VPN, say) doesn't count.
        """
        found = {tree.version for tree in self.hierarchies if tree.version == 2 or tree.controllers.intersection(_CORE)}
        return {frozenset(): "none", frozenset({1}): "v1", frozenset({2}): "v2"}.get(frozenset(found), "hybrid")

    @property
    def numbers(self) -> dict[str, str]:
        """Nodes of disks by device number."""
        return {number: node for node, number in self.disks.items()}

    def tree(self, controller: str) -> Hierarchy | None:
        """The hierarchy that has a controller, by its name in v2; `None` if none has."""
        for tree in self.hierarchies:
            name = v1.controller(controller) if tree.version == 1 else v2.controller(controller)
            if name in tree.controllers:
                return tree
        return None

    def unentered(self, tree: Hierarchy) -> bool:
        """Whether no service is in a hierarchy: beside v1's, the runtime leaves out the one of v2."""
        return tree.version == 2 and self.version == "hybrid"

    def serves(self, option: str) -> bool:
        """Whether this host can have a limit."""
        tree = self.tree(LIMITS[option].controller)
        if tree is None or self.unentered(tree):
            return False
        files = (v1 if tree.version == 1 else v2).FILES.get(option)
        if files is None or self.lacking.intersection(files):
            return False
        return self.manager != "systemd" or unit.serves(option, self.systemd)

    def raw_tree(self, key: str) -> Hierarchy | None:
        """The v2 hierarchy that has the controller of a raw key; None if no controller of v2 does."""
        tree = self.tree(key.split(".", 1)[0])
        return tree if tree is not None and tree.version == 2 else None

    def freezer(self) -> Hierarchy | None:
        """The hierarchy by which processes are frozen: v1's controller if it is mounted, else v2, where it is part of the core."""
        found = self.tree("freezer")
        return found or next((tree for tree in self.hierarchies if tree.version == 2), None)

    def core(self) -> tuple[Hierarchy, ...]:
        """The hierarchies in which every slice has a directory."""
        found = tuple(tree for tree in self.hierarchies if tree.controllers.intersection(_CORE))
        freezer = self.freezer()
        return found if freezer is None or freezer in found else (*found, freezer)

    def path(self, name: str) -> str:
        """Where a slice lies below the root of each hierarchy."""
        return systemd.slice_cgroup(name) if self.manager == "systemd" else cgroupfs.slice_path(name)


@dataclass(frozen=True)
class Unit:
    """A slice unit, as its file and the running systemd have it."""

    text: str | None = None
    fragment: str = ""
    active: bool = False
    stale: bool = False
    drop_ins: str = ""


@dataclass(frozen=True)
class SliceState:
    """One slice. `present` are the hierarchies that have its directory, `controllers` those of v2 that reach it.

    `raw` holds its unified keys, `processes` those inside and below, `parent` the cpuset above, `figures` what `metrics` tells.
    """

    name: str
    record: Record | None = None
    present: tuple[Hierarchy, ...] = ()
    controllers: frozenset[str] = frozenset()
    limits: Values = field(default_factory=dict)
    raw: t.Mapping[str, str] = field(default_factory=dict)
    figures: t.Mapping[str, t.Any] = field(default_factory=metrics.nothing)
    parent: t.Mapping[str, str] = field(default_factory=dict)
    processes: frozenset[int] = frozenset()
    frozen: bool = False
    boot_text: str | None = None
    unit: Unit | None = None


@dataclass(frozen=True)
class World:
    """All that the planner looks at."""

    host: Host
    slices: t.Mapping[str, SliceState]
    records: t.Mapping[str, Record]
