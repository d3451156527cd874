# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How a service is told to stop: at once, when nobody is connected with it any more, or when it has run on for a while."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

from .._host import ending, flows, probe
from .._plan import Change, Step
from .apply import Handle, Stop
from .instances import Instance
from .promises import ServiceRefused
from .spec import ServiceSpec
from .state import World
from .stops import shared_network
from .supervise import unit_name

LOOK = 0.1
"""Seconds between two looks at the connections."""


@dataclass(frozen=True)
class Drain:
    """Step: wait until nobody is connected with an instance, for at most `timeout` seconds."""

    handle: Handle
    timeout: float
    told: dict[str, t.Any] = field(default_factory=dict, compare=False)
    waits: t.ClassVar[bool] = True

    def run(self) -> None:
        """Wait. Connections that are left are no failure: they are told."""
        begin = probe.now()
        while True:
            running = self.handle.running()
            left = 0 if running is None else flows.of_process(running.pid)
            passed = probe.now() - begin
            if not left or passed >= self.timeout:
                break
            probe.pause(min(LOOK, self.timeout - passed))
        self.told["drained"] = {"seconds": round(passed, 1), "remaining": left}


@dataclass(frozen=True)
class Draining:
    """What is to be waited for before one element stops: lines of the diff, steps, and what check mode tells."""

    changes: tuple[Change, ...] = ()
    steps: tuple[Step, ...] = ()
    told: t.Mapping[str, t.Any] = field(default_factory=dict)


def plan_drain(spec: ServiceSpec, instance: Instance, handle: Handle, world: World) -> Draining:
    """What is to be waited for. Pure.

    :raises ServiceRefused: its network namespace has sockets of others.
    """
    if spec.drain is None or instance.record is None or instance.running is None:
        return Draining()
    network = instance.record.spec.get("namespaces", {}).get("network", "private")
    if network != "private":
        raise ServiceRefused(f"service {spec.name}: drain: {shared_network(network)}")
    return Draining(
        (Change("drain", None, f"until nobody is connected, for at most {spec.drain:g}s"),),
        (Drain(handle, spec.drain),),
        {"drained": {"seconds": None, "remaining": world.connections.get(spec.name, 0)}},
    )


def stop_steps(spec: ServiceSpec, instance: Instance, handle: Handle, draining: Draining) -> list[Step]:
    """What stops an instance that runs, or is to. Pure."""
    if not spec.keep_running or instance.running is None:
        return [*draining.steps, Stop(handle, waits=bool(draining.steps))]
    if instance.ending is not None:
        return []
    return [ending.EndLater(handle.name, unit_name(handle.name), handle.stop_timeout, spec.keep_running)]


def told_of_stop(spec: ServiceSpec, instance: Instance, draining: Draining) -> dict[str, t.Any]:
    """What check mode tells of an instance that is to be stopped. Pure."""
    if spec.keep_running and instance.running is not None:
        left = spec.keep_running if instance.ending is None else round(instance.ending, 1)
        return {"state": instance.state, "stops_in": left}
    return {"state": "stopped", **draining.told}
