# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The other instances of a service: the one that is replaced, and the one that is started beside. Pure."""

from __future__ import annotations

from .._host.records import Record, check_project
from .apply import Handle
from .instances import LAYER, Instance, recorded_cgroup
from .promises import ServiceRefused
from .spec import ServiceSpec
from .state import World


def recorded_handle(record: Record, world: World) -> Handle:
    """An instance by what its record says."""
    group = recorded_cgroup(record.name, record)
    return Handle(record.name, world.systemd, float(record.spec["stop_timeout"]), group)


def replaced(spec: ServiceSpec, service: str, world: World, project: str) -> tuple[Instance, Handle] | None:
    """The instance that a start is to replace, unless it is gone or stopped for good.

    :raises ServiceRefused: it is an instance of another service, or belongs to another project.
    """
    if spec.replaces is None or spec.state not in ("started", "restarted", "reloaded"):
        return None
    old = world.instances[spec.replaces]
    if old.record is None:
        return None
    check_project(LAYER, spec.replaces, project, old.record)
    if old.record.spec["service"] != service:
        raise ServiceRefused(
            f"service {spec.name}: replaces: {spec.replaces} is an instance of service {old.record.spec['service']}, not {service}"
        )
    if not (old.running or old.wanted or old.at_boot):
        return None
    return old, recorded_handle(old.record, world)


def check_beside(spec: ServiceSpec, service: str, world: World) -> None:
    """Refuse to start one beside a stranger.

    :raises ServiceRefused: there is no such instance of the service.
    """
    if spec.beside is None:
        return
    record = world.records.get(spec.beside)
    if record is None or record.spec["service"] != service:
        raise ServiceRefused(
            f"service {spec.name}: beside: {spec.beside} is no instance of service {service} on this host: leave it out"
        )
