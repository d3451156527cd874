# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What services' links may send at layer 2, as an nftables table of the family bridge. Pure.

The table itself knows bridges. What one link may send lies beside it in the bundle of the link's instance, as a chain of its
own and an element in each of two maps: a packet costs two lookups however many services there are.
"""

from __future__ import annotations

import ipaddress
import typing as t

from .. import _paths
from .spec import BridgeSpec

TABLE = "bridge isolation_bridge"
GUARD_FILE = "network.nft"

MAX_PORTS = 1023
"""How many ports the kernel gives a bridge (net/bridge/br_private.h: BR_PORT_BITS is 10, and 0 is none)."""

MAPS = (
    "\tmap links {",
    "\t\ttype ifname : verdict",
    "\t}",
    "\tmap apart {",
    "\t\ttype ifname : verdict",
    "\t}",
)


def chains(bridges: t.Iterable[BridgeSpec]) -> dict[str, list[str]]:
    """The chains of the table.

    `apart-NAME` keeps the ports of a bridge from each other: siblings go through the host, and only what it has translated may
    go from port to port (where br_netfilter has bridged packets translated). Links of the host that are ports are the way
    out and in.
    """
    found = {}
    for bridge in bridges:
        rules = [f"meta mark & {bridge.mark:#010x} == 0 drop"]
        if bridge.ports:
            names = ", ".join(f'"{port}"' for port in bridge.ports)
            rules.insert(0, f"oifname {{ {names} }} return")
        found[f"apart-{bridge.name}"] = [] if bridge.l2 else rules
        found[f"routed-{bridge.name}"] = [
            f"{protocol} saddr {{ {', '.join(map(str, bridge.routed(version)))} }} accept"
            for version, protocol in ((4, "ip"), (6, "ip6"))
            if bridge.routed(version)
        ]
    found["prerouting"] = ["type filter hook prerouting priority -300; policy accept;", "iifname vmap @links"]
    found["forward"] = ["type filter hook forward priority -200; policy accept;", "iifname vmap @apart"]
    return found


def link_local(mac: str) -> str:
    """The link-local address that the kernel makes of a MAC address (RFC 4291, appendix A)."""
    octets = [int(part, 16) for part in mac.split(":")]
    octets[0] ^= 0x02
    words = [*octets[:3], 0xFF, 0xFE, *octets[3:]]
    return str(ipaddress.IPv6Address(b"\xfe\x80" + bytes(6) + bytes(words)))


def _allowed(bridge: str, mac: str, four: str | None, six: str | None, routed: t.Collection[int]) -> list[str]:
    """What a link may send: from its own MAC address and its own IP addresses, and nothing that only routers send (T13)."""
    own6 = [link_local(mac), *([six] if six else [])]
    claims = ", ".join(f"{int(ipaddress.IPv6Address(address)):#034x}" for address in own6)
    return [
        f"ether saddr != {mac} drop",
        f"ether type arp arp saddr ether != {mac} drop",
        # 0.0.0.0 is what a probe for a duplicate has (RFC 5227, 2.1.1): it claims nothing.
        f"ether type arp arp saddr ip != {{ 0.0.0.0{', ' + four if four else ''} }} drop",
        "icmpv6 type { nd-router-advert, nd-redirect } drop",
        # The target address of an advertisement (RFC 4861, 4.4); nft before 1.0.8 has no name for it.
        f"icmpv6 type nd-neighbor-advert @th,64,128 != {{ {claims} }} drop",
        "ether type != { arp, ip, ip6 } drop",
        *_sources(bridge, f"ip saddr != {four}" if four else None, f"ip6 saddr != {{ ::, {', '.join(own6)} }}", routed),
    ]


def _sources(bridge: str, not4: str | None, not6: str, routed: t.Collection[int]) -> list[str]:
    """Sources that are not a service's own are dropped; those of a gateway may be of networks that the bridge has a route to. Last, for that is an end."""
    rules = [] if not4 else ["ether type ip drop"]
    for version, match in ((4, f"ether type ip {not4}" if not4 else None), (6, f"ether type ip6 {not6}")):
        if match is not None:
            rules += [f"{match} jump routed-{bridge}"] if version in routed else []
            rules.append(f"{match} drop")
    return rules


def link_guard(
    link: str, bridge: str, mac: str, four: str | None, six: str | None, routed: t.Collection[int] = ()
) -> str:
    """A script for `nft -f` that says what one link may send. It can be repeated, also without the rest of the table.

    `routed` are the families (4, 6) of which the link's address is the gateway of a route of the bridge.
    """
    lines = [f"table {TABLE} {{"]
    for name in (f"apart-{bridge}", *([f"routed-{bridge}"] if routed else []), f"link-{link}"):
        lines += [f"\tchain {name} {{", "\t}"]
    lines += ["}", f"flush chain {TABLE} link-{link}", f"table {TABLE} {{", f"\tchain link-{link} {{"]
    lines += [f"\t\t{rule}" for rule in _allowed(bridge, mac, four, six, routed)]
    lines.append("\t}")
    for name, chain in (("links", f"link-{link}"), ("apart", f"apart-{bridge}")):
        lines += [f"\tmap {name} {{", "\t\ttype ifname : verdict"]
        lines += [f'\t\telements = {{ "{link}" : jump {chain} }}', "\t}"]
    return "\n".join([*lines, "}"]) + "\n"


def guard_file(guards: t.Iterable[str]) -> str:
    """The content of an instance's file."""
    return f"# {_paths.MARKER}\n" + "".join(guards)


def forget_link(link: str) -> str:
    """A script for `nft -f` that takes back what `link_guard` has made."""
    return (
        f'delete element {TABLE} links {{ "{link}" }}\n'
        f'delete element {TABLE} apart {{ "{link}" }}\n'
        f"delete chain {TABLE} link-{link}\n"
    )
