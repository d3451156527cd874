# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How declared services stand on a host: what serves, and which instances are wanted. Pure.

Note: this is private to the collection, and may change at any time.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from . import replicas as _replicas
from .releases import Data, PlanError, release


@dataclass(frozen=True)
class Standing:
    """A replica of a declared service on a host: the instance that is wanted, and those that are there.

    `there` is the wanted instance, `serving` the one that ports lead to at present, or that runs if none does; `running` are all others
    that run, `others` all others, the ones to keep first. `held` is the release that was wanted and is held back.
    """

    service: Data
    wanted: str
    there: Data | None
    serving: Data | None
    running: tuple[Data, ...]
    others: tuple[Data, ...]
    held: str | None = None
    declared: bool = True

    @property
    def name(self) -> str:
        """The service's."""
        return str(self.service["name"])

    @property
    def old(self) -> Data | None:
        """The instance that serves in place of the wanted one."""
        return self.serving if self.serving is not None and self.serving["name"] != self.wanted else None

    @property
    def settled(self) -> bool:
        """Whether the wanted one runs, serves and is alone."""
        runs = self.there is not None and started(self.there) and self.there.get("state") == "started"
        return runs and self.old is None and not self.running


Replicas = t.List[Standing]
"""Those of one service."""


def _targets(info: Data, project: str, service: str) -> set[str]:
    """The addresses that a service's ports and service addresses lead to."""
    found: set[str] = set()
    for portmap in info.get("portmaps", []):
        if portmap.get("name") != service or portmap.get("project") not in (None, project):
            continue
        for mapping in portmap.get("mappings") or []:
            found.update(str(one.get("address")) for one in (mapping, *(mapping.get("backends") or [])))
        found.update(str(one["to"]) for one in portmap.get("service_addresses") or [])
    return found


def _addresses(entry: Data) -> set[str]:
    return {item[key] for item in entry.get("addresses") or [] for key in ("ipv4", "ipv6") if item.get(key)}


def started(entry: Data) -> bool:
    """Whether an instance runs, or is to run: not for a rollback only, until the host stops it."""
    return entry.get("state") in ("started", "failing") and entry.get("stops_in") is None


def _serving(instances: t.Sequence[Data], targets: set[str]) -> Data | None:
    """The instance that ports lead to; without ports, the one that runs and is started at boot, then any that runs."""
    for entry in instances:
        if _addresses(entry) & targets:
            return entry
    running = [entry for entry in instances if started(entry)]
    running.sort(
        key=lambda entry: (bool(entry.get("enabled")), entry.get("state") == "started", entry.get("updated") or 0)
    )
    return running[-1] if running else None


def is_held(entry: Data | None) -> bool:
    """Whether an instance is of a release that is held back."""
    return bool(entry is not None and (entry.get("options") or {}).get("held"))


def _proven(entry: Data) -> bool:
    """Whether an instance has ever been well."""
    return bool(entry.get("proven", True))


def _changed_last(instances: t.Iterable[Data]) -> Data | None:
    return max(instances, key=lambda entry: entry.get("updated") or 0, default=None)


def _previous(name: str, instances: t.Sequence[Data], serving: Data | None) -> str:
    """The release that a rollback returns to: the one that was changed last of those that have been well, do not serve and are not held back.

    While one that is held back still runs beside the one that serves, a rollback was interrupted: it has returned already.
    """
    current = _replicas.release_of(serving) if serving is not None else None
    rest = [entry for entry in instances if _replicas.release_of(entry) != current]
    if current is not None and any(is_held(entry) and started(entry) for entry in rest):
        return current
    unfit = {_replicas.release_of(entry) for entry in rest if is_held(entry) or not _proven(entry)}
    found = _changed_last(entry for entry in rest if _replicas.release_of(entry) not in unfit)
    if found is None:
        raise PlanError(
            f"service {name}: there is no earlier release on this host to return to: deploy one, and keep it (keep_releases)"
        )
    return _replicas.release_of(found)


def standing(service: Data, info: Data, declared: Data) -> list[Standing]:
    """The replicas of a service as they stand, and the instances that are wanted of it.

    A rollback leaves out those that the earlier release did not have.

    :raises PlanError: there is no release to return to, or the only one is held back.
    """
    project, name = declared["project"], str(service["name"])
    known = [
        entry for entry in info.get("services", []) if entry.get("project") == project and entry.get("service") == name
    ]
    targets = _targets(info, project, name)
    replicas = {
        number: [entry for entry in known if _replicas.number_of(entry) == number]
        for number in range(1, _replicas.count(service) + 1)
    }
    serving = {number: _serving(instances, targets) for number, instances in replicas.items()}
    digest, held = release(service), None
    if declared.get("rollback"):
        digest = _previous(name, known, _changed_last(entry for entry in serving.values() if entry is not None))
    elif any(is_held(entry) and _replicas.release_of(entry) == digest for entry in known):
        held = None if declared.get("deploy_held") else digest
    by_name = bool(held or declared.get("rollback"))
    found = []
    for number, instances in replicas.items():
        if held:
            there = serving[number]
            if there is None or _replicas.release_of(there) == held:
                continue
        else:
            wanted = _replicas.instance(name, digest, number)
            there = next((entry for entry in instances if entry["name"] == wanted), None)
            if by_name and there is None:
                continue
        wanted = there["name"] if there is not None else wanted
        others = [entry for entry in instances if entry["name"] != wanted]
        # One that has never been well takes the place of none to return to.
        others.sort(key=lambda entry: (started(entry), _proven(entry), entry.get("updated") or 0), reverse=True)
        running = tuple(entry for entry in others if started(entry))
        left_out = _replicas.instance(name, held, number) if held else None
        found.append(Standing(service, wanted, there, serving[number], running, tuple(others), left_out, not by_name))
    if not found:
        why = f"release {name}-{digest} is held back since a rollback, and no other one serves: change its declaration, or set isolation_deploy_held"
        raise PlanError(f"service {name}: " + (why if held else f"none of its replicas has been of release {digest}"))
    return found
