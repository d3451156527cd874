# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Docker and Podman by the modules that their users have in playbooks: one task with a loop over all containers."""

from __future__ import annotations

import pathlib
import typing as t

import yaml
from world import World

from ..common.engines import KEEP_OUT, NAME, PODMAN, TOP, Engine, docker, podman, run_within_limit
from .figures import Row
from .ours import Setting
from .plays import COMMAND, FIRST_HOST_PORT, PORT, Controller, Meter

ENGINES = (docker("docker_container", "overlay2"), podman("podman_container", "overlay"))

_CONTAINER = {
    "name": "{{ item.name }}",
    "image": NAME,
    "command": COMMAND,
    "env": {"RELEASE": "{{ item.release }}"},
    "memory": "64m",
    "pids_limit": "64",
    "restart_policy": "always",
}
_PORT = f"{{{{ item.port }}}}:{PORT}"
MODULES: dict[str, tuple[str, dict[str, t.Any]]] = {
    "docker_container": ("community.docker.docker_container", {"docker_host": f"unix://{TOP}/docker.sock"}),
    "podman_container": ("containers.podman.podman_container", {"executable": f"{TOP}/podman.sh"}),
}
"""By engine: the module, and how it finds the engine."""

_WANTED: dict[str, dict[str, t.Any]] = {
    "docker_container": {**_CONTAINER, "pids_limit": 64, "published_ports": [_PORT]},
    "podman_container": {**_CONTAINER, "ports": [_PORT]},
}
"""What it is asked for."""


def prepare(world: World, engine: Engine, archive: str) -> None:
    """Whatever must run before the first container, and the image."""
    world.sh(f"{KEEP_OUT}mkdir -p {engine.data}")
    engine.start(world)
    run_within_limit(world, [*engine.command, "import", archive, f"{NAME}:latest"])
    words = " ".join([*PODMAN, "overlay"])
    world.sh(f"printf '%s\\n' '#!/bin/sh' 'exec {words} \"$@\"' >{TOP}/podman.sh; chmod 755 {TOP}/podman.sh")


def playbook(folder: pathlib.Path, engine: Engine, state: str) -> str:
    """The file of a playbook that has all containers started, or none."""
    module, where = MODULES[engine.name]
    given = {**where, **(_WANTED[engine.name] if state == "started" else {"name": "{{ item.name }}"}), "state": state}
    task = {
        "name": "Containers",
        module: given,
        "loop": "{{ containers }}",
        "loop_control": {"label": "{{ item.name }}"},
    }
    path = folder / f"{state}.yml"
    path.write_text(yaml.safe_dump([{"hosts": "isolation", "gather_facts": False, "tasks": [task]}]))
    return str(path)


def _variables(number: int, releases: t.Mapping[int, str] | None = None) -> dict[str, t.Any]:
    found = [
        {"name": f"service-{index}", "port": FIRST_HOST_PORT + index, "release": (releases or {}).get(index, "1")}
        for index in range(number)
    ]
    return {"containers": found}


def measure(controller: Controller, engine: Engine, row: Row, setting: Setting) -> None:
    """Fill a row, as far as it goes. Begins and ends without containers."""
    number, release, meter = row.services, 1, Meter(controller)
    start, remove = (playbook(controller.folder, engine, state) for state in ("started", "absent"))
    try:
        for _cycle in range(setting.cycles):
            now = _variables(number)
            meter.run("first", start, now)
            for _repetition in range(setting.more):
                meter.run("again", start, now)
            for _repetition in range(setting.more):
                release += 1
                now = _variables(number, {number // 2: str(release)})
                meter.run("change", start, now)
            meter.run("remove", remove, now)
    finally:
        meter.fill(row)
