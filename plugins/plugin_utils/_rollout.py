# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From what the inventory declares and a host has to what each layer of that host is asked for. Pure; it runs on the controller.

It goes by what is there, not by what an earlier run had in mind: a run that was interrupted is gone on with by planning anew.

Note: this is private to the collection, and may change at any time.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from ..module_utils._errors import InvalidOption
from ..module_utils._units import parse_seconds
from . import _removal
from ._releases import LOCALTIME, ROOTFS_KEYS, Data, PlanError, check_ports, merge_services, release
from ._strategies import RECREATE, strategy

SERVICE_ONLY = frozenset({"name", "resources", "ports", "service_address", "rootfs", "strategy", "verify"})
"""What a service declares that is not an option of namespaced_service, or is filled in from the release."""


_GATE = {"min_healthy_time": "min_healthy_time", "deadline": "healthy_deadline", "auto_revert": "auto_revert"}
"""Words of namespaced_service's gate, and those of a rollout."""

_WORK = 600
"""Seconds that unpacking images, starting and stopping may take on a slow host."""


@dataclass(frozen=True)
class Standing:
    """A declared service on a host: the instance that is wanted, and those that are there.

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
        runs = self.there is not None and self.there.get("state") == "started"
        return runs and self.old is None and not self.running


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


def _started(entry: Data) -> bool:
    return entry.get("state") in ("started", "failing")


def _serving(instances: t.Sequence[Data], targets: set[str]) -> Data | None:
    """The instance that ports lead to; without ports, the one that runs and is started at boot, then any that runs."""
    for entry in instances:
        if _addresses(entry) & targets:
            return entry
    running = [entry for entry in instances if _started(entry)]
    running.sort(
        key=lambda entry: (bool(entry.get("enabled")), entry.get("state") == "started", entry.get("updated") or 0)
    )
    return running[-1] if running else None


def _is_held(entry: Data | None) -> bool:
    return bool(entry is not None and (entry.get("options") or {}).get("held"))


def _previous(name: str, instances: t.Sequence[Data], serving: Data | None) -> Data:
    """The instance that a rollback returns to: the one that was changed last of those that do not serve and are not held back.

    While one that is held back still runs beside the one that serves, a rollback was interrupted: it has returned already.
    """
    if serving is not None and any(_is_held(entry) and _started(entry) for entry in instances if entry is not serving):
        return serving
    able = [entry for entry in instances if entry is not serving and not _is_held(entry)]
    if not able:
        raise PlanError(
            f"service {name}: there is no earlier release on this host to return to: deploy one, and keep it (keep_releases)"
        )
    return max(able, key=lambda entry: entry.get("updated") or 0)


def standing(service: Data, info: Data, declared: Data) -> Standing:
    """A service as it stands, and the instance that is wanted of it.

    :raises PlanError: there is no release to return to, or the only one is held back.
    """
    project, name = declared["project"], str(service["name"])
    instances = [
        entry for entry in info.get("services", []) if entry.get("project") == project and entry.get("service") == name
    ]
    serving = _serving(instances, _targets(info, project, name))
    wanted = f"{name}-{release(service)}"
    there = next((entry for entry in instances if entry["name"] == wanted), None)
    held, by_name = None, False
    if declared.get("rollback"):
        there, by_name = _previous(name, instances, serving), True
    elif _is_held(there) and not declared.get("deploy_held"):
        held, there, by_name = wanted, serving, True
        if there is None or there["name"] == wanted:
            raise PlanError(
                f"service {name}: release {wanted} is held back since a rollback, and no other one serves: change its"
                " declaration, or set isolation_deploy_held"
            )
    wanted = there["name"] if by_name and there is not None else wanted
    others = [entry for entry in instances if entry["name"] != wanted]
    others.sort(key=lambda entry: (_started(entry), entry.get("updated") or 0), reverse=True)
    running = [entry for entry in others if _started(entry)]
    return Standing(service, wanted, there, serving, tuple(running), tuple(others), held, not by_name)


def _owner(service: Data) -> str:
    """Whose range of ids the files of a service have: its own, or that of the service whose user namespace it joins."""
    user = str((service.get("namespaces") or {}).get("user") or "")
    return user.partition(":")[2] or str(service["name"])


def _rootfs_options(service: Data) -> Data:
    """What is declared of its root filesystem, with a file that the host's time zone can be mounted on: images have a link there."""
    found = {key: service["rootfs"][key] for key in ROOTFS_KEYS if service["rootfs"].get(key) is not None}
    files = found.get("files") or []
    if service.get("timezone") and not any(file.get("path") == LOCALTIME["path"] for file in files):
        found["files"] = [*files, dict(LOCALTIME)]
    return found


def _place(stands: Standing, rollout: Data) -> Data:
    """What starts the wanted instance: beside the one that serves, or in its place."""
    found: Data = {"gate": {word: rollout[key] for word, key in _GATE.items()}}
    old = stands.old
    if old is not None and _started(old):
        found["replaces" if strategy(stands.service) == RECREATE else "beside"] = old["name"]
    return found


def _elements(stands: Standing, rollout: Data) -> Data:
    """The wanted instance, by layer. One that is there already is named alone, and stays as it is but for its limits."""
    service, name = stands.service, stands.name
    if not stands.declared:
        path = (stands.there or {}).get("slice")
        return {
            "slice": {"name": path, **(service.get("resources") or {})} if path else None,
            "rootfs": None,
            "service": {"name": stands.wanted, "state": "started", **_place(stands, rollout)},
        }
    digest = stands.wanted[len(name) + 1 :]
    options = {key: value for key, value in service.items() if key not in SERVICE_ONLY}
    options.update(
        name=stands.wanted,
        service=name,
        rootfs=stands.wanted,
        slice=f"{name}/{digest}",
        state="started",
        **_place(stands, rollout),
    )
    return {
        "slice": {"name": options["slice"], **(service.get("resources") or {})},
        "rootfs": {
            "name": stands.wanted,
            "service": _owner(service),
            **_rootfs_options(service),
        },
        "service": options,
    }


def _portmap(stands: Standing, published: t.Container[str]) -> Data | None:
    ports, address = stands.service.get("ports") or [], stands.service.get("service_address")
    if ports or address:
        return {
            "name": stands.name,
            "instance": stands.wanted,
            "ports": ports,
            "service_address": address,
            "verify": stands.service.get("verify"),
        }
    return {"name": stands.name, "state": "absent"} if stands.name in published else None


def _own_network(entry: Data) -> bool:
    """Whether an instance's connections can be told from those of others."""
    namespaces = (entry.get("options") or {}).get("namespaces") or {}
    return bool(namespaces.get("network", "private") == "private")


def _ended(stands: Standing, declared: Data) -> list[Data]:
    """What stops all instances but the wanted one, once ports lead to that."""
    ended = []
    for entry in stands.running:
        element: Data = {"name": entry["name"], "state": "stopped"}
        if _own_network(entry):
            element["drain"] = {"timeout": declared["rollout"]["drain_timeout"]}
        ended.append(element)
    return ended


def _holds(stands: Standing, declared: Data) -> list[Data]:
    """What holds back the release that a rollback leaves."""
    old = stands.old
    if not declared.get("rollback") or old is None or _is_held(old):
        return []
    return [{"name": old["name"], "state": "present", "held": True}]


def _in_order(changed: t.Sequence[Standing]) -> list[Standing]:
    """Services that change, each after those that it is to start after."""
    by_name = {stands.name: stands for stands in changed}
    found: dict[str, Standing] = {}

    def place(stands: Standing, way: tuple[str, ...]) -> None:
        for other in [*(stands.service.get("after") or []), *(stands.service.get("requires") or [])]:
            if other in by_name and other not in found and other not in way:
                place(by_name[other], (*way, other))
        found.setdefault(stands.name, stands)

    for stands in changed:
        place(stands, (stands.name,))
    return list(found.values())


def _waves(all_of_them: t.Sequence[Standing], at_once: int) -> list[list[Standing]]:
    """Services in the order in which they are brought up: those that stay come with the first ones that change."""
    changed = _in_order([stands for stands in all_of_them if not stands.settled])
    waves = [changed[first : first + at_once] for first in range(0, len(changed), at_once)] or [[]]
    waves[0] = [stands for stands in all_of_them if stands.settled] + waves[0]
    return waves


def host_plan(info: Data, declared: Data) -> Data:
    """What every layer of one host is asked for: `info` is host_info's answer, `declared` the inventory's data.

    The answer has `bridges`, `slices` and `rootfs`; `waves`, each with `holds`, `services`, `portmaps` (targets by instance) and what follows
    once ports lead there (`ended`); `remove` (by layer); `held`, the releases that are held back; `fresh`: whether a
    release or a published port is new to this host, so that a check beforehand is worth its time; `begins`: whether an instance comes or
    goes, so that other deployments have to wait; and `lease`: for how long at most, without a word.

    :raises PlanError: the data contradicts itself.
    """
    project, rollout = declared["project"], declared["rollout"]
    services = merge_services(declared["services"], declared.get("secret_values"))
    check_ports(services)
    removed = _removal.orphans(services, info, project, int(declared["prune_max"])) if declared["prune"] else []
    only = declared["only"]
    unknown = sorted(set(only) - {service["name"] for service in services})
    if unknown:
        raise PlanError(f"isolation_only names services that are not declared: {', '.join(unknown)}")
    if only or declared.get("rollback"):
        services = [service for service in services if not only or service["name"] in only]
        removed = []
    gone = sorted({entry["service"] for entry in removed})
    published = {entry["name"] for entry in info.get("portmaps", [])}
    known = {entry["name"] for entry in info.get("services", [])}
    stands = [standing(service, info, declared) for service in services]
    for one in stands:
        # The one that is held back tells that it is: without it, the next run would deploy it again.
        older = [entry for entry in one.others if entry["name"] != one.held]
        removed.extend(older[max(0, int(rollout["keep_releases"]) - 1) :])
    elements = {one.name: _elements(one, rollout) for one in stands}
    waves = [_wave(wave, elements, published, declared) for wave in _waves(stands, int(rollout["services_at_once"]))]
    waves[0]["portmaps"] += [{"name": name, "state": "absent"} for name in gone if name in published]
    remove = _removal.of_instances(removed)
    wanted = {one.wanted for one in stands}
    unused = _removal.unused(info, project, {service["name"] for service in services} | set(gone), wanted)
    remove["rootfs"] += unused["rootfs"]
    remove["slices"] += unused["slices"]
    portmaps = [entry for wave in waves for entry in wave["portmaps"]]
    fresh = bool(wanted - known) or any(entry["name"] not in published for entry in portmaps)
    return {
        "bridges": list(declared["bridges"]),
        "slices": [elements[one.name]["slice"] for one in stands if elements[one.name]["slice"]],
        "rootfs": [elements[one.name]["rootfs"] for one in stands if elements[one.name]["rootfs"]],
        "waves": waves,
        "remove": remove,
        "held": {one.name: one.held for one in stands if one.held},
        "fresh": fresh,
        "begins": fresh or any(not one.settled for one in stands) or any(remove.values()),
        "lease": f"{_longest(rollout):g}s",
    }


def _longest(rollout: Data) -> float:
    """Seconds that a wave may take: until its instances are well, until nobody is connected to earlier ones, and as much as images and steps take.

    :raises PlanError: a time can't be meant.
    """
    try:
        times = [parse_seconds(str(rollout[word]), word) for word in ("healthy_deadline", "drain_timeout")]
    except InvalidOption as error:
        raise PlanError(f"isolation_rollout: {error}") from error
    return sum(times) + _WORK


def _wave(wave: t.Sequence[Standing], elements: Data, published: t.Container[str], declared: Data) -> Data:
    portmaps = [_portmap(one, published) for one in wave]
    return {
        "holds": [entry for one in wave for entry in _holds(one, declared)],
        "services": [elements[one.name]["service"] for one in wave],
        "portmaps": [entry for entry in portmaps if entry is not None],
        "ended": [{"instance": one.wanted, "elements": _ended(one, declared)} for one in wave],
        "returns": [
            {"name": one.wanted, "state": "stopped"}
            for one in wave
            if declared["rollout"]["auto_revert"] and "beside" in elements[one.name]["service"]
        ],
    }


def together(plan: Data) -> Data:
    """All waves as one: what check mode is asked, in which no instance starts for another one to wait for."""
    found: Data = {"holds": [], "services": [], "portmaps": [], "ended": [], "returns": []}
    for wave in plan["waves"]:
        for key, entries in found.items():
            entries.extend(wave[key])
    return found


def lost(result: Data) -> list[str]:
    """The instances that did not come into service, by namespaced_service's result."""
    return [entry["name"] for entry in result.get("results") or [] if entry.get("failed")]


def ended(wave: Data, result: Data) -> list[Data]:
    """What stops the earlier instances of those services whose new one came into service."""
    failed = lost(result)
    return [element for one in wave["ended"] if one["instance"] not in failed for element in one["elements"]]
