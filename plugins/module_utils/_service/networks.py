# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The networks of instances: bridges, addresses, and the host's ends of links. Pure."""

from __future__ import annotations

import typing as t

from .._bridge.ports import MAX_PORTS
from .._names import interface_name, mac_address
from .addresses import Pool, canonical
from .bundle import Attachment
from .netoptions import LEAST_MTU
from .promises import Promises, ServiceRefused, promised
from .spec import Network, ServiceSpec
from .state import BridgeView, World


class Networks:
    """Addresses as they stand after the elements planned so far."""

    def __init__(self, world: World, expect: Promises) -> None:
        self._world = world
        self._expect = expect
        self._pools: dict[str, Pool] = {}
        self._asked: set[str] = set()
        self._ports: dict[str, set[str]] = {}
        self._owners = dict(world.reserved)
        self._macs: dict[str, str] = {}
        for name, record in world.records.items():
            for item in record.assigned.get("networks", []):
                self._owners.update({item[key]: name for key in ("ipv4", "ipv6") if item.get(key)})
                self._macs[item.get("mac", "")] = name

    def reserve(self, specs: t.Iterable[ServiceSpec]) -> None:
        """Keep what elements of this task ask for by number from being assigned to others."""
        for spec in specs:
            for network in spec.networks:
                self._asked.update(address for address in (network.ipv4, network.ipv6) if address)

    def view(self, spec: ServiceSpec, bridge: str) -> BridgeView:
        """A bridge as it is promised, else as it is.

        :raises ServiceRefused: it neither exists nor is promised.
        """
        promise = promised(self._expect, "bridges", bridge)
        found = self._world.bridges.get(bridge)
        if promise is not None and promise.get("addresses") is not None:
            ports = found.ports if found is not None else frozenset()
            gateways = tuple(canonical(str(route.get("via"))) for route in promise.get("routes") or ())
            mtu = promise.get("mtu") or (found.mtu if found is not None else None)
            mac = found.mac if found is not None else promise.get("mac")
            return BridgeView(tuple(promise["addresses"]), True, bool(promise.get("l2")), ports, gateways, mtu, mac)
        if found is None:
            raise ServiceRefused(
                f"service {spec.name}: networks: there is no bridge {bridge} on this host: make it with"
                " daemonless.isolation.bridge first, or promise it with expect"
            )
        return found

    def pool(self, spec: ServiceSpec, bridge: str) -> Pool:
        """The addresses of a bridge.

        :raises ServiceRefused: it neither exists nor is promised.
        """
        if bridge not in self._pools:
            view = self.view(spec, bridge)
            # Who is to be a gateway asks for its address by number, perhaps in a later task.
            self._pools[bridge] = Pool(bridge, view.addresses, self._owners, {*self._asked, *view.gateways})
        return self._pools[bridge]

    def _plug(self, spec: ServiceSpec, bridge: str, view: BridgeView) -> str:
        """The host's end of a link to a bridge.

        :raises ServiceRefused: the bridge has no port left.
        """
        link = interface_name(spec.name, bridge)
        ports = self._ports.setdefault(bridge, set(view.ports))
        if link not in ports and len(ports) >= MAX_PORTS:
            raise ServiceRefused(
                f"service {spec.name}: networks: bridge {bridge} has {len(ports)} ports, as many as the kernel gives a bridge:"
                " use another bridge"
            )
        ports.add(link)
        return link

    def _mac(self, spec: ServiceSpec, network: Network, view: BridgeView) -> str:
        """The given MAC address, else one that follows from the names.

        :raises ServiceRefused: somebody has the given one.
        """
        if network.mac is None:
            return mac_address(spec.name, network.bridge)
        owner = f"bridge {network.bridge}" if network.mac == view.mac else self._macs.get(network.mac, spec.name)
        if owner != spec.name:
            raise ServiceRefused(
                f"service {spec.name}: networks: mac: {network.mac} belongs to {owner}: choose another, or leave it out"
            )
        self._macs[network.mac] = spec.name
        return network.mac

    def _routes(self, spec: ServiceSpec, network: Network, view: BridgeView, pool: Pool) -> tuple[tuple[str, str], ...]:
        """The routes of a network, each with a router: the given one, else the bridge.

        :raises ServiceRefused: the router is not behind that bridge, or can't be reached.
        """
        found = []
        for to, via in network.routes:
            version = 6 if ":" in to else 4
            router = via or pool.gateway(version)
            if router is None:
                raise ServiceRefused(
                    f"service {spec.name}: networks: routes: {to}: bridge {network.bridge} has no address of that family"
                )
            if not pool.inside(router):
                raise ServiceRefused(
                    f"service {spec.name}: networks: routes: {to}: {router} is outside of the subnets of bridge {network.bridge}:"
                    " a router must be behind the same bridge"
                )
            owner = self._owners.get(router)
            if owner is not None and not view.l2:
                raise ServiceRefused(
                    f"service {spec.name}: networks: routes: {to}: {router} belongs to {owner}, and services of this bridge reach"
                    " each other by the host's routing only: leave via out, and give the bridge that route (option routes of"
                    " daemonless.isolation.bridge), or set l2 for the bridge"
                )
            found.append((to, router))
        return tuple(found)

    @staticmethod
    def _check_mtu(spec: ServiceSpec, network: Network, view: BridgeView, six: bool) -> None:
        if network.mtu is None:
            return
        if view.mtu is not None and network.mtu > view.mtu:
            raise ServiceRefused(
                f"service {spec.name}: networks: mtu: {network.mtu} is above bridge {network.bridge}'s {view.mtu}:"
                " larger packets would be lost there; raise that one first (option mtu of daemonless.isolation.bridge)"
            )
        if six and network.mtu < LEAST_MTU[6]:
            raise ServiceRefused(
                f"service {spec.name}: networks: mtu: {network.mtu}: IPv6 needs {LEAST_MTU[6]}, and bridge {network.bridge} has it"
            )

    def attach(self, spec: ServiceSpec, network: Network) -> Attachment:
        """A network with its addresses: the given ones, else those of the record, else new ones."""
        pool = self.pool(spec, network.bridge)
        record = self._world.records.get(spec.name)
        kept: t.Mapping[str, t.Any] = {}
        for item in record.assigned.get("networks", []) if record is not None else []:
            if item["bridge"] == network.bridge:
                kept = item
        found: dict[int, str | None] = {}
        for version, given, key in ((4, network.ipv4, "ipv4"), (6, network.ipv6, "ipv6")):
            if given is not None:
                found[version] = pool.take(given, spec.name)
            elif kept.get(key) and pool.holds(kept[key]):
                found[version] = pool.take(kept[key], spec.name)
            else:
                found[version] = pool.assign(version, spec.name)
        if not any(found.values()):
            raise ServiceRefused(
                f"service {spec.name}: networks: bridge {network.bridge} has no address, so that a service can have none:"
                " give it one (option addresses of daemonless.isolation.bridge)"
            )
        view = self.view(spec, network.bridge)
        self._check_mtu(spec, network, view, found[6] is not None)
        return Attachment(
            network.bridge,
            self._plug(spec, network.bridge, view),
            self._mac(spec, network, view),
            found[4],
            found[6],
            pool.gateway(4),
            pool.gateway(6),
            view.ours,
            view.l2,
            pool.length(found[4]) if view.l2 else 32,
            pool.length(found[6]) if view.l2 else 128,
            tuple(version for version in (4, 6) if found[version] in view.gateways),
            pool.subnets,
            network.mtu,
            network.default_route,
            self._routes(spec, network, view, pool),
        )
