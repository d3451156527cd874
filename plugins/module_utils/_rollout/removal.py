# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What takes things back from a host, by layer. Pure.

Note: this is private to the collection, and may change at any time.
"""

from __future__ import annotations

import typing as t

from . import replicas
from .releases import Data, PlanError


def orphans(services: t.Sequence[Data], info: Data, project: str, limit: int) -> list[Data]:
    """Instances of services that the inventory no longer names.

    :raises PlanError: there are more than `limit` such services, as when a typo has emptied a list.
    """
    declared = {service["name"] for service in services}
    found = [
        entry
        for entry in info.get("services", [])
        if entry.get("project") == project and entry.get("service") not in declared
    ]
    names = sorted({entry["service"] for entry in found})
    if len(names) > limit:
        raise PlanError(
            f"isolation_prune would remove {len(names)} services ({', '.join(names)}), more than isolation_prune_max"
            f" ({limit}): if that is meant, raise it"
        )
    return found


def unused(info: Data, project: str, names: t.Container[str], wanted: t.Container[str]) -> Data:
    """Root filesystems and slices of releases that have no instance: what a deployment prepared that then failed.

    `names` are the services whose releases these may be, `wanted` the instances that this deployment asks for.
    """
    taken = {entry["name"] for entry in info.get("services", [])}

    def idle(name: str) -> bool:
        parts = replicas.parts(name)
        return parts is not None and parts[0] in names and name not in taken and name not in wanted

    rootfs = [entry["name"] for entry in info.get("rootfs", []) if entry.get("project") == project]
    slices = [entry["name"] for entry in info.get("slices", []) if entry.get("project") == project]
    return {
        "rootfs": [{"name": name, "state": "absent"} for name in rootfs if idle(name)],
        "slices": [
            {"name": name, "state": "absent"}
            for name in slices
            if name.count("/") == 1 and idle(name.replace("/", "-"))
        ],
    }


def of_instances(entries: t.Sequence[Data]) -> Data:
    """What removes instances, by layer."""
    return {
        "services": [{"name": entry["name"], "state": "absent"} for entry in entries],
        "rootfs": [
            {"name": entry["rootfs"], "state": "absent"}
            for entry in entries
            if not str(entry["rootfs"]).startswith("/")
        ],
        "slices": [{"name": entry["slice"], "state": "absent"} for entry in entries if entry.get("slice")],
    }


def of_everything(info: Data) -> Data:
    """What takes back all that host_info told of, by layer: the elements of each module, innermost slices first."""
    kinds = ("portmaps", "services", "rootfs", "slices", "bridges")
    names = {
        kind: sorted((entry["name"] for entry in info.get(kind, [])), key=lambda name: (-name.count("/"), name))
        for kind in kinds
    }
    # A volume is purged with an instance of any name; one of this name, if there was any, has gone before.
    volumes = [
        {"name": entry["name"], "state": "absent", "purge_volumes": [entry["name"]]}
        for entry in info.get("volumes", [])
    ]
    return {**{kind: [{"name": name, "state": "absent"} for name in names[kind]] for kind in kinds}, "volumes": volumes}
