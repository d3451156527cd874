# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the host has of bridges: links, routes, settings, the nftables table, records and boot files."""

from __future__ import annotations

import ipaddress
import json
import socket
import typing as t
from dataclasses import dataclass, field

from .. import _paths
from .._errors import IsolationError
from .._host import boot, firewalls, iproute, nft, sysctl, unmanaged
from .._host.files import read_text
from .._host.records import Record, load_records
from .._names import mac_address
from . import render, routes, routing
from .routing import Rule
from .spec import BridgeSpec, Network, from_record

LAYER = "bridge"
FOLDER = _paths.ETC + "/bridge.d"
TABLE_FILE = _paths.ETC + "/bridge.nft"
HOST_SYSCTLS = FOLDER + "/_host.sysctl"
HOST_MEMORY = FOLDER + "/_host.json"
SCRIPT = boot.script_path("10-bridge")

FORWARDING = {4: "net/ipv4/ip_forward", 6: "net/ipv6/conf/all/forwarding"}
CONFIGURATION = {4: "net/ipv4/conf", 6: "net/ipv6/conf"}
_REDIRECTS = "net/ipv4/conf/all/accept_redirects"
_MEMORY_FORMAT = 1


@dataclass(frozen=True)
class Link:
    """A link as the kernel has it; what only bridges, or only their ports, have is 0 elsewhere."""

    name: str
    kind: str
    mac: str
    mtu: int
    group: str
    up: bool
    master: str | None
    addresses: tuple[str, ...] = ()
    stp: int = 0
    forward_delay: int = 0
    ageing_time: int = 0
    vlan_filtering: int = 0
    isolated: bool = False
    hairpin: bool = False


@dataclass(frozen=True)
class Route:
    """A route: where to, by which link, of which kind (unicast, local, blackhole …), who made it, by which gateway, in which table."""

    target: str
    link: str
    kind: str
    protocol: str
    gateway: str = ""
    table: str = "main"

    def network(self) -> Network | None:
        """The destination; None for the default route."""
        return None if self.target == "default" else ipaddress.ip_network(self.target, strict=False)


@dataclass(frozen=True)
class World:
    """The host, as far as bridges go.

    `actual` and `wanted` are the tables and what the specs and records ask of them, both in nft's own form; None where
    there are none. `memory` holds settings as they were before the first bridge, `apart` the links of then by family.
    `sysctls` has those that this task is about. `attached` are services' links by bridge. `bridge_nf` tells whether bridged
    packets pass the chains of routed ones (br_netfilter). `others` are the links by family that forwarding must not join.
    `managers` are other managers of networks, and what keeps them off our links.
    """

    records: t.Mapping[str, Record] = field(default_factory=dict)
    links: t.Mapping[str, Link] = field(default_factory=dict)
    routes: tuple[Route, ...] = ()
    machine: str = ""
    sysctls: t.Mapping[str, str | None] = field(default_factory=dict)
    memory: t.Mapping[str, str] = field(default_factory=dict)
    apart: t.Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    others: t.Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    rules: tuple[Rule, ...] = ()
    attached: t.Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    bridge_nf: bool = False
    forwarding_links: t.Mapping[str, str] = field(default_factory=dict)
    actual: str | None = None
    wanted: str | None = None
    files: t.Mapping[str, str | None] = field(default_factory=dict)
    boot_gaps: tuple[str, ...] = ()
    managers: unmanaged.State = field(default_factory=unmanaged.State)
    warnings: tuple[str, ...] = ()

    @property
    def six(self) -> bool:
        """Whether the kernel has IPv6."""
        return self.sysctls.get(FORWARDING[6]) is not None

    def bridge_routes(self, name: str) -> tuple[str, ...]:
        """The routes of ours that leave by a bridge, in the form that a spec has."""
        ours = [route for route in self.routes if route.link == name and route.protocol == routes.PROTOCOL]
        return tuple(
            f"{route.network()} via {route.gateway}" for route in ours if route.table == "main" and route.gateway
        )

    def uplink(self) -> Link | None:
        """The link of the first default route."""
        for route in self.routes:
            if route.target == "default" and route.link in self.links:
                return self.links[route.link]
        return None


def machine_identity() -> str:
    """What tells this host from others: its machine-id(5), else its name."""
    for path in ("/etc/machine-id", "/var/lib/dbus/machine-id"):
        text = (read_text(path) or "").strip()
        if text and text != "uninitialized":
            return text
    return socket.gethostname()


def bridge_mac(spec: BridgeSpec, machine: str) -> str:
    """A bridge's MAC address: the given one, else one that is stable on this host and different on others."""
    return spec.mac or mac_address(machine, spec.name)


def desired_bridges(specs: t.Iterable[BridgeSpec], records: t.Mapping[str, Record]) -> dict[str, BridgeSpec]:
    """All bridges that the host is to have: those of the records, with this task's in their place."""
    found = {name: from_record(name, record.spec) for name, record in records.items()}
    for spec in specs:
        found.pop(spec.name, None)
        if spec.present:
            found[spec.name] = spec
    return found


def own_sysctls(spec: BridgeSpec, six: bool) -> dict[str, str]:
    """Settings of a bridge's link; `six` tells whether the kernel has IPv6.

    `route_localnet`: the host's 127.0.0.1 is translated to a service and back (ip-sysctl.rst). `accept_ra`: a
    service must not tell the host its routes (RFC 6104). `promote_secondaries`: an address that goes must not take others of
    its subnet along.
    """
    wanted = {f"net/ipv4/conf/{spec.name}/{key}": "1" for key in ("route_localnet", "promote_secondaries")}
    if six:
        wanted[f"net/ipv6/conf/{spec.name}/accept_ra"] = "0"
    return wanted


def parse_link(item: t.Mapping[str, t.Any]) -> Link:
    """A link of `ip -json -details address show`. Link-local addresses are left out: they come by themselves."""
    info = item.get("linkinfo", {})
    data, port = info.get("info_data", {}), info.get("info_slave_data", {})
    addresses = tuple(
        f"{ipaddress.ip_address(entry['local'])}/{entry['prefixlen']}"
        for entry in item.get("addr_info", [])
        if entry.get("scope") != "link" and "local" in entry
    )
    return Link(
        name=item["ifname"],
        kind=info.get("info_kind", ""),
        mac=item.get("address", ""),
        mtu=item.get("mtu", 0),
        group=str(item.get("group", "default")),
        up="UP" in item.get("flags", []),
        master=item.get("master"),
        addresses=addresses,
        stp=data.get("stp_state", 0),
        forward_delay=data.get("forward_delay", 0),
        ageing_time=data.get("ageing_time", 0),
        vlan_filtering=data.get("vlan_filtering", 0) if info.get("info_kind") == "bridge" else 0,
        isolated=bool(port.get("isolated", False)),
        hairpin=bool(port.get("hairpin", False)),
    )


def _routes() -> tuple[Route, ...]:
    return tuple(
        Route(
            item["dst"],
            item.get("dev", ""),
            item.get("type", "unicast"),
            str(item.get("protocol", "")),
            item.get("gateway", ""),
            str(item.get("table", "main")),
        )
        for item in iproute.routes()
        if "dst" in item
    )


def _memory() -> tuple[dict[str, str], dict[int, tuple[str, ...]]]:
    text = read_text(HOST_MEMORY)
    if text is None:
        return {}, {}
    try:
        document = json.loads(text)
        if int(document["format"]) > _MEMORY_FORMAT:
            raise IsolationError(f"{HOST_MEMORY}: written by a newer version: upgrade the collection")
        apart = {int(version): tuple(names) for version, names in document.get("apart", {}).items()}
        return dict(document["before"]), apart
    except (ValueError, KeyError, TypeError) as error:
        raise IsolationError(
            f"{HOST_MEMORY}: damaged ({error}): it holds kernel settings as they were before the first bridge:"
            " restore it, or remove it and set net.ipv4.ip_forward yourself when the last bridge is gone"
        ) from error


def memory_text(before: t.Mapping[str, str], apart: t.Mapping[int, t.Sequence[str]]) -> str:
    """The file that keeps settings as they were, and which links there were."""
    document: dict[str, t.Any] = {"format": _MEMORY_FORMAT, "before": dict(before)}
    if apart:
        document["apart"] = {str(version): list(names) for version, names in sorted(apart.items())}
    return json.dumps(document, indent=2) + "\n"


def _rules() -> tuple[Rule, ...]:
    found = [routing.parse(version, item) for version in (4, 6) for item in iproute.rules(version)]
    return tuple(sorted(rule for rule in found if rule is not None))


def _attached() -> dict[str, tuple[str, ...]]:
    """The host's ends of services' links, by bridge, as the records of services have them."""
    found: dict[str, list[str]] = {}
    for record in load_records("service").values():
        for item in record.assigned.get("networks", []):
            found.setdefault(str(item["bridge"]), []).append(str(item["interface"]))
    return {bridge: tuple(sorted(links)) for bridge, links in found.items()}


def _bridge_nf() -> bool:
    return any(sysctl.read_sysctl(f"net/bridge/bridge-nf-call-{family}tables") == "1" for family in ("ip", "ip6"))


def tables_text() -> str | None:
    """Both tables in nft's own form; None if there is neither."""
    found = [nft.list_text(table) for table in render.TABLES]
    return "".join(text or "" for text in found) if any(text is not None for text in found) else None


def _forwarding_links() -> dict[str, str]:
    """Links that forward by themselves while the host as a whole does not: switching the host's setting loses theirs."""
    found = {}
    for version, top in CONFIGURATION.items():
        if sysctl.read_sysctl(FORWARDING[version]) == "0":
            for link in sysctl.children(top):
                key = f"{top}/{link}/forwarding"
                if link != "all" and sysctl.read_sysctl(key) == "1":
                    found[key] = "1"
    return found


def _sysctls(specs: t.Iterable[BridgeSpec], table: t.Iterable[Route], memory: t.Iterable[str]) -> dict[str, str | None]:
    keys = [*FORWARDING.values(), _REDIRECTS, *memory]
    keys += [f"net/ipv6/conf/{route.link}/accept_ra" for route in table if route.target == "default"]
    for spec in specs:
        keys += own_sysctls(spec, True)
    return {key: sysctl.read_sysctl(key) for key in keys}


def _warnings() -> tuple[str, ...]:
    found = []
    for tool, package in ((iproute.available(), "iproute2"), (nft.available(), "nftables")):
        if not tool:
            found.append(f"{package} is not installed: the host is taken to have nothing of ours")
    found += firewalls.warnings()
    if _bridge_nf():
        found.append(
            "bridged packets pass the host's firewall here (net.bridge.bridge-nf-call-iptables is 1): siblings are then kept apart"
            " by the firewall, and a service reaches its own published port only by a bridge port with the flag hairpin"
        )
    return tuple(found)


def read_links() -> dict[str, Link]:
    """All links by name."""
    return {item["ifname"]: parse_link(item) for item in iproute.links()}


def _others(
    bridges: t.Mapping[str, BridgeSpec],
    links: t.Mapping[str, Link],
    memory: t.Mapping[str, str],
    apart: t.Mapping[int, tuple[str, ...]],
) -> dict[int, tuple[str, ...]]:
    """The links that forwarding must not join: those that were there when it was, or is about to be, switched on for bridges."""
    found = {}
    for version in (4, 6):
        if not any(bridge.subnets(version) for bridge in bridges.values()):
            continue
        if FORWARDING[version] in memory:
            found[version] = apart.get(version, ())
        elif sysctl.read_sysctl(FORWARDING[version]) == "0":
            found[version] = tuple(
                sorted(
                    name
                    for name, link in links.items()
                    if name != "lo" and name not in bridges and link.master not in bridges
                )
            )
    return found


def observe(specs: t.Sequence[BridgeSpec]) -> World:
    """The host as it is. Reads only."""
    records = load_records(LAYER)
    table, links = _routes(), read_links()
    memory, apart = _memory()
    bridges = desired_bridges(specs, records)
    others = _others(bridges, links, memory, apart)
    text = render.table_text(bridges.values(), others)
    names = {*records, *(spec.name for spec in specs)}
    paths = [TABLE_FILE, HOST_SYSCTLS, HOST_MEMORY, SCRIPT]
    paths += [f"{FOLDER}/{name}.{kind}" for name in sorted(names) for kind in ("ip", "sysctl")]
    return World(
        records=records,
        links=links,
        routes=table,
        machine=machine_identity(),
        sysctls=_sysctls(specs, table, memory),
        memory=memory,
        apart=apart,
        others=others,
        rules=_rules(),
        attached=_attached(),
        bridge_nf=_bridge_nf(),
        forwarding_links=_forwarding_links(),
        actual=tables_text(),
        wanted=nft.canonical(render.TABLES, text) if bridges else None,
        files={path: read_text(path) for path in paths},
        boot_gaps=boot.gaps(),
        managers=unmanaged.state(),
        warnings=_warnings(),
    )


def describe(name: str, spec: BridgeSpec, link: Link | None, links: t.Mapping[str, Link]) -> dict[str, t.Any]:
    """A bridge as results show it."""
    return {
        "name": name,
        "addresses": list(spec.addresses) if link is None else sorted(link.addresses, key=_order(spec)),
        "mac": None if link is None else link.mac,
        "mtu": None if link is None else link.mtu,
        "mode": spec.mode,
        "ipv6_mode": spec.ipv6_mode,
        "l2": spec.l2,
        "ports": sorted(port.name for port in links.values() if port.master == name),
    }


def _order(spec: BridgeSpec) -> t.Callable[[str], tuple[int, str]]:
    """Addresses in the order in which they were asked for: the first of a family is the gateway."""
    place = {address: index for index, address in enumerate(spec.addresses)}
    return lambda address: (place.get(address, len(place)), address)


def _guests() -> dict[str, list[dict[str, t.Any]]]:
    """Instances of services by the bridge that they are on, as their records have it."""
    found: dict[str, list[dict[str, t.Any]]] = {}
    for record in load_records("service").values():
        for item in record.assigned.get("networks", []):
            entry = {key: item.get(key) for key in ("interface", "mac", "ipv4", "ipv6")}
            found.setdefault(str(item["bridge"]), []).append({"service": record.name, **entry})
    return found


def observe_all() -> list[dict[str, t.Any]]:
    """All bridges of ours, as the kernel has them; `present` is false where the link is gone."""
    links, guests = read_links(), _guests()
    found = []
    for name, record in sorted(load_records(LAYER).items()):
        link = links.get(name)
        shown = describe(name, from_record(name, record.spec), link, links)
        attached = [{**guest, "attached": guest["interface"] in shown["ports"]} for guest in guests.get(name, [])]
        up = None if link is None else link.up
        found.append({**shown, "project": record.project, "present": link is not None, "up": up, "services": attached})
    return found
