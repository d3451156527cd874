# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From what the inventory declares to what each layer of a host is asked for. Pure; it runs on the controller.

Note: this is private to the collection, and may change at any time.
"""

from __future__ import annotations

import hashlib
import json
import re
import typing as t

from . import _secrets

Data = t.Dict[str, t.Any]

RELEASE_FORMAT = 1
"""Changes only if the same declaration must give another release: a new format replaces every instance everywhere."""

RELEASE_LENGTH = 7
_RELEASE = re.compile(f"[0-9a-f]{{{RELEASE_LENGTH}}}")

LIVE = frozenset(
    {
        "name",
        "resources",
        "ports",
        "service_address",
        "health",
        "gate",
        "restart",
        "reload_signal",
        "reload_command",
        "after",
        "requires",
        "runtime_policy",
        "stop_timeout",
        "strategy",
    }
)
"""What a service may declare that is no part of its release, since it changes without a new instance."""

ROOTFS_KEYS = ("source", "remote_src", "pull", "mode", "size", "files", "max_size", "max_entries")
"""What a service may declare under `rootfs`, as options of rootfs_prepare."""

ROOTFS_LIVE = frozenset({"remote_src", "pull", "max_size", "max_entries"})
"""What of those says how an image is had, not what is in it."""

ACCESS = frozenset({"username", "password", "tls_verify", "ca_path"})
"""What says how a source is reached, in every kind of source: a password that is changed makes no new release."""

SERVICE_ONLY = frozenset({"name", "resources", "ports", "service_address", "rootfs", "strategy"})
"""What a service declares that is not an option of namespaced_service, or is filled in from the release."""


LOCALTIME = {"path": "/etc/localtime", "content": "", "mode": "0644"}
"""What is laid into the root filesystem of a service that has a time zone."""


class PlanError(Exception):
    """The inventory's data can't be meant; nothing has been changed on any host."""


def canonical(value: t.Any) -> str:
    """One text for equal data, whatever the order of its keys (RFC 8259, no white space, keys sorted)."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str)


def _identity(source: t.Any) -> t.Any:
    """What of a declared source makes its content: not how it is reached."""
    if not isinstance(source, dict):
        return source
    return {
        kind: {key: value for key, value in given.items() if key not in ACCESS} if isinstance(given, dict) else given
        for kind, given in source.items()
    }


def release(service: Data) -> str:
    """The release of a declared service: seven hexadecimal digits.

    They depend on what was declared and can't change in a running instance, on nothing else: no default, no limit,
    no port. So they are the same on every host, in check mode, and after an upgrade of the collection.
    """
    declared = {key: value for key, value in service.items() if key not in LIVE and value is not None}
    rootfs = declared.get("rootfs")
    if isinstance(rootfs, dict):
        declared["rootfs"] = {key: value for key, value in rootfs.items() if key not in ROOTFS_LIVE}
        declared["rootfs"]["source"] = _identity(rootfs.get("source"))
    if "secrets" in declared:
        declared["secrets"] = _secrets.identity(declared["secrets"])
    text = canonical({"release_format": RELEASE_FORMAT, "service": service["name"], "declared": declared})
    return hashlib.sha256(text.encode()).hexdigest()[:RELEASE_LENGTH]


def merge_services(lists: t.Mapping[str, t.Sequence[Data]], values: t.Any = None) -> list[Data]:
    """The services of several variables, in the order of the variables' names. `values` are those of secrets.

    :raises PlanError: a service has no name, no command, or its name is declared twice.
    """
    seen: dict[str, str] = {}
    merged = []
    for variable in sorted(lists):
        for service in lists[variable]:
            name = service.get("name")
            if not name:
                raise PlanError(f"{variable}: a service has no name")
            if name in seen:
                raise PlanError(f"service {name} is declared twice: in {seen[name]} and in {variable}")
            for required in ("rootfs", "command"):
                if not service.get(required):
                    raise PlanError(f"service {name} ({variable}): {required} is missing")
            unknown = sorted(set(service["rootfs"]) - set(ROOTFS_KEYS))
            if unknown:
                raise PlanError(
                    f"service {name} ({variable}): rootfs: {', '.join(unknown)} is not known here: give {', '.join(ROOTFS_KEYS)}"
                )
            if service.get("strategy", "recreate") != "recreate":
                raise PlanError(
                    f"service {name}: strategy {service['strategy']!r} is not known: this version has recreate"
                )
            exposed = _secrets.wrong(service, values)
            if exposed:
                raise PlanError(f"service {name} ({variable}): {exposed}")
            seen[name] = variable
            merged.append(service)
    return merged


def _host_ports(mapping: Data) -> range:
    first, _dash, last = str(mapping["host_port"]).partition("-")
    return range(int(first), int(last or first) + 1)


def check_ports(services: t.Sequence[Data]) -> None:
    """Refuse two services that publish one host port.

    :raises PlanError: it names both services and the port.
    """
    taken: dict[tuple[str, int], list[tuple[str, str]]] = {}
    for service in services:
        for mapping in service.get("ports") or []:
            address = str(mapping.get("host_address") or "")
            try:
                ports = _host_ports(mapping)
            except (KeyError, ValueError) as error:
                raise PlanError(
                    f"service {service['name']}: ports: {mapping!r} needs a host_port, a number or a range"
                ) from error
            for port in ports:
                others = taken.setdefault((mapping.get("protocol", "tcp"), port), [])
                for owner, other in others:
                    if owner != service["name"] and (not address or not other or address == other):
                        protocol = mapping.get("protocol", "tcp")
                        raise PlanError(
                            f"host port {port}/{protocol} is published by two services: {owner} and {service['name']}"
                        )
                others.append((service["name"], address))


def _instances(info: Data, project: str, service: str) -> list[Data]:
    return [
        entry
        for entry in info.get("services", [])
        if entry.get("project") == project and entry.get("service") == service
    ]


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


def _split(service: Data, info: Data, project: str, rollout: Data) -> tuple[Data, list[Data]]:
    """A service's new instance, by layer, and its instances that are no longer kept."""
    digest = release(service)
    instance = f"{service['name']}-{digest}"
    others = [entry for entry in _instances(info, project, service["name"]) if entry["name"] != instance]
    running = [entry for entry in others if entry.get("state") == "started"]
    others.sort(key=lambda entry: (entry.get("state") == "started", entry.get("updated") or 0), reverse=True)
    options = {key: value for key, value in service.items() if key not in SERVICE_ONLY}
    options.update(
        name=instance,
        service=service["name"],
        rootfs=instance,
        slice=f"{service['name']}/{digest}",
        gate={"min_healthy_time": rollout["min_healthy_time"], "deadline": rollout["healthy_deadline"]},
        state="started",
    )
    if running:
        options["replaces"] = running[0]["name"]
    new = {
        "slice": {"name": options["slice"], **(service.get("resources") or {})},
        "rootfs": {
            "name": instance,
            "service": _owner(service),
            **_rootfs_options(service),
        },
        "service": options,
    }
    return new, others[max(0, int(rollout["keep_releases"]) - 1) :]


def _orphans(services: t.Sequence[Data], info: Data, project: str, limit: int) -> list[Data]:
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


def _unused(info: Data, project: str, names: t.Container[str], wanted: t.Container[str]) -> Data:
    """Root filesystems and slices of releases that have no instance: what a deployment prepared that then failed.

    `names` are the services whose releases these may be, `wanted` the instances that this deployment asks for.
    """
    taken = {entry["name"] for entry in info.get("services", [])}

    def idle(name: str) -> bool:
        service, _dash, digest = name.rpartition("-")
        return service in names and bool(_RELEASE.fullmatch(digest)) and name not in taken and name not in wanted

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


def _removal(entries: t.Sequence[Data]) -> Data:
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


def host_plan(info: Data, declared: Data) -> Data:
    """What every layer of one host is asked for: `info` is host_info's answer, `declared` the inventory's data.

    The answer has `bridges`, `slices`, `rootfs`, `services`, `portmaps` (targets by instance), `remove` (by layer), and
    `fresh`: whether a release or a published port is new to this host, so that a check beforehand is worth its time.

    :raises PlanError: the data contradicts itself.
    """
    project = declared["project"]
    services = merge_services(declared["services"], declared.get("secret_values"))
    check_ports(services)
    removed = _orphans(services, info, project, int(declared["prune_max"])) if declared["prune"] else []
    gone = sorted({entry["service"] for entry in removed})
    only = declared["only"]
    unknown = sorted(set(only) - {service["name"] for service in services})
    if unknown:
        raise PlanError(f"isolation_only names services that are not declared: {', '.join(unknown)}")
    if only:
        services = [service for service in services if service["name"] in only]
        removed, gone = [], []
    plan: Data = {"bridges": list(declared["bridges"]), "slices": [], "rootfs": [], "services": [], "portmaps": []}
    published = {entry["name"] for entry in info.get("portmaps", [])}
    known = {entry["name"] for entry in info.get("services", [])}
    for service in services:
        new, old = _split(service, info, project, declared["rollout"])
        removed.extend(old)
        plan["slices"].append(new["slice"])
        plan["rootfs"].append(new["rootfs"])
        plan["services"].append(new["service"])
        ports, address = service.get("ports") or [], service.get("service_address")
        if ports or address:
            plan["portmaps"].append(
                {
                    "name": service["name"],
                    "instance": new["service"]["name"],
                    "ports": ports,
                    "service_address": address,
                }
            )
        elif service["name"] in published:
            plan["portmaps"].append({"name": service["name"], "state": "absent"})
    plan["portmaps"].extend({"name": name, "state": "absent"} for name in gone if name in published)
    plan["remove"] = _removal(removed)
    wanted = {entry["name"] for entry in plan["services"]}
    unused = _unused(info, project, {service["name"] for service in services} | set(gone), wanted)
    plan["remove"]["rootfs"] += unused["rootfs"]
    plan["remove"]["slices"] += unused["slices"]
    plan["fresh"] = any(entry["name"] not in known for entry in plan["services"]) or any(
        entry["name"] not in published for entry in plan["portmaps"]
    )
    return plan


def removal(info: Data) -> Data:
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


def _family(address: str) -> str:
    return "ipv6" if ":" in address else "ipv4"


def _for_family(port: Data, family: str) -> Data | None:
    """A port with those of its clients' networks that are of one family; None if it is for clients of the other one only.

    Without any network left, a port that is for some would be open to everybody of that family.
    """
    clients = {
        key: [network for network in port[key] if _family(str(network)) == family]
        for key in ("allow_from", "deny_from")
        if port.get(key)
    }
    if clients.get("allow_from") == []:
        return None
    return {**{key: value for key, value in port.items() if key not in clients}, **clients}


def _targets(entry: Data, addresses: t.Mapping[str, t.Any]) -> list[Data]:
    """The mappings of one service with the address of its instance filled in, one for each family that fits."""
    mappings: list[Data] = []
    for port in entry["ports"]:
        families = [_family(port["host_address"])] if port.get("host_address") else ["ipv4", "ipv6"]
        fitting = [(addresses[family], _for_family(port, family)) for family in families if addresses.get(family)]
        found = [(address, mapping) for address, mapping in fitting if mapping is not None]
        if not found:
            clients = " for clients of allow_from" if fitting else ""
            raise PlanError(
                f"service {entry['name']}: port {port['host_port']} can't be published{clients}:"
                f" instance {entry['instance']} has no {' or '.join(families)} address{' of their family' if fitting else ''}"
            )
        mappings.extend(
            {**mapping, "port": port.get("port", port["host_port"]), "address": address} for address, mapping in found
        )
    return mappings


def portmaps(plan: Data, results: t.Sequence[Data]) -> list[Data]:
    """nat_portmap's elements: the plan's, with the addresses that namespaced_service has told.

    :raises PlanError: an instance has no address of the family that a port needs.
    """
    instances = {result["name"]: result.get("service") or {} for result in results}
    elements = []
    for entry in plan["portmaps"]:
        if entry.get("state") == "absent":
            elements.append(dict(entry))
            continue
        networks = instances.get(entry["instance"], {}).get("addresses") or []
        addresses = dict(networks[0]) if networks else {}
        element: Data = {"name": entry["name"], "mappings": _targets(entry, addresses)}
        if entry["service_address"]:
            to = addresses.get(_family(entry["service_address"]))
            if not to:
                raise PlanError(
                    f"service {entry['name']}: service_address {entry['service_address']}: no address of its family"
                )
            element["service_addresses"] = [{"address": entry["service_address"], "to": to}]
        elements.append(element)
    return elements
