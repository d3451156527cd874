# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where the host's ports lead: the elements of nat_portmap. Pure; it runs on the controller.

Note: this is private to the collection, and may change at any time.
"""

from __future__ import annotations

import typing as t

from ._releases import Data, PlanError


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


def portmaps(wave: Data, results: t.Sequence[Data]) -> list[Data]:
    """nat_portmap's elements: the wave's, with the addresses that namespaced_service has told. Ports of an instance that failed are left out.

    :raises PlanError: an instance has no address of the family that a port needs.
    """
    instances = {result["name"]: result.get("service") or {} for result in results}
    failed = {result["name"] for result in results if result.get("failed")}
    elements = []
    for entry in wave["portmaps"]:
        if entry.get("state") == "absent":
            elements.append(dict(entry))
            continue
        if entry["instance"] in failed:
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
        if entry.get("verify"):
            element["verify"] = entry["verify"]
        elements.append(element)
    return elements
