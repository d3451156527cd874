# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Changes of links, addresses and connection tracking by netlink, with pyroute2 (0.7 and 0.9)."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import socket
import typing as t
from dataclasses import dataclass

from .._errors import IsolationError

_REMEDIES = {
    1: "run as root, with CAP_NET_ADMIN",
    16: "the link is in use by something else, such as another bridge or a bond: release it there first",
    40: "a bridge can't be a port of a bridge: that would be a loop",
    95: "this kernel has no support for it: it needs the module bridge, and CONFIG_BRIDGE_VLAN_FILTERING for vlan_filtering",
}


class NetlinkError(IsolationError):
    """The kernel has refused a change of a link."""


@contextlib.contextmanager
def _kernel(what: str) -> t.Iterator[t.Any]:
    """An rtnetlink socket; refusals by the kernel become errors that say what was tried."""
    from pyroute2 import IPRoute
    from pyroute2.netlink.exceptions import NetlinkError as Refused

    with IPRoute() as socket_:
        try:
            yield socket_
        except Refused as error:
            remedy = _REMEDIES.get(error.code)
            raise NetlinkError(
                f"{what}: the kernel refused: {os.strerror(error.code)}" + (f": {remedy}" if remedy else "")
            ) from error


def _index(kernel: t.Any, name: str) -> int:
    found = kernel.link_lookup(ifname=name)
    if not found:
        raise NetlinkError(f"link {name}: it has gone; run again")
    return int(found[0])


@dataclass(frozen=True)
class MakeBridge:
    """Step: make a bridge, down. Its address comes with it, so that udev's MACAddressPolicy leaves it alone."""

    name: str
    mac: str

    def run(self) -> None:
        """Make it.

        :raises NetlinkError: the kernel refused.
        """
        with _kernel(f"bridge {self.name}: making it") as kernel:
            kernel.link("add", ifname=self.name, kind="bridge", address=self.mac)


@dataclass(frozen=True)
class SetLink:
    """Step: set attributes of a link, by the names of the kernel's IFLA_ attributes."""

    name: str
    values: t.Mapping[str, t.Any]

    def run(self) -> None:
        """Set them.

        :raises NetlinkError: the kernel refused.
        """
        shown = ", ".join(f"{key}={value}" for key, value in self.values.items())
        with _kernel(f"link {self.name}: setting {shown}") as kernel:
            kernel.link("set", index=_index(kernel, self.name), **self.values)


@dataclass(frozen=True)
class SetBridge:
    """Step: set attributes of a bridge, by the names of the kernel's IFLA_BR_ attributes."""

    name: str
    values: t.Mapping[str, int]

    def run(self) -> None:
        """Set them.

        :raises NetlinkError: the kernel refused.
        """
        shown = ", ".join(f"{key}={value}" for key, value in self.values.items())
        with _kernel(f"bridge {self.name}: setting {shown}") as kernel:
            kernel.link("set", index=_index(kernel, self.name), kind="bridge", **self.values)


@dataclass(frozen=True)
class SetPort:
    """Step: make a link a port of a bridge and set it up, or (with no bridge) release it."""

    port: str
    bridge: str | None

    def run(self) -> None:
        """Do so.

        :raises NetlinkError: the kernel refused.
        """
        doing = f"joining bridge {self.bridge}" if self.bridge else "leaving its bridge"
        with _kernel(f"link {self.port}: {doing}") as kernel:
            index = _index(kernel, self.port)
            kernel.link("set", index=index, master=_index(kernel, self.bridge) if self.bridge else 0)
            if self.bridge:
                kernel.link("set", index=index, state="up")


@dataclass(frozen=True)
class DeleteLink:
    """Step: delete a link."""

    name: str

    def run(self) -> None:
        """Delete it.

        :raises NetlinkError: the kernel refused.
        """
        with _kernel(f"link {self.name}: deleting it") as kernel:
            kernel.link("del", index=_index(kernel, self.name))


@dataclass(frozen=True)
class ChangeAddress:
    """Step: add or delete (`verb` add, del) an address such as `10.88.0.1/24` on a link.

    v6 addresses are added without duplicate address detection: a bridge without ports would wait for it forever.
    """

    verb: str
    name: str
    address: str

    def run(self) -> None:
        """Do so.

        :raises NetlinkError: the kernel refused.
        """
        host, _sep, length = self.address.partition("/")
        six = ":" in host
        options: dict[str, int] = {"family": socket.AF_INET6 if six else socket.AF_INET}
        if self.verb == "add" and six:
            options["flags"] = 0x02  # IFA_F_NODAD, linux/if_addr.h
        with _kernel(f"link {self.name}: address {self.address}: {self.verb}") as kernel:
            kernel.addr(self.verb, index=_index(kernel, self.name), address=host, prefixlen=int(length), **options)


@dataclass(frozen=True)
class Flow:
    """Which tracked connections to forget: their destination before translation. Any local address if `address` is None.

    Those are kept that lead to one of the targets `keep` (a port of None is any) and whose client may reach them: it is in
    none of the networks `deny`, and in one of `allow` if there are any.
    """

    six: bool
    address: str | None
    port: int | None
    keep: frozenset[tuple[str, int | None]] = frozenset()
    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()

    def keeps(self, client: str, target: tuple[str, int]) -> bool:
        """Whether a connection may stay."""
        if target not in self.keep and (target[0], None) not in self.keep:
            return False
        source = ipaddress.ip_address(client)
        allowed = not self.allow or any(source in ipaddress.ip_network(network) for network in self.allow)
        return allowed and not any(source in ipaddress.ip_network(network) for network in self.deny)


def _local_addresses(kernel: t.Any, family: int) -> frozenset[str]:
    return frozenset(message.get_attr("IFA_ADDRESS") for message in kernel.get_addr(family=family))


@dataclass(frozen=True)
class ForgetUdp:
    """Step: delete tracked UDP connections to these destinations, in the family of each.

    Without it, a client that goes on sending from one socket keeps the translation of its first packet for as long as it sends.
    """

    flows: tuple[Flow, ...]

    def run(self) -> None:
        """Delete them.

        :raises NetlinkError: the kernel refused.
        """
        for family in (int(socket.AF_INET), int(socket.AF_INET6)):
            wanted = [flow for flow in self.flows if flow.six == (family == socket.AF_INET6)]
            if wanted:
                self._forget(family, wanted)

    @staticmethod
    def _forget(family: int, wanted: t.Sequence[Flow]) -> None:
        from pyroute2 import IPRoute, NFCTSocket
        from pyroute2.netlink.exceptions import NetlinkError as Refused
        from pyroute2.netlink.nfnetlink.nfctsocket import NFCTAttrTuple

        with IPRoute() as kernel:
            local = _local_addresses(kernel, family)
        flows = {(flow.address, flow.port): flow for flow in wanted}

        def hit(entry: t.Any, answer: t.Any) -> bool:
            keys = [(entry.daddr, entry.dport), (entry.daddr, None)]
            if entry.daddr in local or entry.daddr.startswith("127."):
                keys.append((None, entry.dport))
            concerned = [flows[key] for key in keys if key in flows]
            return any(not flow.keeps(entry.saddr, (answer.saddr, answer.sport)) for flow in concerned)

        table = NFCTSocket(nfgen_family=family)
        try:
            narrow = NFCTAttrTuple(family=family, proto=socket.IPPROTO_UDP)
            found = [
                tuple(
                    NFCTAttrTuple.from_netlink(family, message.get_attr(side))
                    for side in ("CTA_TUPLE_ORIG", "CTA_TUPLE_REPLY")
                )
                for message in table.dump(tuple_orig=narrow)
            ]
            for entry, answer in found:
                if entry.proto == socket.IPPROTO_UDP and hit(entry, answer):
                    try:
                        table.entry("del", tuple_orig=entry)
                    except Refused as error:
                        if error.code != 2:  # gone by itself meanwhile
                            raise NetlinkError(
                                f"connection tracking: forgetting UDP flows to {entry.daddr} port {entry.dport}:"
                                f" {os.strerror(error.code)}"
                            ) from error
        finally:
            table.close()
