# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the kernel tells: when a service has begun, and what is beside it."""

from __future__ import annotations

import json
import os
import select
import subprocess
import time
import typing as t

from world import World

FOLDER = "/run/mark"
"""On the host; services have it as /mark."""

SPEAK = ["/bin/sh", "-c", "echo >/mark/begun; exec /bin/sleep 1000000"]
"""A service that says at once that it is there."""

REST = ["/bin/sleep", "1000000"]
"""A service that is idle."""

_LIMIT = 60.0

_COUNT = """
import json, os
def level(pid):
    with open(f"/proc/{pid}/status") as stream:
        return next(len(line.split()) for line in stream if line.startswith("NSpid:"))
own, found = level("self"), []
for pid in filter(str.isdigit, os.listdir("/proc")):
    try:
        if int(pid) == os.getpid() or level(pid) != own:
            continue
        with open(f"/proc/{pid}/smaps_rollup") as stream:
            found.append(sum(int(line.split()[1]) for line in stream if line.startswith("Pss:")))
    except (OSError, StopIteration):
        pass
print(json.dumps([sum(found) * 1024, len([size for size in found if size])]))
"""


def beside(world: World) -> tuple[int, int]:
    """The memory of all processes of the world that are in no service, and their number."""
    size, number = json.loads(world.run(["/usr/bin/python3", "-IS", "-c", _COUNT]).stdout)
    return size, number


class Mark:
    """A pipe into which services say that they have begun."""

    def __init__(self, world: World) -> None:
        self.world = world
        world.sh(
            f"mkdir -p {FOLDER}; chmod 755 {FOLDER}; [ -e {FOLDER}/begun ] || mkfifo -m 0666 {FOLDER}/begun; chmod 666 {FOLDER}/begun"
        )
        # Open for both, so that no service waits for a reader, and none has to be there for another.
        self._pipe = os.open(f"/proc/{world.pid}/root{FOLDER}/begun", os.O_RDWR | os.O_NONBLOCK)

    def close(self) -> None:
        """Forget it."""
        os.close(self._pipe)

    def drain(self) -> None:
        """Forget what has been said."""
        while select.select([self._pipe], [], [], 0)[0]:
            os.read(self._pipe, 4096)

    def wait(self, began: float) -> float:
        """How long it took until a service has begun.

        :raises RuntimeError: none has.
        """
        if not select.select([self._pipe], [], [], _LIMIT)[0]:
            raise RuntimeError(f"no service has begun within {_LIMIT:g} s")
        return time.perf_counter() - began

    def time(self, command: t.Sequence[str]) -> tuple[float, subprocess.Popen[str]]:
        """Execute what starts a service; how long it took until that has begun, and the process that was executed."""
        self.drain()
        began = time.perf_counter()
        process = self.world.popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            return self.wait(began), process
        except RuntimeError:
            process.kill()
            process.wait()
            raise
