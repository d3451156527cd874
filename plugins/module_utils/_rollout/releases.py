# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the inventory declares, and the releases that follow from it. Pure.

Note: this is private to the collection, and may change at any time.
"""

from __future__ import annotations

import hashlib
import json
import typing as t

from .._errors import IsolationError
from . import replicas, secrets, strategies

Data = t.Dict[str, t.Any]

RELEASE_FORMAT = 1
"""Changes only if the same declaration must give another release: a new format replaces every instance everywhere."""

RELEASE_LENGTH = 7

LIVE = frozenset(
    {
        "name",
        "resources",
        "ports",
        "service_address",
        "replicas",
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
        "verify",
    }
)
"""What a service may declare that is no part of its release, since it changes without a new instance."""

ROOTFS_KEYS = ("source", "remote_src", "pull", "mode", "size", "files", "max_size", "max_entries")
"""What a service may declare under `rootfs`, as options of rootfs_prepare."""

ROOTFS_LIVE = frozenset({"remote_src", "pull", "max_size", "max_entries"})
"""What of those says how an image is had, not what is in it."""

ACCESS = frozenset({"username", "password", "tls_verify", "ca_path"})
"""What says how a source is reached, in every kind of source: a password that is changed makes no new release."""


LOCALTIME = {"path": "/etc/localtime", "content": "", "mode": "0644"}
"""What is laid into the root filesystem of a service that has a time zone."""


class PlanError(IsolationError):
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
        declared["secrets"] = secrets.identity(declared["secrets"])
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
            wrong = strategies.wrong(service)
            if wrong:
                raise PlanError(f"service {name} ({variable}): strategy: {wrong}")
            too_many = replicas.wrong(service)
            if too_many:
                raise PlanError(f"service {name} ({variable}): replicas: {too_many}")
            exposed = secrets.wrong(service, values)
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
