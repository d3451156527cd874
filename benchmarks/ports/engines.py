# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Docker and Podman with published ports.

Their data is in memory, the image made on the spot from a static busybox. The container only sleeps; the same server as
everywhere is put into its network namespace.
"""

from __future__ import annotations

import time

from world import World

from ..common.engines import KEEP_OUT, NAME, TOP, Engine, docker, podman, run_within_limit
from ..common.figures import Figure
from . import latency, observe
from .figures import Row
from .ours import Setting
from .scatter import scattered

IMAGE = f"""
mkdir -p {TOP}/root/bin
cp /bin/busybox {TOP}/root/bin/
ln -sf busybox {TOP}/root/bin/sleep
tar -C {TOP}/root -cf {TOP}/image.tar .
"""

ENGINES = (
    docker("Docker, proxy on", "vfs", "--userland-proxy=true"),
    docker("Docker, proxy off", "vfs", "--userland-proxy=false"),
    podman("Podman, netavark", "vfs"),
)


def prepare(world: World, engine: Engine) -> None:
    """An image, and whatever must run before the first container."""
    world.sh(IMAGE + KEEP_OUT)
    engine.start(world)
    world.run([*engine.command, "import", f"{TOP}/image.tar", NAME])
    # The first container makes bridge and chains: that is not what publishing costs.
    world.run([*engine.command, "run", "--detach", "--name", NAME, NAME, "/bin/sleep", "1000000"])
    world.run([*engine.command, *engine.remove, NAME])


def measure(world: World, engine: Engine, row: Row, setting: Setting) -> None:
    """Fill a row, as far as it goes: a container with that many published ports. With none it tells what the container alone costs."""
    ports = scattered(row.ports)
    publish = [word for port in ports for word in ("--publish", f"{port}:{setting.target(port)}")]
    starts: list[float] = []
    removals: list[float] = []

    def timed(times: list[float], *words: str) -> Figure | None:
        started = time.perf_counter()
        run_within_limit(world, [*engine.command, *words])
        times.append(time.perf_counter() - started)
        return Figure.of(times)

    for repetition in range(setting.repetitions):
        before = {process.pid for process in observe.processes(world)}
        row.apply = timed(starts, "run", "--detach", "--name", NAME, *publish, NAME, "/bin/sleep", "1000000")
        if repetition == 0:
            row.rules = observe.iptables_rules(world)
            helpers = [
                process
                for process in observe.processes(world)
                if process.pid not in before and process.name.startswith(("docker-proxy", "rootlessport"))
            ]
            row.processes, row.proxy_pss = len(helpers), sum(process.pss for process in helpers)
            if ports:
                inspect = [*engine.command, "inspect", "--format", "{{.State.Pid}}", NAME]
                pid = world.run(inspect).stdout.strip()
                server = latency.serve(
                    world, ["nsenter", "-t", pid, "-n"], *{setting.target(ports[0]), setting.target(ports[-1])}
                )
                row.latency = latency.measure(world, ports[0], ports[-1], setting.rounds, setting.connections)
                latency.stop(server)
        row.remove = timed(removals, *engine.remove, NAME)
