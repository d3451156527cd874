# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which address an instance has on a bridge: a hash of its name, then the next free one. Pure."""

from __future__ import annotations

import hashlib
import ipaddress
import typing as t

from .._errors import IsolationError

Address = t.Union[ipaddress.IPv4Address, ipaddress.IPv6Address]
Network = t.Union[ipaddress.IPv4Network, ipaddress.IPv6Network]

RESERVED_V6 = 0x100
"""The first addresses of a v6 subnet are left to people."""


class AddressError(IsolationError):
    """An address can't be had."""


def canonical(text: str) -> str:
    """An address in its canonical form (RFC 5952).

    :raises AddressError: it is none.
    """
    try:
        return str(ipaddress.ip_address(text.strip()))
    except ValueError as error:
        raise AddressError(f"expect: bridges: routes: via: {error}: give the gateway's address") from None


class Pool:
    """The addresses of one bridge, as they stand after the elements planned so far.

    `addresses` are the bridge's own with their prefixes, `owners` who has which address already, `asked` those that this
    task asks for by number: they are not assigned to others.
    """

    def __init__(
        self, bridge: str, addresses: t.Iterable[str], owners: t.Mapping[str, str], asked: t.Iterable[str] = ()
    ) -> None:
        self.bridge = bridge
        found = [ipaddress.ip_interface(item) for item in addresses]
        self._own = [item for item in found if not item.ip.is_link_local]
        self._owners = {ipaddress.ip_address(address): owner for address, owner in owners.items()}
        self._asked = {ipaddress.ip_address(address) for address in asked}

    def gateway(self, version: int) -> str | None:
        """The bridge's first address of a family, which is the services' gateway."""
        return next((str(item.ip) for item in self._own if item.version == version), None)

    @property
    def subnets(self) -> tuple[str, ...]:
        """The bridge's subnets."""
        return tuple(str(net) for version in (4, 6) for net in self._networks(version))

    def inside(self, address: str) -> bool:
        """Whether an address is in a subnet of the bridge."""
        wanted = ipaddress.ip_address(address)
        return any(wanted in network for network in self._networks(wanted.version))

    def holds(self, address: str) -> bool:
        """Whether a service can have an address, if nobody else has it."""
        wanted = ipaddress.ip_address(address)
        return any(wanted in network and self._usable(wanted, network) for network in self._networks(wanted.version))

    def length(self, address: str | None) -> int:
        """The length of the prefix of the subnet that an address is in."""
        wanted = ipaddress.ip_address(address) if address else None
        lengths = (net.prefixlen for net in (self._networks(wanted.version) if wanted else ()) if wanted in net)
        return next(lengths, 128)

    def _networks(self, version: int) -> list[t.Any]:
        return list(dict.fromkeys(item.network for item in self._own if item.version == version))

    def _usable(self, address: Address, network: t.Any) -> bool:
        ends = {network.network_address}
        if network.version == 4:
            ends.add(network.broadcast_address)
        return address not in ends and all(address != item.ip for item in self._own)

    def take(self, address: str, instance: str) -> str:
        """Give a certain address to an instance.

        :raises AddressError: it is not in a subnet of the bridge, or somebody has it.
        """
        wanted = ipaddress.ip_address(address)
        networks = [network for network in self._networks(wanted.version) if wanted in network]
        shown = ", ".join(str(network) for network in self._networks(wanted.version)) or "no subnet of that family"
        if not networks:
            raise AddressError(
                f"service {instance}: networks: {address} is outside of the subnets of bridge {self.bridge} ({shown}):"
                " choose an address inside, or leave it out to have one assigned"
            )
        owner = self._owners.get(wanted)
        if owner is not None and owner != instance:
            raise AddressError(f"service {instance}: networks: {address} belongs to {owner}: choose another address")
        if not self._usable(wanted, networks[0]):
            raise AddressError(
                f"service {instance}: networks: {address} is the network's own, its broadcast or bridge {self.bridge}'s"
                " address: choose another"
            )
        self._owners[wanted] = instance
        return str(wanted)

    def assign(self, version: int, instance: str) -> str | None:
        """A free address of a family for an instance; None if the bridge has no subnet of that family.

        :raises AddressError: the subnet is full.
        """
        networks = self._networks(version)
        if not networks:
            return None
        network = networks[0]
        first = 1 if version == 4 else min(RESERVED_V6, network.num_addresses // 2)
        count = network.num_addresses - first - (1 if version == 4 else 0)
        digest = hashlib.sha256(f"{self.bridge}\0{version}\0{instance}".encode()).digest()
        start = int.from_bytes(digest[:8], "big")
        for offset in range(min(count, len(self._owners) + len(self._asked) + len(self._own) + 2)):
            address = network[first + (start + offset) % count]
            if self._usable(address, network) and address not in self._owners and address not in self._asked:
                self._owners[address] = instance
                return str(address)
        raise AddressError(
            f"service {instance}: networks: no address is left in {network} of bridge {self.bridge}:"
            " give the bridge a larger subnet, or remove instances"
        )
