# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The rulesets, as documents: GOLDEN=1 writes the files under golden/ anew."""

from __future__ import annotations

import os
import pathlib

import pytest

from ansible_collections.daemonless.isolation.plugins.module_utils._bridge import bootfiles, render
from ansible_collections.daemonless.isolation.plugins.module_utils._bridge.spec import BridgeSpec

GOLDEN = pathlib.Path(__file__).with_name("golden")
ISO0 = BridgeSpec("iso0", ("10.88.0.1/24", "fd88::1/64"))

SITUATIONS: dict[str, tuple[BridgeSpec, ...]] = {
    "nat": (ISO0,),
    "nat-v4-only": (BridgeSpec("iso0", ("10.88.0.1/24",)),),
    "routed": (BridgeSpec("iso0", ISO0.addresses, mode="routed", ipv6_mode="routed"),),
    "internal": (BridgeSpec("iso0", ISO0.addresses, mode="internal", ipv6_mode="internal"),),
    "ports-and-trust": (
        BridgeSpec(
            "iso0", ISO0.addresses, trusted_interfaces=("wg0",), ports=("eth1",), service_to_host=("icmp", "udp/53")
        ),
    ),
    "deny": (
        BridgeSpec(
            "iso0",
            ISO0.addresses,
            siblings="deny",
            sibling_pairs=("10.88.0.2 > 10.88.0.16/28", "fd88::2 > fd88::3"),
        ),
    ),
    "l2": (BridgeSpec("iso0", ISO0.addresses, l2=True),),
    "masquerade-source": (BridgeSpec("iso0", ISO0.addresses, masquerade_source=("192.0.2.1", "2001:db8::1")),),
    "not-a-router": (ISO0,),
    "routes": (
        BridgeSpec("iso0", ISO0.addresses, routes=("192.0.2.0/24 via 10.88.0.17", "2001:db8:9::/48 via fd88::17")),
    ),
    "several": (
        BridgeSpec("iso1", ("10.89.0.1/24",), allow_bridges=("iso0",)),
        ISO0,
        BridgeSpec("iso2", ("10.90.0.1/24", "10.91.0.1/24"), mode="internal", ipv6_mode="internal"),
    ),
}

OTHERS = {"not-a-router": {4: ("eth0", "eth1"), 6: ("eth0",)}}
"""Links that were there when forwarding was switched on for bridges."""


@pytest.mark.parametrize("situation", SITUATIONS)
def test_golden(situation: str) -> None:
    path = GOLDEN / f"{situation}.nft"
    text = render.table_text(SITUATIONS[situation], OTHERS.get(situation))
    if os.environ.get("GOLDEN"):
        path.write_text(text)
    assert text == path.read_text()


def test_order_does_not_matter() -> None:
    bridges = SITUATIONS["several"]
    assert render.table_text(bridges) == render.table_text(reversed(bridges))


def test_nothing_left() -> None:
    assert render.table_text([]).splitlines()[1:] == [
        "table inet isolation_bridge",
        "delete table inet isolation_bridge",
        "table bridge isolation_bridge",
        "delete table bridge isolation_bridge",
    ]


def test_listing() -> None:
    text = render.table_text([ISO0])
    chains = render.parse_listing(text.split("delete table bridge isolation_bridge\n")[1])
    assert chains["nat-iso0"][0] == 'ip saddr { 10.88.0.0/24 } oifname != { "lo", "iso0" } masquerade'
    assert chains["input"][0] == "type filter hook input priority 0; policy accept;"


def test_boot_files() -> None:
    way = "192.0.2.0/24 via 10.88.0.17"
    bridge = BridgeSpec("iso0", ISO0.addresses, stp=True, ports=("eth1",), routes=(way,))
    batch = bootfiles.ip_batch(bridge, "02:00:00:00:00:01", 1400).splitlines()
    assert "link set dev iso0 address 02:00:00:00:00:01" in batch
    assert "address replace fd88::1/64 dev iso0 nodad" in batch
    assert batch[-2:] == ["link set dev iso0 up", f"route replace {way} dev iso0 proto 105"]
    script = bootfiles.boot_script(
        [(bridge, "02:00:00:00:00:01")], "/etc/isolation/bridge.d", "/etc/isolation/bridge.nft"
    )
    lines = script.splitlines()
    assert lines.index("nft -f /etc/isolation/bridge.nft") < lines.index(
        "[ -e /sys/class/net/iso0 ] || ip link add name iso0 address 02:00:00:00:00:01 type bridge"
    )
    assert "eth1 master iso0" in script


LISTING = """table inet isolation_bridge {
\tchain b {
\t\taccept
\t}

\tchain a {
\t\tct state established accept
\t\tdrop
\t}
}
table bridge isolation_bridge {
\tmap links {
\t\ttype ifname : verdict
\t\telements = { "isoa" : jump link-isoa,
\t\t\t     "isob" : jump link-isob }
\t}

\tchain c {
\t}
}
"""


def test_the_order_in_which_chains_were_made_means_nothing() -> None:
    """Services make theirs in the order of a task, a whole table has them in that of their names."""
    first, second = LISTING.index("\tchain b"), LISTING.index("\tchain a")
    end = LISTING.index("}\ntable")
    other = LISTING[:first] + LISTING[second:end] + "\n" + LISTING[first:second].rstrip("\n") + "\n" + LISTING[end:]
    assert other != LISTING
    assert render.is_same(other, LISTING)
    assert render.is_same(None, None)
    assert not render.is_same(None, LISTING)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("\t\tdrop\n", ""),
        ("\t\tct state established accept\n\t\tdrop\n", "\t\tdrop\n\t\tct state established accept\n"),
        ("\tchain c {\n\t}\n", ""),
        ("inet isolation_bridge {\n", "inet isolation_bridge {\n\tflags dormant\n"),
        ("jump link-isob", "jump link-isoa"),
        ("table bridge", "table ip"),
    ],
    ids=["rule", "order-of-rules", "chain", "flags", "element", "table"],
)
def test_everything_else_does(old: str, new: str) -> None:
    assert old in LISTING
    assert not render.is_same(LISTING.replace(old, new, 1), LISTING)
