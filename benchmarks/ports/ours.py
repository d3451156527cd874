# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The collection's own way: `nat_portmap` on a bridge of `bridge`, with the service's link guarded as a service's is."""

from __future__ import annotations

import dataclasses
import typing as t

from standins import Service
from world import World

from ..common.figures import Figure
from ..common.machine import cpu as cpu_time
from . import latency, observe
from .figures import Row
from .scatter import scattered

ADDRESS, GATEWAY = "10.88.0.17", "10.88.0.1"
PORT, OTHER_PORT = 8080, 8081
BESIDE = 70  # below every scattered port

STEPS = ("publish", "again", "change", "change beside", "remove")

Mappings = list[dict[str, t.Any]]


@dataclasses.dataclass(frozen=True)
class Setting:
    """How often to repeat what, how many connections to make to each port in how many rounds, and which ports they lead to."""

    repetitions: int
    rounds: int
    connections: int
    own_numbers: bool = False
    """Whether a port leads to the same number of the service, or all of them to one port of it."""

    def target(self, port: int) -> int:
        """The service's port to which a published one leads."""
        return port if self.own_numbers else PORT


def prepare(world: World) -> None:
    """A bridge, and a service on it."""
    world.apply("bridge", name="iso0", addresses=[f"{GATEWAY}/24"])
    Service(world, "web", "iso0", [ADDRESS], [GATEWAY])


def measure(world: World, number: int, setting: Setting) -> Row:
    """One row: `number` ports of one owner, all of them to the one service."""
    ports = scattered(number)
    wanted: Mappings = [{"host_port": port, "address": ADDRESS, "port": setting.target(port)} for port in ports]
    moved = [
        {**mapping, "port": OTHER_PORT} if index == number // 2 else mapping for index, mapping in enumerate(wanted)
    ]
    beside: Mappings = [{"host_port": BESIDE, "address": ADDRESS, "port": PORT}]
    beside_moved: Mappings = [{**beside[0], "port": OTHER_PORT}]
    times: dict[str, list[float]] = {step: [] for step in STEPS}
    cpu: dict[str, list[float]] = {step: [] for step in STEPS}

    def timed(key: str, changes: bool, **args: t.Any) -> None:
        used = cpu_time()
        result = world.apply("nat_portmap", diff=False, **args)
        times[key].append(world.seconds)
        cpu[key].append(cpu_time() - used)
        if result["changed"] is not changes:
            raise RuntimeError(f"{key} of {number} ports: changed is {result['changed']}")

    row = Row(number)
    for repetition in range(setting.repetitions):
        before = observe.processes(world)
        timed("publish", True, name="web", mappings=wanted)
        timed("again", False, name="web", mappings=wanted)
        if repetition == 0:
            row.processes = len(observe.processes(world)) - len(before)
            row.rules, row.elements = observe.nft_objects(world)
            server = latency.serve(world, [], *{setting.target(ports[0]), setting.target(ports[-1])}, ns="web")
            row.latency = latency.measure(world, ports[0], ports[-1], setting.rounds, setting.connections)
            latency.stop(server)
            samples = [
                observe.kernel_bytes_of_table(world, "inet isolation_nat", "/etc/isolation/nat.nft")
                for _attempt in range(3)
            ]
            row.kernel_bytes = Figure.of(samples)
        timed("change", True, name="web", mappings=moved)
        world.apply("nat_portmap", diff=False, name="other", mappings=beside)
        timed("change beside", True, name="other", mappings=beside_moved)
        world.apply("nat_portmap", diff=False, name="other", state="absent")
        timed("remove", True, name="web", state="absent")
    row.apply, row.again, row.change, row.change_beside, row.remove = (Figure.of(times[step]) for step in STEPS)
    row.cpu = {step: figure for step in STEPS if (figure := Figure.of(cpu[step]))}
    return row
