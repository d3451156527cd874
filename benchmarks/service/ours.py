# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The collection's own way: `namespaced_service` under runit. And the same bundle started by a runtime alone."""

from __future__ import annotations

import contextlib
import dataclasses
import typing as t

from services import supervise
from world import World

from ..common.figures import Figure
from .figures import Row
from .observe import FOLDER, REST, SPEAK, Mark, beside

HELPERS = "/usr/local/libexec/isolation"
DATA = "/var/lib/isolation"

MOUNTS = [{"source": FOLDER, "target": "/mark"}]
GATE = {"min_healthy_time": "0s", "deadline": "1m"}


@dataclasses.dataclass(frozen=True)
class Setting:
    """How often to repeat what."""

    starts: int
    more: int


@contextlib.contextmanager
def prepared(world: World, archive: str) -> t.Iterator[None]:
    """A supervisor, and a root filesystem for all services: what it costs to have one of its own is another benchmark."""
    world.sh(
        "mkdir -p /srv/root && tar -xf "
        + archive
        + " -C /srv/root && mkdir -p /srv/root/mark /srv/root/proc /srv/root/sys /srv/root/dev"
    )
    world.sh("touch /srv/root/etc/hosts /srv/root/etc/hostname /srv/root/etc/resolv.conf")
    supervisor = supervise(world)
    try:
        yield
    finally:
        supervisor.terminate()
        supervisor.wait()


def _service(world: World, **options: t.Any) -> dict[str, t.Any]:
    given = {"rootfs": "/srv/root", "gate": GATE, "environment": {"PATH": "/usr/bin:/bin"}, **options}
    return world.apply("namespaced_service", diff=False, **given)


@dataclasses.dataclass(frozen=True)
class Way:
    """One way to start an instance: its name, the instance, its runtime, and what is executed."""

    name: str
    instance: str
    runtime: str
    command: t.Sequence[str]

    @property
    def pid_file(self) -> str:
        """Where its first process is told."""
        return f"/run/isolation/service/{self.instance}.pid"

    @property
    def tidy(self) -> str:
        """Shell code that leaves nothing of it."""
        program = f"{HELPERS}/crun" if self.runtime == "crun" else self.runtime
        return f"{program} delete --force {self.instance}; rm -f /run/isolation/restart/{self.instance}"


def _service_folder(instance: str) -> str:
    return f"/etc/isolation/runit/sv/{instance}"


def _alone(runtime: str, program: t.Sequence[str]) -> Way:
    """A runtime with nothing around it; it starts the bundle that the collection has made for it."""
    instance = f"speaks-{runtime}"
    bundle = ["--bundle", f"{DATA}/instances/{instance}", "--pid-file", f"/run/isolation/service/{instance}.pid"]
    return Way(f"{runtime} run", instance, runtime, [*program, "run", *bundle, instance])


WAYS = (
    Way("namespaced_service", "speaks-crun", "crun", [f"{_service_folder('speaks-crun')}/run"]),
    _alone("crun", [f"{HELPERS}/crun", "--cgroup-manager=cgroupfs"]),
    Way("namespaced_service, runc", "speaks-runc", "runc", [f"{_service_folder('speaks-runc')}/run"]),
    _alone("runc", ["runc"]),
)


def starts(world: World, repetitions: int) -> dict[str, Figure | None]:
    """How long it takes from the execution of each way's command to the first act of the service, in turn."""
    mark = Mark(world)
    times: dict[str, list[float]] = {way.name: [] for way in WAYS}
    instances = {way.instance: way.runtime for way in WAYS}
    try:
        for instance, runtime in instances.items():
            _service(world, name=instance, runtime=runtime, command=SPEAK, mounts=MOUNTS)
            world.sh(f"sv force-stop {_service_folder(instance)} >/dev/null", check=False)
        for _repetition in range(repetitions):
            for way in WAYS:
                world.sh(way.tidy, check=False)
                took, process = mark.time(way.command)
                times[way.name].append(took)
                world.sh(f"kill -9 $(cat {way.pid_file}); {way.tidy}", check=False)
                process.wait(30)
        _service(world, aggregate=[{"name": instance, "state": "absent"} for instance in instances])
    finally:
        mark.close()
    return {name: Figure.of(values) for name, values in times.items()}


def measure(world: World, number: int, setting: Setting) -> Row:
    """One row. Begins and ends without services."""
    row = Row(number)
    names = [f"service-{index}" for index in range(number)]
    row.engine, before = beside(world)
    aggregate = [{"name": name} for name in names]
    _service(world, aggregate=aggregate, command=REST)
    row.fill = Figure.of([world.seconds])
    again = []
    for _repetition in range(setting.more):
        _service(world, aggregate=aggregate, command=REST)
        again.append(world.seconds)
    row.again = Figure.of(again)
    size, processes = beside(world)
    row.beside, row.processes = round((size - row.engine) / number), (processes - before) / number
    more = []
    for _repetition in range(setting.more):
        _service(world, name="more", command=REST)
        more.append(world.seconds)
        _service(world, name="more", state="absent")
    row.one_more = Figure.of(more)
    _service(world, aggregate=[{"name": name, "state": "absent"} for name in names])
    return row
