# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What can be asked of a bridge, and its canonical form."""

from __future__ import annotations

import ipaddress
import re
import typing as t
from dataclasses import asdict, dataclass

from .._errors import InvalidOption
from .._names import check_name
from .._units import parse_seconds
from . import routes

MODES = ("nat", "routed", "internal")
PROTOCOLS = ("tcp", "udp", "sctp")
SIBLINGS = ("allow", "deny")
OTHERS = ("drop", "accept")
DEFAULT_MARK_BIT = 12
"""A bit of packets' marks that neither Kubernetes, Calico, Cilium, Tailscale nor netavark uses by default."""

MAX_NAME = 15
"""IFNAMSIZ less its terminating zero (netdevice(7))."""

_RESERVED = frozenset({"all", "default", "lo"})
_LINK = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:@-]{0,14}")
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_TICKS = 100
"""The kernel counts a bridge's times in hundredths of a second (USER_HZ)."""

Network = t.Union[ipaddress.IPv4Network, ipaddress.IPv6Network]
Interface = t.Union[ipaddress.IPv4Interface, ipaddress.IPv6Interface]

OPTIONS: dict[str, t.Any] = {
    "name": {"type": "str"},
    "addresses": {"type": "list", "elements": "str", "default": []},
    "mode": {"type": "str", "choices": list(MODES), "default": "nat"},
    "ipv6_mode": {"type": "str", "choices": list(MODES)},
    "mtu": {"type": "int"},
    "mac": {"type": "str"},
    "stp": {"type": "bool", "default": False},
    "vlan_filtering": {"type": "bool", "default": False},
    "forward_delay": {"type": "str", "default": "15s"},
    "ageing_time": {"type": "str", "default": "5m"},
    "trusted_interfaces": {"type": "list", "elements": "str", "default": []},
    "allow_bridges": {"type": "list", "elements": "str", "default": []},
    "masquerade_source": {"type": "list", "elements": "str", "default": []},
    "siblings": {"type": "str", "choices": list(SIBLINGS), "default": "allow"},
    "sibling_pairs": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {"from": {"type": "str", "required": True}, "to": {"type": "str", "required": True}},
    },
    "l2": {"type": "bool", "default": False},
    "forward_between_others": {"type": "str", "choices": list(OTHERS), "default": "drop"},
    "mark_bit": {"type": "int", "default": DEFAULT_MARK_BIT},
    "service_to_host": {"type": "list", "elements": "str", "default": []},
    "ports": {"type": "list", "elements": "str", "default": []},
    "routes": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {"to": {"type": "str", "required": True}, "via": {"type": "str", "required": True}},
    },
    "force": {"type": "bool", "default": False},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
}

RULES: dict[str, t.Any] = {}


@dataclass(frozen=True)
class BridgeSpec:
    """One bridge as it is asked for.

    `mtu` and `mac` are None where the host decides. Times are in the kernel's hundredths of a second. Entries of
    `service_to_host` are `udp/53` or `tcp/8000-8010`, `icmp` or `icmpv6`, those of `sibling_pairs` `10.88.0.2 > 10.88.0.3`,
    those of `routes` `192.0.2.0/24 via 10.88.0.17`.
    """

    name: str
    addresses: tuple[str, ...] = ()
    mode: str = "nat"
    ipv6_mode: str = "nat"
    mtu: int | None = None
    mac: str | None = None
    stp: bool = False
    forward_delay: int = 15 * _TICKS
    ageing_time: int = 300 * _TICKS
    trusted_interfaces: tuple[str, ...] = ()
    allow_bridges: tuple[str, ...] = ()
    masquerade_source: tuple[str, ...] = ()
    vlan_filtering: bool = False
    siblings: str = "allow"
    sibling_pairs: tuple[str, ...] = ()
    l2: bool = False
    forward_between_others: str = "drop"
    mark_bit: int = DEFAULT_MARK_BIT
    service_to_host: tuple[str, ...] = ()
    ports: tuple[str, ...] = ()
    routes: tuple[str, ...] = ()
    force: bool = False
    present: bool = True

    def hosts(self, version: int) -> tuple[str, ...]:
        """The bridge's own addresses of a family (4 or 6)."""
        found = (ipaddress.ip_interface(address) for address in self.addresses)
        return tuple(str(address.ip) for address in found if address.version == version)

    def subnets(self, version: int) -> tuple[Network, ...]:
        """The subnets of a family (4 or 6), sorted."""
        found: t.Iterable[Interface] = (ipaddress.ip_interface(address) for address in self.addresses)
        networks: set[t.Any] = {address.network for address in found if address.version == version}
        return tuple(sorted(networks))

    def routed(self, version: int) -> tuple[Network, ...]:
        """The networks of a family (4 or 6) behind gateways on the bridge."""
        found: t.Iterable[t.Any] = (routes.split(entry)[0] for entry in self.routes)
        return tuple(network for network in found if network.version == version)

    def ranges(self, version: int) -> tuple[Network, ...]:
        """All that lies behind the bridge, of a family (4 or 6): its subnets and the networks that it has routes to."""
        return (*self.subnets(version), *self.routed(version))

    def mode_of(self, version: int) -> str:
        """The mode of a family."""
        return self.mode if version == 4 else self.ipv6_mode

    @property
    def mark(self) -> int:
        """The bit as a number."""
        return 1 << self.mark_bit

    def source(self, version: int) -> str | None:
        """The fixed address of a family that what leaves for elsewhere is given, None for that of the link it leaves by."""
        return next((one for one in self.masquerade_source if (":" in one) == (version == 6)), None)

    def pairs(self, version: int) -> tuple[tuple[str, str], ...]:
        """Who may open connections to whom, of a family."""
        found = [entry.partition(" > ") for entry in self.sibling_pairs]
        return tuple((one, other) for one, _sign, other in found if (":" in one) == (version == 6))

    def record(self) -> dict[str, t.Any]:
        """The canonical form that the record keeps."""
        kept = asdict(self)
        for key in ("name", "force", "present"):
            kept.pop(key)
        return {key: list(value) if isinstance(value, tuple) else value for key, value in kept.items()}


def from_record(name: str, kept: t.Mapping[str, t.Any]) -> BridgeSpec:
    """The specification that a record keeps."""
    known: dict[str, t.Any] = {key: kept[key] for key in BridgeSpec(name).record() if key in kept}
    fields: dict[str, t.Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in known.items()}
    return BridgeSpec(name, **fields)


def check_link(name: str, option: str) -> str:
    """Return `name` if a network interface can have it (no patterns).

    :raises InvalidOption: it can't.
    """
    if not _LINK.fullmatch(name):
        raise InvalidOption(
            f"{option}: {name!r} is not the name of a network interface: at most {MAX_NAME} letters, digits,"
            " dots, colons, underscores or dashes; patterns are not taken"
        )
    return name


def check_bridge_name(name: str, option: str = "name") -> str:
    """Return `name` if one of our bridges can have it.

    :raises InvalidOption: it can't.
    """
    check_name(name, option)
    if len(name) > MAX_NAME or name in _RESERVED:
        raise InvalidOption(
            f"{option}: {name!r} can't be the name of a bridge: the kernel takes at most {MAX_NAME} characters,"
            f" and not {', '.join(sorted(_RESERVED))}"
        )
    return name


def _address(text: str, name: str) -> Interface:
    option = f"{name}: addresses: {text!r}"
    try:
        if "/" not in text:
            raise ValueError("the length of the prefix is missing")
        found = ipaddress.ip_interface(text)
    except ValueError as error:
        raise InvalidOption(
            f"{option}: not an address with its prefix, such as 10.88.0.1/24 or fd88::1/64: {error}"
        ) from None
    ip, network = found.ip, found.network
    if ip.is_loopback or ip.is_multicast or ip.is_link_local or ip.is_unspecified or getattr(ip, "scope_id", None):
        raise InvalidOption(f"{option}: loopback, multicast, link-local and unspecified addresses can't be a bridge's")
    if network.prefixlen > network.max_prefixlen - 2:
        raise InvalidOption(f"{option}: no room for services: use a prefix of at most /{network.max_prefixlen - 2}")
    if ip == network.network_address or (found.version == 4 and ip == network.broadcast_address):
        raise InvalidOption(
            f"{option}: this is the network's own address or its broadcast address: use {network[1]}/{network.prefixlen}"
        )
    return found


def _addresses(given: t.Sequence[str], name: str) -> tuple[str, ...]:
    found = [_address(text.strip(), name) for text in given]
    for index, one in enumerate(found):
        for other in found[:index]:
            if one.ip == other.ip:
                raise InvalidOption(f"{name}: addresses: {one.ip} is given more than once")
            if one.version == other.version and one.network != other.network and one.network.overlaps(other.network):
                raise InvalidOption(f"{name}: addresses: {one} and {other} overlap")
    return tuple(str(address) for address in found)


def _service_to_host(text: str, name: str) -> str:
    """An entry such as `udp/53`, `tcp/8000-8010`, `icmp`, in canonical form."""
    option = f"{name}: service_to_host: {text!r}"
    plain = text.strip().lower()
    if plain in ("icmp", "icmpv6"):
        return plain
    match = re.fullmatch(r"([a-z]+)/(\d{1,5})(?:-(\d{1,5}))?", plain)
    if not match or match.group(1) not in PROTOCOLS:
        raise InvalidOption(
            f"{option}: write a protocol and a port, such as udp/53 or tcp/8000-8010, or icmp or icmpv6"
            f" (protocols: {', '.join(PROTOCOLS)})"
        )
    low, high = int(match.group(2)), int(match.group(3) or match.group(2))
    if not 1 <= low <= high <= 65535:
        raise InvalidOption(f"{option}: ports are 1 to 65535, the lower one first")
    return f"{match.group(1)}/{low}" + (f"-{high}" if high > low else "")


def _ticks(text: str, option: str, low: float, high: float) -> int:
    seconds = parse_seconds(text, option)
    if not low <= seconds <= high:
        raise InvalidOption(f"{option}: {text!r} is not between {low:g}s and {high:g}s")
    return round(seconds * _TICKS)


def _pair(given: t.Mapping[str, t.Any], name: str, subnets: t.Sequence[Network]) -> str:
    """A pair of siblings in canonical form."""
    found: list[Network] = []
    for key in ("from", "to"):
        option = f"{name}: sibling_pairs: {key}: {given[key]!r}"
        try:
            one = ipaddress.ip_network(given[key].strip())
        except ValueError as error:
            raise InvalidOption(f"{option} is no address and no range of addresses: {error}") from None
        if not any(one.version == subnet.version and one.subnet_of(t.cast(t.Any, subnet)) for subnet in subnets):
            raise InvalidOption(
                f"{option} is outside of the bridge's subnets and routes: only services of one bridge are siblings"
            )
        found.append(one)
    if found[0].version != found[1].version:
        raise InvalidOption(f"{name}: sibling_pairs: {found[0]} and {found[1]} are of different families")
    return " > ".join(str(one[0] if one.num_addresses == 1 else one) for one in found)


def _sources(given: t.Sequence[str], name: str, modes: t.Mapping[int, str]) -> tuple[str, ...]:
    """The addresses that masqueraded packets are given, at most one of a family."""
    found: dict[int, str] = {}
    for text in given:
        option = f"{name}: masquerade_source: {text!r}"
        try:
            one = ipaddress.ip_address(text.strip())
        except ValueError:
            raise InvalidOption(f"{option} is not an IPv4 or IPv6 address") from None
        if one.is_loopback or one.is_multicast or one.is_unspecified or one.is_link_local:
            raise InvalidOption(
                f"{option}: loopback, multicast, link-local and unspecified addresses can't be a source"
            )
        if one.version in found:
            raise InvalidOption(f"{option}: {found[one.version]} is given already: one address of each family")
        if modes[one.version] != "nat":
            raise InvalidOption(
                f"{option}: the bridge's mode for IPv{one.version} is {modes[one.version]}: only nat translates"
            )
        found[one.version] = str(one)
    return tuple(found[version] for version in sorted(found))


def _check_siblings(options: t.Mapping[str, t.Any], name: str) -> None:
    if options["l2"] and options["siblings"] == "deny":
        raise InvalidOption(
            f"{name}: l2: services of one broadcast domain can't be kept apart: leave out siblings: deny, or l2"
        )
    if options["sibling_pairs"] and options["siblings"] == "allow":
        raise InvalidOption(f"{name}: sibling_pairs: all siblings reach each other already: set siblings: deny")
    if not 0 <= options["mark_bit"] <= 31:
        raise InvalidOption(f"{name}: mark_bit: {options['mark_bit']} is not a bit of a mark: 0 to 31")


def _unique(values: t.Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(set(values)))


def parse(options: t.Mapping[str, t.Any]) -> BridgeSpec:
    """One element's options.

    :raises InvalidOption: an option can't be meant.
    """
    name = check_bridge_name(options["name"])
    addresses = _addresses(options["addresses"], name)
    mtu, mac = options.get("mtu"), options.get("mac")
    six = any(":" in address for address in addresses)
    low = 1280 if six else 68
    if mtu is not None and not low <= mtu <= 65535:
        raise InvalidOption(f"{name}: mtu: {mtu} is not between {low} and 65535 (RFC 8200: 1280 is the least for v6)")
    if mac is not None:
        mac = mac.strip().lower().replace("-", ":")
        if not _MAC.fullmatch(mac) or int(mac[:2], 16) & 1 or mac == "00:00:00:00:00:00":
            raise InvalidOption(
                f"{name}: mac: {options['mac']!r} is not a unicast MAC address, such as 02:00:00:00:00:01"
            )
    ports = _unique(check_link(port, f"{name}: ports") for port in options["ports"])
    if name in ports or "lo" in ports:
        raise InvalidOption(f"{name}: ports: neither the bridge itself nor lo can be a port of it")
    allowed = _unique(check_bridge_name(other, f"{name}: allow_bridges") for other in options["allow_bridges"])
    if name in allowed:
        raise InvalidOption(f"{name}: allow_bridges: services of one bridge reach each other anyway")
    _check_siblings(options, name)
    interfaces = [ipaddress.ip_interface(address) for address in addresses]
    ways = routes.parse(options["routes"], name, interfaces)
    behind = [*(address.network for address in interfaces), *(routes.split(entry)[0] for entry in ways)]
    six_mode = options.get("ipv6_mode") or options["mode"]
    # IEEE 802.1D-1998, table 8-3, which the kernel enforces while the spanning tree protocol runs
    return BridgeSpec(
        name=name,
        addresses=addresses,
        mode=options["mode"],
        ipv6_mode=six_mode,
        mtu=mtu,
        mac=mac,
        stp=options["stp"],
        forward_delay=_ticks(options["forward_delay"], f"{name}: forward_delay", 2, 30),
        ageing_time=_ticks(options["ageing_time"], f"{name}: ageing_time", 0, 1000000),
        trusted_interfaces=_unique(
            check_link(link, f"{name}: trusted_interfaces") for link in options["trusted_interfaces"]
        ),
        allow_bridges=allowed,
        masquerade_source=_sources(options["masquerade_source"], name, {4: options["mode"], 6: six_mode}),
        vlan_filtering=options["vlan_filtering"],
        siblings=options["siblings"],
        sibling_pairs=_unique(_pair(pair, name, behind) for pair in options["sibling_pairs"]),
        l2=options["l2"],
        forward_between_others=options["forward_between_others"],
        mark_bit=options["mark_bit"],
        service_to_host=_unique(_service_to_host(entry, name) for entry in options["service_to_host"]),
        ports=ports,
        routes=ways,
        force=options["force"],
        present=options["state"] == "present",
    )
