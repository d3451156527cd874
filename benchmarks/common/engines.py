# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Docker and Podman beside it, in worlds of their own: their daemons, data, images and rules live in the world alone."""

from __future__ import annotations

import dataclasses
import subprocess
import tempfile
import typing as t

from world import World

NAME = "bench"
LIMIT = 240
"""Seconds after which a step is given up."""

TOP = "/run/bench"
"""All that an engine keeps; a folder of the disk can be mounted there before."""

KEEP_OUT = """
# What an engine would set for the whole machine stays as it is.
mount --bind /proc/sys/kernel /proc/sys/kernel
mount -o remount,bind,ro /proc/sys/kernel
"""

DOCKER = ["/usr/bin/docker", "-H", f"unix://{TOP}/docker.sock"]
DOCKERD = (
    f"exec dockerd --data-root {TOP}/docker --exec-root {TOP}/exec --pidfile {TOP}/docker.pid "
    f"-H unix://{TOP}/docker.sock --storage-driver {{driver}} {{options}} >{TOP}/docker.log 2>&1"
)

PODMAN = ["env", f"CONTAINERS_CONF={TOP}/containers.conf", "podman", "--root", f"{TOP}/podman",
          "--runroot", f"{TOP}/podman-run", "--tmpdir", f"{TOP}/podman-tmp", "--storage-driver"]  # fmt: skip
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
    """An engine: its name, its program, the command line that precedes everything, how to make it ready, and how to remove a container."""

    name: str
    program: str
    command: t.Sequence[str]
    start: t.Callable[[World], None]
    remove: t.Sequence[str] = ("rm", "--force")
    create: t.Sequence[str] = ()
    """More options of a container."""
    data: str = ""
    """Where it keeps images and containers."""


def docker(name: str, driver: str, *options: str) -> Engine:
    """Docker with a daemon of its own, its storage driver and its options."""

    def start(world: World) -> None:
        daemon = world.popen(["sh", "-c", DOCKERD.format(driver=driver, options=" ".join(options))])

        def ready() -> bool:
            if daemon.poll() is not None:
                raise RuntimeError("dockerd ended: " + world.sh(f"tail -n 3 {TOP}/docker.log").strip())
            return world.run([*DOCKER, "version"], check=False).returncode == 0

        world.wait(ready, 30, "dockerd")

    return Engine(name, "/usr/sbin/dockerd", DOCKER, start, data=f"{TOP}/docker")


def _podman(world: World) -> None:
    world.run(["sh", "-c", f"cat >{TOP}/containers.conf"], stdin=CONTAINERS_CONF)
    world.sh(
        'mkdir -p /etc/containers; echo \'{"default": [{"type": "insecureAcceptAnything"}]}\' >/etc/containers/policy.json;'
        # Ranges for --userns=auto.
        "echo containers:2147483647:2147483648 >>/etc/subuid; echo containers:2147483647:2147483648 >>/etc/subgid"
    )


def podman(name: str, driver: str, *create: str) -> Engine:
    """Podman with its storage driver, and options of its containers."""
    remove = ("rm", "--force", "--time", "0")
    return Engine(name, "/usr/bin/podman", [*PODMAN, driver], _podman, remove, create, f"{TOP}/podman")


def run_within_limit(world: World, command: t.Sequence[str]) -> None:
    """Run a command that may take too long; what it started then ends with the world.

    :raises RuntimeError: it failed; the message has what it said.
    """
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


def failure_text(error: Exception) -> str:
    """What went wrong, in one line."""
    if isinstance(error, subprocess.TimeoutExpired):
        return f"not done after {error.timeout:.0f} s"
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return next((line for line in lines if "error" in line.lower()), lines[-1])[:500]


FAILURES = (AssertionError, OSError, RuntimeError, ValueError, subprocess.TimeoutExpired)
"""What ends one way's measurement, and not the run."""
