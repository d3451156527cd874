# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who reaches a service, by which way, and as whom: every cell of the table in docs/reachability.md.

`pytest -s` prints the tables. With GOLDEN=1 in the environment the document is written anew.
"""

from __future__ import annotations

import collections
import concurrent.futures
import os
import pathlib
import typing as t

import pytest
from standins import CLOSED, Service, Target, ask, serve
from world import ATTACKER4, ATTACKER6, CLIENT4, CLIENT6, HOST4, HOST6, REPOSITORY, World

WEB, PEER, FAR = ("10.88.0.2", "fd88::2"), ("10.88.0.3", "fd88::3"), ("10.89.0.2", "fd89::2")
GATE, FAR_GATE, HOST = ("10.88.0.1", "fd88::1"), ("10.89.0.1", "fd89::1"), (HOST4, HOST6)
STABLE, LOOPBACK = ("10.87.0.7", "fd87::7"), ("127.0.0.1", "::1")

PROTOCOLS = ("tcp", "udp", "sctp")
FAMILIES = ("IPv4", "IPv6")
PUBLISHED = ("on every address", "on one address", "on loopback", "not published", "service address")
PORTS = {
    "on every address": 8080,
    "on one address": 8082,
    "on loopback": 8081,
    "not published": 4000,
    "service address": 4000,
}
CLIENTS = {
    "LAN client": "client",
    "host, own address": "host",
    "host, loopback": "host",
    "the service itself": "web",
    "sibling": "peer",
    "service on another bridge": "far",
    "attacker": "attacker",
}
NAMES = {
    CLIENT4: "client", CLIENT6: "client", ATTACKER4: "attacker", ATTACKER6: "attacker", HOST4: "host", HOST6: "host",
    **dict.fromkeys(GATE, "bridge"), **dict.fromkeys(PEER, "sibling"), **dict.fromkeys(FAR, "other"), **dict.fromkeys(WEB, "itself"),
}  # fmt: skip
DOCUMENT = REPOSITORY / "docs" / "reachability.md"

Cell = t.Tuple[str, str, str, str]
"""Client, protocol, family, published how."""


def target(client: str, protocol: str, family: int, published: str) -> Target:
    """What a client asks for. An attacker forges loopback addresses; who asks by loopback has no other way to unpublished ports."""
    address = HOST[family]
    if client == "host, loopback" or (client == "attacker" and published == "on loopback" and family == 0):
        address = LOOPBACK[family]
    elif published == "not published" and client != "the service itself":
        address = WEB[family]
    if published == "service address":
        address = STABLE[family]
    return protocol, address, PORTS[published]


def expected(client: str, family: int, published: str, siblings: str) -> str:
    """The address that the service sees, by its owner's name, or that nothing comes."""
    if published in ("on every address", "on one address"):
        if client == "host, loopback":
            return "bridge" if published == "on every address" and family == 0 else CLOSED
        seen = {
            "host, own address": "host",
            "the service itself": "bridge",
            "LAN client": "client",
            "attacker": "attacker",
        }
        own = "bridge" if siblings == "l2" else "sibling"
        return {**seen, "sibling": own, "service on another bridge": "other"}[client]
    if published == "on loopback":
        return "bridge" if client == "host, loopback" and family == 0 else CLOSED
    if published == "service address":
        pair = {"allow": ("bridge", "sibling"), "deny": (CLOSED, CLOSED), "l2": ("bridge", "bridge")}[siblings]
        return {
            "host, own address": "host",
            "host, loopback": "host",
            "the service itself": pair[0],
            "sibling": pair[1],
        }.get(client, CLOSED)
    if client == "host, own address":
        return "bridge"
    return "sibling" if client == "sibling" and siblings != "deny" else CLOSED


@pytest.fixture
def stage(world: World, siblings: str, bridge_nf: int) -> World:
    """Services on two bridges, the ports of one published in every way."""
    world.sh(
        f"sysctl -qw net.bridge.bridge-nf-call-iptables={bridge_nf} net.bridge.bridge-nf-call-ip6tables={bridge_nf}"
    )
    l2 = siblings == "l2"
    world.apply(
        "bridge",
        l2=l2,
        siblings="deny" if siblings == "deny" else "allow",
        aggregate=[
            {"name": "iso0", "addresses": [f"{GATE[0]}/24", f"{GATE[1]}/64"]},
            {"name": "iso1", "addresses": [f"{FAR_GATE[0]}/24", f"{FAR_GATE[1]}/64"]},
        ],
    )
    Service(world, "web", "iso0", WEB, GATE, l2)
    Service(world, "peer", "iso0", PEER, GATE, l2)
    Service(world, "far", "iso1", FAR, FAR_GATE, l2)
    isolated, hairpin = "on" if not (l2 or bridge_nf) else "off", "on" if bridge_nf else "off"
    world.sh(
        "; ".join(
            f"bridge link set dev v-{name} isolated {isolated} hairpin {hairpin}" for name in ("web", "peer", "far")
        )
    )
    mappings: list[dict[str, t.Any]] = []
    for protocol in PROTOCOLS:
        for family in (0, 1):
            to = {"protocol": protocol, "address": WEB[family], "port": 3000}
            mappings += [{"host_port": 8080, **to}, {"host_port": 8082, "host_address": HOST[family], **to}]
        mappings.append(
            {"host_port": 8081, "host_address": "127.0.0.1", "protocol": protocol, "address": WEB[0], "port": 3000}
        )
    addresses = [{"address": STABLE[family], "to": WEB[family]} for family in (0, 1)]
    world.apply("nat_portmap", name="web", mappings=mappings, service_addresses=addresses)
    serve(world, "web", *(f"{protocol}/{port}" for protocol in PROTOCOLS for port in (3000, 4000)))
    world.sh(
        "ip addr del 127.0.0.1/8 dev lo; ip route add 127.0.0.0/8 via 198.51.100.1; sysctl -qw net.ipv4.conf.all.route_localnet=1",
        ns="attacker",
    )
    return world


def measure(world: World) -> dict[Cell, str]:
    """What the service has seen of each client; `closed` if nothing came back."""

    def one(ns: str) -> dict[Cell, str]:
        found = {}
        for client in (name for name, own in CLIENTS.items() if own == ns):
            asked = {
                (client, protocol, FAMILIES[family], published): target(client, protocol, family, published)
                for protocol in PROTOCOLS
                for family in (0, 1)
                for published in PUBLISHED
            }
            answers = ask(world, ns, *dict.fromkeys(asked.values()))
            for cell, where in asked.items():
                answer = answers[where]
                found[cell] = CLOSED if answer == CLOSED else NAMES.get(answer.partition(" ")[2], answer)
        return found

    with concurrent.futures.ThreadPoolExecutor() as pool:
        return dict(collections.ChainMap(*pool.map(one, dict.fromkeys(CLIENTS.values()))))


def table(found: t.Mapping[Cell, str]) -> list[str]:
    """The cells in Markdown. Where protocols agree, as they should, they share a line."""
    lines = ["| client | family | protocol | " + " | ".join(PUBLISHED) + " |", "| --- " * (3 + len(PUBLISHED)) + "|"]
    for client in CLIENTS:
        for family in FAMILIES:
            rows: dict[tuple[str, ...], list[str]] = {}
            for protocol in PROTOCOLS:
                cells = tuple(found[client, protocol, family, published] for published in PUBLISHED)
                rows.setdefault(cells, []).append(protocol)
            lines += [
                f"| {client} | {family} | {', '.join(protocols)} | {' | '.join(cells)} |"
                for cells, protocols in rows.items()
            ]
    return lines


def document(siblings: str, lines: list[str]) -> None:
    """Put a table in its place in the document."""
    text = DOCUMENT.read_text()
    start, end = f"<!-- {siblings} -->\n", f"<!-- end of {siblings} -->\n"
    head, _start, rest = text.partition(start)
    _old, _end, tail = rest.partition(end)
    DOCUMENT.write_text(f"{head}{start}\n" + "\n".join(lines) + f"\n\n{end}{tail}")


@pytest.mark.parametrize("bridge_nf", [0, 1], ids=["bridge-nf-0", "bridge-nf-1"])
@pytest.mark.parametrize("siblings", ["allow", "deny", "l2"])
def test_matrix(stage: World, siblings: str, bridge_nf: int) -> None:
    """Every cell is as documented; T11, T12 and T14 among them, for tcp, udp and sctp."""
    found = measure(stage)
    lines = table(found)
    print(f"\nsiblings: {siblings}, bridge-nf-call: {bridge_nf}\n" + "\n".join(lines))
    wanted = {cell: expected(cell[0], FAMILIES.index(cell[2]), cell[3], siblings) for cell in found}
    assert {cell: seen for cell, seen in found.items() if seen != wanted[cell]} == {}
    if os.environ.get("GOLDEN") and bridge_nf == 0:
        document(siblings, lines)
    assert "\n".join(lines) in pathlib.Path(DOCUMENT).read_text(), "docs/reachability.md tells something else"
