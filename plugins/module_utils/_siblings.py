# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the services of a project call each other: the content of their /etc/hosts. Pure; it goes by records."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from ._host.records import Record

FAMILIES = ("ipv4", "ipv6")


@dataclass(frozen=True)
class ServiceAddress:
    """A stable address of a service, and the address of the instance that it leads to."""

    service: str
    project: str
    address: str
    to: str


class Sibling(t.NamedTuple):
    """A name of another service, its address, and the service."""

    name: str
    address: str
    service: str


def of_portmaps(records: t.Iterable[Record]) -> tuple[ServiceAddress, ...]:
    """The service addresses of portmaps: the owner of a portmap is the service."""
    return tuple(
        ServiceAddress(record.name, record.project, str(item["address"]), str(item["to"]))
        for record in records
        for item in record.spec.get("service_addresses", [])
    )


def _networks(record: Record) -> dict[str, t.Mapping[str, t.Any]]:
    return {item["bridge"]: item for item in record.assigned.get("networks", [])}


def _aliases(record: Record, bridge: str) -> tuple[str, ...]:
    return tuple(
        alias
        for item in record.spec.get("networks", [])
        if item["bridge"] == bridge
        for alias in item.get("aliases", ())
    )


def _reachable(
    own: t.Mapping[str, t.Mapping[str, t.Any]], instances: t.Sequence[Record], stable: t.Iterable[ServiceAddress]
) -> list[str]:
    """The addresses by which instances of one service are reached from somebody who is on the bridges `own`.

    That is the service address, where it leads to an instance on the bridge that has the default route: it need not be in
    a subnet of the bridge. Else they are the instances' own, on the first bridge that both are on.
    """
    first = next(iter(own), None)
    leads = {
        address
        for record in instances
        for bridge, item in _networks(record).items()
        if bridge == first
        for address in (item.get(family) for family in FAMILIES)
        if address and own[bridge].get("ipv6" if ":" in address else "ipv4")
    }
    services = sorted({one.address for one in stable if one.to in leads}, key=lambda one: (":" in one, one))
    if services:
        return services
    found = []
    for record in instances:
        there = _networks(record)
        bridge = next((bridge for bridge in own if bridge in there), None)
        if bridge is not None:
            found += [there[bridge][key] for key in FAMILIES if there[bridge].get(key) and own[bridge].get(key)]
    return sorted(found, key=lambda one: (":" in one, one))


def _with_default(record: Record) -> dict[str, t.Mapping[str, t.Any]]:
    """The networks of an instance, the one with the default route first."""
    without = {item["bridge"] for item in record.spec.get("networks", []) if not item.get("default_route", True)}
    there = _networks(record)
    return dict(sorted(there.items(), key=lambda one: one[0] in without))


def siblings(
    record: Record, records: t.Mapping[str, Record], booted: t.Container[str], stable: t.Sequence[ServiceAddress]
) -> tuple[Sibling, ...]:
    """What an instance calls the other services of its project with which it shares a bridge.

    Of a service with several instances those count that are started at boot, if there are such. The name of a service comes before
    an alias of another one; names of the instance's own, and those of `extra_hosts`, before both.
    """
    own = _with_default(record)
    mine = record.spec.get("service", record.name)
    by_service: dict[str, list[Record]] = {}
    for other in records.values():
        service = other.spec.get("service", other.name)
        if other.project == record.project and service != mine and own.keys() & _networks(other).keys():
            by_service.setdefault(service, []).append(other)
    taken = {"localhost", mine, record.spec.get("hostname"), *record.spec.get("extra_hosts", {})}
    found: list[Sibling] = []
    for service in sorted(by_service):
        there = sorted(by_service[service], key=lambda one: one.name)
        serving = [one for one in there if one.name in booted] or there
        addresses = _reachable(
            own, serving, [one for one in stable if (one.service, one.project) == (service, record.project)]
        )
        names = {alias for one in serving for bridge in own for alias in _aliases(one, bridge)}
        for name in (service, *sorted(names - by_service.keys())):
            if name not in taken:
                found += [Sibling(name, address, service) for address in addresses]
    return tuple(found)


def hosts_text(
    hostname: str,
    own: t.Sequence[str],
    extra: t.Iterable[tuple[str, str]],
    others: t.Iterable[Sibling],
) -> str:
    """The content of a hosts(5): the own names, those that were asked for, and those of siblings."""
    lines = ["127.0.0.1 localhost", "::1 localhost ip6-localhost ip6-loopback"]
    lines += [f"{address} {hostname}" for address in own or ["127.0.1.1"]]
    lines += [f"{address} {host}" for host, address in extra]
    lines += dict.fromkeys(f"{one.address} {one.name}" for one in others)
    return "".join(line + "\n" for line in lines)


def hosts_of(record: Record, others: t.Iterable[Sibling]) -> str:
    """The hosts file of an instance, by its record."""
    networks = record.assigned.get("networks", [])
    own = [item[key] for item in networks[:1] for key in FAMILIES if item.get(key)]
    return hosts_text(record.spec["hostname"], own, sorted(record.spec.get("extra_hosts", {}).items()), others)


def differing(
    before: t.Iterable[Sibling], after: t.Iterable[Sibling]
) -> dict[tuple[str, str], tuple[list[str], list[str]]]:
    """Names that have other addresses afterwards, each with the service that has it: the addresses before and after."""
    found: dict[tuple[str, str], tuple[list[str], list[str]]] = {}
    for index, names in enumerate((before, after)):
        for one in names:
            found.setdefault((one.service, one.name), ([], []))[index].append(one.address)
    return {key: both for key, both in found.items() if both[0] != both[1]}
