# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A service that tells its release, by the ways that it is updated in, and the clients that ask it meanwhile."""

from __future__ import annotations

import json
import pathlib
import subprocess
import time
import typing as t

import yaml
from releases import APP, LOAD
from world import HOST4, World

from ..common.engines import NAME, Engine
from ..common.figures import Figure
from ..converge.engines import MODULES
from ..converge.ours import DEPLOY, TEARDOWN
from ..converge.plays import Controller
from .figures import Row

PORT, HOST_PORT = 3000, 8080

COMMAND = ["/usr/bin/python3", "-c", APP]

_PATIENCE = 60.0


def declared(archive: str, release: str) -> dict[str, t.Any]:
    """What an inventory says of it."""
    service = {
        "name": "web",
        "rootfs": {"source": {"tar": {"path": archive}}},
        "command": COMMAND,
        "environment": {"RELEASE": release},
        "resources": {"memory_max": "128M", "pids_max": 64},
        "networks": [{"bridge": "iso0"}],
        "ports": [{"host_port": HOST_PORT, "port": PORT}],
        "health": {"http": {"port": PORT, "path": "/"}},
    }
    rollout = {"min_healthy_time": "200ms", "drain_timeout": "3s"}
    return {
        "isolation_bridges": [{"name": "iso0", "addresses": ["10.88.0.1/24"]}],
        "isolation_services": [service],
        "isolation_rollout": rollout,
    }


def container(folder: pathlib.Path, engine: Engine) -> str:
    """The file of a playbook that has it as a container."""
    module, where = MODULES[engine.name]
    ports = "published_ports" if engine.name == "docker_container" else "ports"
    given = {
        **where,
        "name": "web",
        "image": NAME,
        "command": COMMAND,
        "env": {"RELEASE": "{{ release }}"},
        ports: [f"{HOST_PORT}:{PORT}"],
        "restart_policy": "always",
        "state": "started",
    }
    path = folder / "container.yml"
    task = {"name": "Container", module: given}
    path.write_text(yaml.safe_dump([{"hosts": "isolation", "gather_facts": False, "tasks": [task]}]))
    return str(path)


class Load:
    """The clients, from another machine."""

    def __init__(self, world: World) -> None:
        url = f"http://{HOST4}:{HOST_PORT}/"
        self._wait(world, url)
        pipes: dict[str, t.Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        self._process = world.popen(["/usr/bin/python3", "-c", LOAD, url], ns="client", **pipes)

    @staticmethod
    def _wait(world: World, url: str) -> None:
        """:raises RuntimeError: nobody answers."""
        deadline = time.monotonic() + _PATIENCE
        ask = ["/usr/bin/python3", "-c", "import sys, urllib.request as r; r.urlopen(sys.argv[1], timeout=2)", url]
        while world.run(ask, ns="client", check=False).returncode != 0:
            if time.monotonic() > deadline:
                raise RuntimeError(f"{url}: nobody answers")
            time.sleep(0.2)

    def stop(self) -> dict[str, dict[str, int]]:
        """What became of the requests, by client."""
        output, errors = self._process.communicate("", timeout=_PATIENCE)
        if not output:
            raise RuntimeError(f"the clients: {errors}")
        return json.loads(output)  # type: ignore[no-any-return]


def measure(world: World, updates: int, play: t.Callable[[str], object]) -> Row:
    """Bring the service up and update it so many times; `play` has a release of it."""
    play("1")
    row, times, load = Row(updates), [], Load(world)
    try:
        for number in range(updates):
            began = time.perf_counter()
            play(str(number + 2))
            times.append(time.perf_counter() - began)
            time.sleep(1)
    finally:
        told = load.stop()
    row.wall = Figure.of(times)
    for seen in told.values():
        row.answered += seen["answered"]
        row.closed += seen["closed"]
        row.refused += seen["refused"]
        row.lost += seen["lost"]
    return row


def ours(controller: Controller, archive: str, updates: int) -> Row:
    """By the role."""
    try:
        return measure(controller.world, updates, lambda release: controller.play(DEPLOY, declared(archive, release)))
    finally:
        controller.play(TEARDOWN, {})


def theirs(controller: Controller, engine: Engine, updates: int) -> Row:
    """By the module for an engine's containers. They end with the world."""
    playbook = container(controller.folder, engine)
    return measure(controller.world, updates, lambda release: controller.play(playbook, {"release": release}))
