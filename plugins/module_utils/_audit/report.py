# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The audit of a host: running services, and what the kernel says of each."""

from __future__ import annotations

import os
import typing as t

from .._errors import IsolationError
from .._host import evidence, secrets
from .._host.records import load_records
from .._service.instances import Instance, all_instances
from .._service.listing import published
from .items import counts, judge
from .model import Subject


def _links(instances: t.Iterable[Instance]) -> dict[int | None, list[dict[str, t.Any]]]:
    """The networks by network namespace: a service that has joined another one is reached by that one's addresses."""
    found: dict[int | None, list[dict[str, t.Any]]] = {}
    for instance in instances:
        if instance.record is not None and instance.running is not None:
            kept = found.setdefault(instance.running.namespaces.get("net"), [])
            kept += instance.record.assigned.get("networks", [])
    return found


def observe_all() -> list[dict[str, t.Any]]:
    """Every running instance of the host with its items.

    :raises IsolationError: who asks is not root, who alone may see the processes of all.
    """
    if os.geteuid() != 0:
        raise IsolationError("audit: the kernel shows the namespaces and mounts of services to root alone")
    instances, _on_systemd = all_instances()
    portmaps, roots = list(load_records("portmap").values()), load_records("rootfs")
    host = evidence.of_host()
    links = _links(instances.values())
    found = []
    for name, instance in instances.items():
        record, running = instance.record, instance.running
        if record is None or running is None:
            continue
        networks = links.get(running.namespaces.get("net"), [])
        seen = evidence.of_service(running.pid, running.cgroup, [str(item["interface"]) for item in networks], host)
        if seen is None:
            continue
        addresses = [item[family] for item in networks for family in ("ipv4", "ipv6") if item.get(family)]
        root = roots.get(str(record.spec.get("rootfs")))
        items = judge(
            Subject(
                kernel=seen,
                host=host,
                restart=record.spec.get("restart") or {},
                health=record.spec.get("health"),
                published=published(addresses, portmaps),
                source=root.spec.get("source") or {} if root is not None else {},
                own=(secrets.folder(name),),
            )
        )
        found.append(
            {
                "name": name,
                "service": record.spec.get("service", name),
                "project": record.project,
                "pid": running.pid,
                "counts": counts(items),
                "items": items,
            }
        )
    return found
