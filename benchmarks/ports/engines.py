# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Docker and Podman beside it, in worlds of their own.

Their daemons, data, images and rules live in the world alone: data in memory, the image made on the spot from a static
busybox. The container only sleeps; the same server as everywhere is put into its network namespace.
"""

from __future__ import annotations

import dataclasses
import subprocess
import tempfile
import time
import typing as t

from world import World

from . import latency, observe
from .figures import Figure, Row
from .ours import Setting
from .scatter import scattered

NAME = "bench"
LIMIT = 240
"""Seconds after which a start or a removal is given up."""

IMAGE = r"""
mkdir -p /run/bench/root/bin
cp /bin/busybox /run/bench/root/bin/
ln -sf busybox /run/bench/root/bin/sleep
tar -C /run/bench/root -cf /run/bench/image.tar .
# What an engine would set for the whole machine stays as it is.
mount --bind /proc/sys/kernel /proc/sys/kernel
mount -o remount,bind,ro /proc/sys/kernel
"""

DOCKER = ["/usr/bin/docker", "-H", "unix:///run/bench/docker.sock"]
DOCKERD = (
    "exec dockerd --data-root /run/bench/docker --exec-root /run/bench/exec --pidfile /run/bench/docker.pid "
    "-H unix:///run/bench/docker.sock --storage-driver vfs {options} >/run/bench/docker.log 2>&1"
)

PODMAN = ["env", "CONTAINERS_CONF=/run/bench/containers.conf", "podman", "--root", "/run/bench/podman",
          "--runroot", "/run/bench/podman-run", "--tmpdir", "/run/bench/podman-tmp", "--storage-driver", "vfs"]  # fmt: skip
# The limits are what any machine grants, and log and events go to files: there is no journal in a world.
CONTAINERS_CONF = """
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
log_driver = "k8s-file"
[network]
network_backend = "netavark"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
"""


@dataclasses.dataclass(frozen=True)
class Engine:
    """An engine: its name, its program, the command line that precedes everything, how to make it ready and to remove the container."""

    name: str
    program: str
    command: t.Sequence[str]
    start: t.Callable[[World], None]
    remove: t.Sequence[str] = ("rm", "--force", NAME)


def _docker(*options: str) -> t.Callable[[World], None]:
    def start(world: World) -> None:
        daemon = world.popen(["sh", "-c", DOCKERD.format(options=" ".join(options))])

        def ready() -> bool:
            if daemon.poll() is not None:
                raise RuntimeError("dockerd ended: " + world.sh("tail -n 3 /run/bench/docker.log").strip())
            return world.run([*DOCKER, "version"], check=False).returncode == 0

        world.wait(ready, 30, "dockerd")

    return start


def _podman(world: World) -> None:
    world.run(["sh", "-c", "cat >/run/bench/containers.conf"], stdin=CONTAINERS_CONF)
    world.sh(
        'mkdir -p /etc/containers; echo \'{"default": [{"type": "insecureAcceptAnything"}]}\' >/etc/containers/policy.json'
    )


ENGINES = (
    Engine("Docker, proxy on", "/usr/sbin/dockerd", DOCKER, _docker("--userland-proxy=true")),
    Engine("Docker, proxy off", "/usr/sbin/dockerd", DOCKER, _docker("--userland-proxy=false")),
    Engine("Podman, netavark", "/usr/bin/podman", PODMAN, _podman, ("rm", "--force", "--time", "0", NAME)),
)


def prepare(world: World, engine: Engine) -> None:
    """An image, and whatever must run before the first container."""
    world.sh(IMAGE)
    engine.start(world)
    world.run([*engine.command, "import", "/run/bench/image.tar", NAME])
    # The first container makes bridge and chains: that is not what publishing costs.
    world.run([*engine.command, "run", "--detach", "--name", NAME, NAME, "/bin/sleep", "1000000"])
    world.run([*engine.command, *engine.remove])


def _run_within_limit(world: World, command: t.Sequence[str]) -> None:
    """Run a command that may take too long; what it started then ends with the world."""
    with tempfile.TemporaryFile("w+") as said:
        process = world.popen(command, stdout=subprocess.DEVNULL, stderr=said)
        try:
            process.wait(LIMIT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise
        if process.returncode != 0:
            said.seek(0)
            raise RuntimeError(f"{said.read().strip()} (exit code {process.returncode})")


def measure(world: World, engine: Engine, row: Row, setting: Setting) -> None:
    """Fill a row, as far as it goes: a container with that many published ports. With none it tells what the container alone costs."""
    ports = scattered(row.ports)
    publish = [word for port in ports for word in ("--publish", f"{port}:{setting.target(port)}")]
    starts: list[float] = []
    removals: list[float] = []

    def timed(times: list[float], *words: str) -> Figure | None:
        started = time.perf_counter()
        _run_within_limit(world, [*engine.command, *words])
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
        row.remove = timed(removals, *engine.remove)
