# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The collection's own way: `rootfs_prepare`, mode overlay, a range of ids for each service."""

from __future__ import annotations

import dataclasses
import time
import typing as t

from world import World

from ..common.figures import Figure
from ..common.machine import cpu as cpu_time
from . import disk
from .figures import Row

DATA = "/var/lib/isolation"
HELPER = "/usr/local/libexec/isolation/rootfs"
STEPS = ("first", "fill", "again", "one more", "remove one")


@dataclasses.dataclass(frozen=True)
class Setting:
    """How often to repeat what."""

    first: int
    more: int


class Meter:
    """Runs the module, and keeps wall clock and processor time by step."""

    def __init__(self, world: World, archive: str) -> None:
        self.world = world
        self.source = {"tar": {"path": archive}}
        self.times: dict[str, list[float]] = {step: [] for step in STEPS}
        self.cpu: dict[str, list[float]] = {step: [] for step in STEPS}

    def run(self, step: str, changes: bool, **args: t.Any) -> None:
        """Run it once.

        :raises RuntimeError: it changed something where it must not, or the other way round.
        """
        used = cpu_time()
        result = self.world.apply("rootfs_prepare", diff=False, **args)
        self.times[step].append(self.world.seconds)
        self.cpu[step].append(cpu_time() - used)
        if result["changed"] is not changes:
            raise RuntimeError(f"{step}: changed is {result['changed']}")

    def fill(self, step: str, names: t.Sequence[str], changes: bool) -> None:
        """Prepare several in one task."""
        self.run(step, changes, aggregate=[{"name": name} for name in names], source=self.source)


def _mounts(world: World, repetitions: int, row: Row) -> None:
    """What a start at boot needs: unmounted, then mounted by the helper."""
    times = []
    for repetition in range(repetitions):
        world.run([HELPER, "umount", "more"])
        since = disk.mark(world) if repetition == 0 else ""
        started = time.perf_counter()
        world.run([HELPER, "mount", "more"])
        times.append(time.perf_counter() - started)
        if repetition == 0:
            row.touched_by_mount = disk.touched(world, DATA, since)
    row.mount = Figure.of(times)


def measure(world: World, number: int, archive: str, setting: Setting) -> Row:
    """One row. Begins and ends with nothing at all."""
    row, meter = Row(number), Meter(world, archive)
    names = [f"service-{index}" for index in range(number)]
    for _repetition in range(setting.first):
        meter.run("first", True, name="first", source=meter.source)
        if row.image is None:
            row.image = disk.used(world, f"{DATA}/images")
        world.apply("rootfs_prepare", diff=False, name="first", state="absent", prune_images=True)
    world.apply("rootfs_prepare", diff=False, name="first", source=meter.source)
    before = disk.used(world, DATA)
    meter.fill("fill", names, True)
    row.each = round((disk.used(world, DATA) - before) / number)
    meter.fill("again", names, False)
    for repetition in range(setting.more):
        since = disk.mark(world) if repetition == 0 else ""
        meter.run("one more", True, name="more", source=meter.source)
        if repetition == 0:
            row.touched = disk.touched(world, DATA, since)
            _mounts(world, setting.more, row)
        meter.run("remove one", True, name="more", state="absent")
    world.apply("rootfs_prepare", diff=False, aggregate=[{"name": name} for name in [*names, "first"]],
                state="absent", prune_images=True)  # fmt: skip
    row.first, row.fill, row.again, row.one_more, row.remove_one = (Figure.of(meter.times[step]) for step in STEPS)
    row.cpu = {step: figure for step in STEPS if (figure := Figure.of(meter.cpu[step]))}
    return row
