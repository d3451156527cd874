# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where the host's ports lead: the elements of nat_portmap. Pure; it runs on the controller, and on the host where a deployment is looked at beforehand."""

from __future__ import annotations

import typing as t

from ._errors import IsolationError

Data = t.Dict[str, t.Any]


class TargetError(IsolationError):
    """Ports can't be led to an instance."""


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


def _leads(port: Data, family: str, instances: t.Sequence[Data]) -> Data:
    """Where a port leads: to the only instance, or to each of several in turn."""
    target = port.get("port", port["host_port"])
    if len(instances) == 1:
        return {"port": target, "address": instances[0][family]}
    return {"backends": [{"address": addresses[family], "port": target} for addresses in instances]}


def _targets(entry: Data, instances: t.Sequence[Data]) -> list[Data]:
    """The mappings of one service with the addresses of its instances filled in, one for each family that fits."""
    mappings: list[Data] = []
    for port in entry["ports"]:
        families = [_family(port["host_address"])] if port.get("host_address") else ["ipv4", "ipv6"]
        there = [family for family in families if all(addresses.get(family) for addresses in instances)]
        fitting = [(family, _for_family(port, family)) for family in there]
        found = [(family, mapping) for family, mapping in fitting if mapping is not None]
        if not found:
            clients = " for clients of allow_from" if fitting else ""
            raise TargetError(
                f"service {entry['name']}: port {port['host_port']} can't be published{clients}:"
                f" instance {entry['instances'][0]} has no {' or '.join(families)} address{' of their family' if fitting else ''}"
            )
        for family, mapping in found:
            own = {key: value for key, value in mapping.items() if key != "port"}
            mappings.append({**own, **_leads(mapping, family, instances)})
    return mappings


def portmaps(wave: Data, results: t.Sequence[Data]) -> list[Data]:
    """nat_portmap's elements: the wave's, with the addresses that namespaced_service has told. Ports of an instance that failed are left out.

    :raises TargetError: an instance has no address of the family that a port needs.
    """
    instances = {result["name"]: result.get("service") or {} for result in results}
    failed = {result["name"] for result in results if result.get("failed")}
    elements = []
    for entry in wave["portmaps"]:
        if entry.get("state") == "absent":
            elements.append(dict(entry))
            continue
        if failed.intersection(entry["instances"]):
            continue
        networks = [instances.get(name, {}).get("addresses") or [{}] for name in entry["instances"]]
        addresses = [dict(found[0]) for found in networks]
        element: Data = {"name": entry["name"], "mappings": _targets(entry, addresses)}
        if entry["service_address"]:
            to = addresses[0].get(_family(entry["service_address"]))
            if not to:
                raise TargetError(
                    f"service {entry['name']}: service_address {entry['service_address']}: no address of its family"
                )
            element["service_addresses"] = [{"address": entry["service_address"], "to": to}]
        if entry.get("verify"):
            element["verify"] = entry["verify"]
        elements.append(element)
    return elements
