# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""All instances of a host as host_info tells them: what they were asked to be, how they are reached, and what they use."""

from __future__ import annotations

import typing as t

from .._cgroup.usage import Meter
from .._host import proven, runit, traffic
from .._host.proc import started
from .._host.records import Record, load_records
from .failing import moment, told
from .instances import Instance, all_instances, describe
from .supervise import unit_name

_TOLD = frozenset({"service", "rootfs", "slice", "command", "health"})
"""Options that `describe` tells already, by the same names."""

_FIGURES = ("usage", "peak", "pressure", "throttling", "oom_kills")


def asked(spec: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """What a service was asked to be. Of its environment the names alone: values may be secret, and what is told gets into logs."""
    found = {option: value for option, value in sorted(spec.items()) if option not in _TOLD}
    if "environment" in found:
        found["environment"] = sorted(found["environment"])
    return found


def ids(assigned: t.Mapping[str, t.Any]) -> dict[str, int] | None:
    """The ids that its command runs with, inside and on the host."""
    inside, base = str(assigned.get("user", "")).split(":"), assigned.get("id_base")
    if len(inside) != 2 or base is None or not all(part.isdigit() for part in inside):
        return None
    uid, gid = map(int, inside)
    return {"uid": uid, "gid": gid, "host_uid": base + uid, "host_gid": base + gid}


def published(addresses: t.Collection[str], portmaps: t.Iterable[Record]) -> list[dict[str, t.Any]]:
    """The host's ports that lead to one of these addresses, as the records of nat_portmap have them."""
    found = []
    for record in portmaps:
        for mapping in record.spec.get("mappings", []):
            targets = [mapping.get("address"), *(one.get("address") for one in mapping.get("backends", []))]
            if any(target in addresses for target in targets):
                found.append({"portmap": record.name, **mapping})
    return found


def _networks(assigned: t.Mapping[str, t.Any]) -> list[dict[str, t.Any]]:
    """Its links: `name` is the end inside, `interface` the host's; `traffic` is null where the link is not there."""
    return [
        {"name": f"eth{index}", **item, "traffic": traffic.of_service(str(item["interface"]))}
        for index, item in enumerate(assigned.get("networks", []))
    ]


def _log(name: str, on_systemd: bool) -> dict[str, str]:
    if on_systemd:
        return {"type": "journal", "unit": unit_name(name)}
    return {"type": "file", "path": runit.log_directory(name) + "/current"}


def _started_at(pid: int) -> str | None:
    seconds = started(pid)
    return None if seconds is None else moment(seconds)


def _details(
    name: str, instance: Instance, on_systemd: bool, portmaps: t.Iterable[Record], meter: Meter
) -> dict[str, t.Any]:
    record, running = instance.record, instance.running
    assigned: t.Mapping[str, t.Any] = record.assigned if record is not None else {}
    networks = _networks(assigned)
    addresses = [item[family] for item in networks for family in ("ipv4", "ipv6") if item.get(family)]
    figures = meter.read(running.cgroup) if running is not None else {}
    return {
        "options": asked(record.spec) if record is not None else {},
        "ids": ids(assigned),
        "networks": networks,
        "published": published(addresses, portmaps),
        "started_at": _started_at(running.pid) if running is not None else None,
        "enabled": instance.at_boot,
        "proven": proven.is_proven(name),
        "log": _log(name, on_systemd),
        **told(name, instance, on_systemd),
        **{key: figures.get(key) for key in _FIGURES},
    }


def blank() -> tuple[str, ...]:
    """The names of all that is told of an instance."""
    nobody = Instance(None)
    return (*describe("", nobody, False), *_details("", nobody, False, (), Meter()))


def observe_all() -> list[dict[str, t.Any]]:
    """Every instance of the host, as host_info reports it."""
    found, on_systemd = all_instances()
    portmaps, meter = list(load_records("portmap").values()), Meter()
    return [
        {**describe(name, instance, on_systemd), **_details(name, instance, on_systemd, portmaps, meter)}
        for name, instance in found.items()
    ]
