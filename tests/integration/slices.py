# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Processes in slices, and what the kernel's files say of them."""

from __future__ import annotations

import subprocess
import time
import typing as t

from world import World

NAME = "web/3fa91c2"
EVERY = ("cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids")
SPIN = "while :; do :; done"


class Inside:
    """A process in a slice."""

    def __init__(self, world: World, name: str, script: str) -> None:
        self.world = world
        enter = "".join(f"echo $$ > /sys/fs/cgroup/{tree}/isolation/{name}/cgroup.procs;" for tree in trees(world))
        self.process = world.popen(["sh", "-ec", f"{enter} echo $$; {script}"], stdout=subprocess.PIPE)
        self.pid = int(self.process.stdout.readline())  # type: ignore[union-attr]

    def alive(self) -> bool:
        return self.world.run(["kill", "-0", str(self.pid)], check=False).returncode == 0

    def state(self) -> str:
        stat = self.world.run(["cat", f"/proc/{self.pid}/stat"]).stdout
        return stat.rpartition(")")[2].split()[0]

    def end(self) -> None:
        self.world.run(["kill", "-KILL", str(self.pid)], check=False)
        self.process.wait(10)


def trees(world: World) -> list[str]:
    """The hierarchies in which a slice has a directory."""
    there = world.sh("ls /sys/fs/cgroup").split()
    return [name for name in EVERY if name in there and name != "devices"]


def read(world: World, file: str, name: str = NAME) -> str:
    """An interface file, in whatever hierarchy has it."""
    return world.run(["cat", f"/sys/fs/cgroup/{file.partition('.')[0]}/isolation/{name}/{file}"]).stdout.strip()


def busy(world: World, names: t.Sequence[str], seconds: float) -> list[float]:
    """The CPUs that slices use together, each measured by the kernel over the same wall time."""

    def used() -> list[int]:
        return [int(read(world, "cpuacct.usage", name)) for name in names]

    started, before = time.monotonic(), used()
    time.sleep(seconds)
    after, ended = used(), time.monotonic()
    return [(new - old) / 1e9 / (ended - started) for old, new in zip(before, after)]
