# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From what the inventory declares and a host has to what each layer of that host is asked for. Pure.

It goes by what is there, not by what an earlier run had in mind: a run that was interrupted is gone on with by planning anew.

Note: this is private to the collection, and may change at any time.
"""

from __future__ import annotations

import typing as t

from .._errors import InvalidOption
from .._units import parse_seconds
from . import removal, secrets
from . import replicas as _replicas
from .releases import LOCALTIME, ROOTFS_KEYS, Data, PlanError, check_ports, merge_services, release
from .standing import Replicas, Standing, is_held, standing, started
from .strategies import RECREATE, strategy

SERVICE_ONLY = frozenset({"name", "resources", "ports", "service_address", "replicas", "rootfs", "strategy", "verify"})
"""What a service declares that is not an option of namespaced_service, or is filled in from the release."""


_GATE = {"min_healthy_time": "min_healthy_time", "deadline": "healthy_deadline", "auto_revert": "auto_revert"}
"""Words of namespaced_service's gate, and those of a rollout."""

_WORK = 600
"""Seconds that unpacking images, starting and stopping may take on a slow host."""


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
    if old is not None and started(old):
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


def _portmap(replicas: Replicas, published: t.Container[str]) -> Data | None:
    first = replicas[0]
    ports, address = first.service.get("ports") or [], first.service.get("service_address")
    if ports or address:
        return {
            "name": first.name,
            "instances": [one.wanted for one in replicas],
            "ports": ports,
            "service_address": address,
            "verify": first.service.get("verify"),
        }
    return {"name": first.name, "state": "absent"} if first.name in published else None


def _own_network(entry: Data) -> bool:
    """Whether an instance's connections can be told from those of others."""
    namespaces = (entry.get("options") or {}).get("namespaces") or {}
    return bool(namespaces.get("network", "private") == "private")


def _drain(entry: Data, declared: Data) -> Data:
    """What has an instance stopped only when nobody is connected any more."""
    return {"drain": {"timeout": declared["rollout"]["drain_timeout"]}} if _own_network(entry) else {}


def _ended(stands: Standing, declared: Data) -> list[Data]:
    """What stops all instances but the wanted one, once ports lead to that: at last if they are kept for a rollback, which this is not."""
    rollout = declared["rollout"]
    kept = 0.0 if declared.get("rollback") else _seconds(rollout, "keep_running")
    # Who is connected has as long as otherwise.
    longest = max(kept, _seconds(rollout, "drain_timeout"))
    last: Data = {"keep_running": f"{longest:g}s"} if kept else {}
    return [
        {"name": entry["name"], "state": "stopped", **(last or _drain(entry, declared))} for entry in stands.running
    ]


def _holds(stands: Standing, declared: Data) -> list[Data]:
    """What holds back the release that a rollback leaves."""
    old = stands.old
    if not declared.get("rollback") or old is None or is_held(old):
        return []
    return [{"name": old["name"], "state": "present", "held": True}]


def _in_order(changed: t.Sequence[Replicas]) -> list[Replicas]:
    """Services that change, each after those that it is to start after."""
    by_name = {replicas[0].name: replicas for replicas in changed}
    found: dict[str, Replicas] = {}

    def place(name: str, way: tuple[str, ...]) -> None:
        service = by_name[name][0].service
        for other in [*(service.get("after") or []), *(service.get("requires") or [])]:
            if other in by_name and other not in found and other not in way:
                place(other, (*way, other))
        found.setdefault(name, by_name[name])

    for name in by_name:
        place(name, (name,))
    return list(found.values())


def _settled(replicas: Replicas) -> bool:
    return all(one.settled for one in replicas)


def _replacing(replicas: Replicas) -> int:
    """How many instances take another one's place."""
    return sum(1 for one in replicas if one.old is not None or one.running)


def _waves(services: t.Sequence[Replicas], at_once: int) -> list[list[Replicas]]:
    """Services in the order in which they are brought up: those that stay come with the first ones that change.

    `at_once` is for what a host has to bear twice for a while; what takes no other's place takes none in a wave. Replicas of one service come
    together, since their ports are one: a wave has more than `at_once` instances if one service has.
    """
    waves: list[list[Replicas]] = [[]]
    for replicas in _in_order([one for one in services if not _settled(one)]):
        if waves[-1] and _replacing(replicas) and sum(map(_replacing, waves[-1])) + _replacing(replicas) > at_once:
            waves.append([])
        waves[-1].append(replicas)
    waves[0] = [replicas for replicas in services if _settled(replicas)] + waves[0]
    return waves


def _spare(replicas: Replicas, info: Data, declared: Data) -> list[Data]:
    """Instances of a service beyond its number of replicas, or that an earlier release did not have."""
    numbers = {_replicas.number_of({"name": one.wanted}) for one in replicas}
    return [
        entry
        for entry in info.get("services", [])
        if entry.get("project") == declared["project"] and entry.get("service") == replicas[0].name
        if _replicas.number_of(entry) not in numbers
    ]


def host_plan(info: Data, declared: Data) -> Data:
    """What every layer of one host is asked for: `info` is host_info's answer, `declared` the inventory's data.

    The answer has `bridges`, `slices` and `rootfs`; `waves`, each with `holds`, `services`, `portmaps` (targets by instance) and what follows
    once ports lead there (`ended`); `remove` (by layer); `held`, the releases that are held back; `begins`: whether an
    instance comes or goes, or a port is published for the first time, so that other deployments have to wait; and `lease`: for how long at most,
    without a word.

    :raises PlanError: the data contradicts itself.
    """
    project, rollout = declared["project"], declared["rollout"]
    services = merge_services(declared["services"], declared.get("secret_values"))
    check_ports(services)
    if _seconds(rollout, "keep_running") and int(rollout["keep_releases"]) < 2:
        raise PlanError("isolation_rollout: keep_running: with keep_releases below 2 nothing is kept to return to")
    removed = removal.orphans(services, info, project, int(declared["prune_max"])) if declared["prune"] else []
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
    replicas = [standing(service, info, declared) for service in services]
    stands = [one for group in replicas for one in group]
    for one in stands:
        # The one that is held back tells that it is: without it, the next run would deploy it again.
        older = [entry for entry in one.others if entry["name"] != one.held]
        removed.extend(older[max(0, int(rollout["keep_releases"]) - 1) :])
    spare = [entry for group in replicas for entry in _spare(group, info, declared)]
    elements = {one.wanted: _elements(one, rollout) for one in stands}
    waves = [_wave(wave, elements, published, declared) for wave in _waves(replicas, int(rollout["services_at_once"]))]
    waves[0]["portmaps"] += [{"name": name, "state": "absent"} for name in gone if name in published]
    remove = removal.of_instances([*removed, *spare])
    drained = {entry["name"]: _drain(entry, declared) for entry in spare if started(entry)}
    remove["services"] = [{**element, **drained.get(element["name"], {})} for element in remove["services"]]
    wanted = {one.wanted for one in stands}
    unused = removal.unused(info, project, {service["name"] for service in services} | set(gone), wanted)
    remove["rootfs"] += unused["rootfs"]
    remove["slices"] += unused["slices"]
    portmaps = [entry for wave in waves for entry in wave["portmaps"]]
    fresh = bool(wanted - known) or any(entry["name"] not in published for entry in portmaps)
    return {
        "bridges": list(declared["bridges"]),
        "slices": [elements[one.wanted]["slice"] for one in stands if elements[one.wanted]["slice"]],
        "rootfs": [elements[one.wanted]["rootfs"] for one in stands if elements[one.wanted]["rootfs"]],
        "waves": waves,
        "remove": remove,
        "held": {
            group[0].name: ", ".join(one.held for one in group if one.held) for group in replicas if group[0].held
        },
        "begins": fresh or any(not one.settled for one in stands) or any(remove.values()),
        "lease": f"{_longest(rollout):g}s",
    }


def values_for(services: t.Sequence[Data], values: t.Mapping[str, t.Any]) -> Data:
    """Of an inventory's values of secrets those that declared services have secrets for."""
    elements = [
        {
            "name": _replicas.instance(service["name"], release(service), number),
            "service": service["name"],
            "secrets": service.get("secrets"),
        }
        for service in services
        for number in range(1, _replicas.count(service) + 1)
    ]
    return secrets.secret_values({"services": elements}, values)


def _seconds(rollout: Data, word: str) -> float:
    """A time of a rollout.

    :raises PlanError: it can't be meant.
    """
    try:
        return parse_seconds(str(rollout[word]), word)
    except InvalidOption as error:
        raise PlanError(f"isolation_rollout: {error}") from error


def _longest(rollout: Data) -> float:
    """Seconds that a wave may take: until its instances are well, until nobody is connected to earlier ones, and as much as images and steps take.

    :raises PlanError: a time can't be meant.
    """
    return _seconds(rollout, "healthy_deadline") + _seconds(rollout, "drain_timeout") + _WORK


def _returns(replicas: Replicas, elements: Data, rollout: Data) -> list[Data]:
    """What stops the instances that are started beside those that serve."""
    beside = rollout["auto_revert"] and any("beside" in elements[one.wanted]["service"] for one in replicas)
    fresh = [one.wanted for one in replicas if one.there is None or not started(one.there) or one.old is not None]
    return [{"name": name, "state": "stopped"} for name in fresh] if beside else []


def _wave(wave: t.Sequence[Replicas], elements: Data, published: t.Container[str], declared: Data) -> Data:
    portmaps = [_portmap(replicas, published) for replicas in wave]
    return {
        "holds": [entry for replicas in wave for one in replicas for entry in _holds(one, declared)],
        "services": [elements[one.wanted]["service"] for replicas in wave for one in replicas],
        "portmaps": [entry for entry in portmaps if entry is not None],
        "ended": [
            {
                "instances": [one.wanted for one in replicas],
                "elements": [entry for one in replicas for entry in _ended(one, declared)],
                "returns": _returns(replicas, elements, declared["rollout"]),
            }
            for replicas in wave
        ],
        "returns": [entry for replicas in wave for entry in _returns(replicas, elements, declared["rollout"])],
    }


def _empty_wave() -> Data:
    return {"holds": [], "services": [], "portmaps": [], "ended": [], "returns": []}


def together(plan: Data) -> Data:
    """All waves as one, with what they stand on: what check mode is asked, in which no instance starts for another one to wait for."""
    found = _empty_wave()
    for wave in plan["waves"]:
        for key, entries in found.items():
            entries.extend(wave[key])
    return {**{layer: plan[layer] for layer in ("bridges", "slices", "rootfs")}, **found}


def due(plan: Data, differing: t.Mapping[str, t.Sequence[str]]) -> Data:
    """A plan without what is as it is to be: `differing` names what each layer would change, as deploy_step tells.

    A service stays if anything of it differs: its instances, its ports, or what ends once ports lead to them.
    """
    names = {layer: frozenset(found) for layer, found in differing.items()}

    def of(layer: str, elements: t.Sequence[Data]) -> list[Data]:
        return [element for element in elements if element["name"] in names.get(layer, ())]

    waves = []
    for wave in plan["waves"]:
        ports = of("portmaps", wave["portmaps"])
        moved = {name for element in ports for name in element.get("instances", [])}
        moved.update(element["name"] for element in of("services", wave["services"]))
        groups = [
            one for one in wave["ended"] if not moved.isdisjoint(one["instances"]) or of("ended", one["elements"])
        ]
        kept = {name for one in groups for name in one["instances"]}
        left = {
            "holds": of("holds", wave["holds"]),
            "services": [element for element in wave["services"] if element["name"] in kept],
            "portmaps": [
                element
                for element in wave["portmaps"]
                if element in ports or not kept.isdisjoint(element.get("instances", []))
            ],
            "ended": groups,
            "returns": [element for one in groups for element in one["returns"]],
        }
        if any(left.values()):
            waves.append(left)
    return {
        **plan,
        "bridges": plan["bridges"] if names.get("bridges") else [],
        "slices": of("slices", plan["slices"]),
        "rootfs": of("rootfs", plan["rootfs"]),
        "waves": waves,
    }


def in_steps(plan: Data) -> list[Data]:
    """The waves as they are brought up one after the other, the first one with what all of them stand on. None if there is nothing to do."""
    below = {layer: plan[layer] for layer in ("bridges", "slices", "rootfs")}
    if not (plan["waves"] or any(below.values()) or any(plan["remove"].values())):
        return []
    first, *later = plan["waves"] or [_empty_wave()]
    return [{**below, **first}, *later]


def lost(result: Data) -> list[str]:
    """The instances that did not come into service, by namespaced_service's result."""
    return [entry["name"] for entry in result.get("results") or [] if entry.get("failed")]


def ended(wave: Data, result: Data) -> list[Data]:
    """What stops the earlier instances of those services whose new ones came into service, and the new ones that did of a service of which one did not."""
    failed = {*lost(result)}
    found: list[Data] = []
    for one in wave["ended"]:
        if not failed.intersection(one["instances"]):
            found += one["elements"]
        elif not failed.issuperset(one["instances"]):
            found += [element for element in one["returns"] if element["name"] not in failed]
    return found
