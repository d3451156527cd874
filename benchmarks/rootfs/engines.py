# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Containers of Docker and Podman from the same archive, created and not started."""

from __future__ import annotations

import time

from world import World

from ..common.engines import KEEP_OUT, NAME, Engine, docker, podman, run_within_limit
from ..common.figures import Figure
from . import disk
from .figures import Row
from .ours import Setting

ENGINES = (
    docker("Docker", "overlay2", "--iptables=false", "--bridge=none"),
    podman("Podman", "overlay"),
    # The counterpart of a range of ids for each service.
    podman("Podman, --userns=auto", "overlay", "--userns=auto"),
)


def prepare(world: World, engine: Engine) -> None:
    """Whatever must run before the first container."""
    world.sh(f"{KEEP_OUT}mkdir -p {engine.data}")
    engine.start(world)


class Meter:
    """Runs an engine's commands and keeps their times."""

    def __init__(self, world: World, engine: Engine) -> None:
        self.world, self.engine = world, engine
        self.mounts = engine.program.endswith("podman")

    def _run(self, *words: str) -> float:
        started = time.perf_counter()
        run_within_limit(self.world, [*self.engine.command, *words])
        return time.perf_counter() - started

    def load(self, archive: str) -> float:
        """Make the image."""
        return self._run("import", archive, NAME)

    def create(self, name: str) -> float:
        """A container, and its root filesystem mounted where that is a step of its own."""
        command = ("create", "--name", name, "--network", "none", *self.engine.create, NAME, "/bin/sleep", "1000000")
        return self._run(*command) + (self.mount(name) if self.mounts else 0)

    def mount(self, name: str) -> float:
        """Mount its root filesystem."""
        return self._run("mount", name)

    def unmount(self, name: str) -> None:
        """Unmount it."""
        self._run("umount", name)

    def remove(self, *names: str) -> float:
        """Remove containers."""
        return self._run(*self.engine.remove, *names)

    def forget(self) -> None:
        """Remove the image."""
        self._run("image", "rm", NAME)


def measure(world: World, engine: Engine, row: Row, archive: str, setting: Setting) -> None:
    """Fill a row, as far as it goes. Begins and ends without image and containers."""
    meter, data = Meter(world, engine), engine.data
    names = [f"service-{index}" for index in range(row.services)]
    firsts, more, removals, mounts = [], [], [], []
    for repetition in range(setting.first):
        empty = disk.used(world, data)
        begun = meter.load(archive)
        if repetition == 0:
            row.image = disk.used(world, data) - empty
        firsts.append(begun + meter.create("first"))
        meter.remove("first")
        meter.forget()
    row.first = Figure.of(firsts)
    meter.load(archive)
    before = disk.used(world, data)
    row.fill = Figure.of([sum(meter.create(name) for name in names)])
    row.each = round((disk.used(world, data) - before) / row.services)
    for repetition in range(setting.more):
        since = disk.mark(world) if repetition == 0 else ""
        more.append(meter.create("more"))
        if repetition == 0:
            row.touched = disk.touched(world, data, since)
            for turn in range(setting.more if meter.mounts else 0):
                meter.unmount("more")
                since = disk.mark(world) if turn == 0 else ""
                mounts.append(meter.mount("more"))
                if turn == 0:
                    row.touched_by_mount = disk.touched(world, data, since)
        removals.append(meter.remove("more"))
    row.one_more, row.remove_one, row.mount = Figure.of(more), Figure.of(removals), Figure.of(mounts)
    meter.remove(*names)
    meter.forget()
