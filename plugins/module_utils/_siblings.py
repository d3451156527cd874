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


class Directory:
    """Who is there, by records. Those who are on the same bridges see the same names, which are put together once."""

    def __init__(
        self, records: t.Mapping[str, Record], booted: t.Container[str], stable: t.Iterable[ServiceAddress]
    ) -> None:
        self._booted = booted
        self._stable: dict[tuple[str, str], list[ServiceAddress]] = {}
        for one in stable:
            self._stable.setdefault((one.project, one.service), []).append(one)
        self._services: dict[str, dict[str, list[Record]]] = {}
        for name in sorted(records):
            record = records[name]
            by_service = self._services.setdefault(record.project, {})
            by_service.setdefault(record.spec.get("service", name), []).append(record)
        self._seen: dict[t.Any, tuple[Sibling, ...]] = {}

    def siblings(self, record: Record) -> tuple[Sibling, ...]:
        """What an instance calls the other services of its project with which it shares a bridge.

        Of a service with several instances those count that are started at boot, if there are such. The name of a service comes
        before an alias of another one; names of the instance's own, and those of `extra_hosts`, before both.
        """
        own = _with_default(record)
        key = (record.project, tuple((bridge, *map(bool, map(item.get, FAMILIES))) for bridge, item in own.items()))
        if key not in self._seen:
            self._seen[key] = tuple(self._named(record.project, own))
        mine = record.spec.get("service", record.name)
        taken = {"localhost", mine, record.spec.get("hostname"), *record.spec.get("extra_hosts", {})}
        return tuple(one for one in self._seen[key] if one.service != mine and one.name not in taken)

    def _named(self, project: str, own: t.Mapping[str, t.Mapping[str, t.Any]]) -> t.Iterator[Sibling]:
        by_service = {}
        for service, instances in self._services.get(project, {}).items():
            near = [one for one in instances if own.keys() & _networks(one).keys()]
            if near:
                by_service[service] = near
        for service in sorted(by_service):
            there = by_service[service]
            serving = [one for one in there if one.name in self._booted] or there
            addresses = _reachable(own, serving, self._stable.get((project, service), ()))
            names = {alias for one in serving for bridge in own for alias in _aliases(one, bridge)}
            for name in (service, *sorted(names - by_service.keys())):
                yield from (Sibling(name, address, service) for address in addresses)


def siblings(
    record: Record, records: t.Mapping[str, Record], booted: t.Container[str], stable: t.Iterable[ServiceAddress]
) -> tuple[Sibling, ...]:
    """What one instance calls the others (see `Directory`)."""
    return Directory(records, booted, stable).siblings(record)


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
