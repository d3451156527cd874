# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Containers of Docker and Podman from the same archive, and a service of systemd-nspawn."""

from __future__ import annotations

import os
import time
import typing as t

from world import World

from ..common.engines import KEEP_OUT, NAME, Engine, docker, podman, run_within_limit
from ..common.figures import Figure
from .figures import Row
from .observe import FOLDER, REST, SPEAK, Mark, beside
from .ours import Setting

ENGINES = (
    docker("Docker", "overlay2", "--iptables=false", "--bridge=none"),
    podman("Podman", "overlay"),
)

NSPAWN = "/usr/bin/systemd-nspawn"


def prepare(world: World, engine: Engine, archive: str) -> int:
    """Whatever must run before the first container, and the image; returns the memory of what runs then."""
    world.sh(f"{KEEP_OUT}mkdir -p {engine.data}")
    without, _number = beside(world)
    engine.start(world)
    run_within_limit(world, [*engine.command, "import", archive, NAME])
    return beside(world)[0] - without


def _run(engine: Engine, name: str, command: t.Sequence[str]) -> list[str]:
    return [
        *engine.command,
        "run",
        "--detach",
        "--name",
        name,
        "--network",
        "none",
        "--volume",
        f"{FOLDER}:/mark",
        NAME,
        *command,
    ]


def starts(world: World, engine: Engine, repetitions: int) -> Figure | None:
    """From the command to the first act of the container."""
    mark, times = Mark(world), []
    try:
        for _repetition in range(repetitions):
            took, process = mark.time(_run(engine, "speaks", SPEAK))
            times.append(took)
            process.wait(60)
            run_within_limit(world, [*engine.command, *engine.remove, "speaks"])
    finally:
        mark.close()
    return Figure.of(times)


def measure(world: World, engine: Engine, row: Row, setting: Setting) -> None:
    """Fill a row, as far as it goes. Begins and ends without containers."""
    names = [f"service-{index}" for index in range(row.services)]
    size, number = beside(world)
    began = time.perf_counter()
    for name in names:
        run_within_limit(world, _run(engine, name, REST))
    row.fill = Figure.of([time.perf_counter() - began])
    after, processes = beside(world)
    row.beside, row.processes = round((after - size) / row.services), (processes - number) / row.services
    more = []
    for _repetition in range(setting.more):
        began = time.perf_counter()
        run_within_limit(world, _run(engine, "more", REST))
        more.append(time.perf_counter() - began)
        run_within_limit(world, [*engine.command, *engine.remove, "more"])
    row.one_more = Figure.of(more)
    run_within_limit(world, [*engine.command, *engine.remove, *names])


def nspawn(world: World, repetitions: int) -> Row:
    """systemd-nspawn on the directory that the services have; one at a time, as it locks it.

    :raises RuntimeError: it is not installed, or does not run here.
    """
    if not os.path.exists(NSPAWN):
        raise RuntimeError(f"{NSPAWN} is not installed: run tests/tools/bench-packages")
    row, mark, times = Row(1), Mark(world), []
    command = [
        NSPAWN,
        "--quiet",
        "--register=no",
        "--keep-unit",
        "--private-network",
        f"--bind={FOLDER}:/mark",
        "--directory=/srv/root",
    ]
    try:
        before, number = beside(world)
        for _repetition in range(repetitions):
            took, process = mark.time([*command, *SPEAK])
            times.append(took)
            after, processes = beside(world)
            row.beside, row.processes = after - before, processes - number
            world.sh("pkill -9 -x systemd-nspawn", check=False)
            process.wait(30)
    finally:
        mark.close()
    row.start = Figure.of(times)
    return row
