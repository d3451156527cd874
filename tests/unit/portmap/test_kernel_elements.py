# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Elements as the kernel lists them by netlink (linux/netfilter/nf_tables.h)."""

from __future__ import annotations

import ipaddress
import struct

import pytest

from ansible_collections.daemonless.isolation.plugins.module_utils._host.nfnetlink import (
    NfnetlinkError,
    parse_element,
)
from ansible_collections.daemonless.isolation.plugins.module_utils._portmap import listing

KEY, DATA, FLAGS, USER, KEY_END = 1, 2, 3, 6, 10


def attribute(kind: int, body: bytes, nested: bool = False) -> bytes:
    return struct.pack("=HH", 4 + len(body), kind | (0x8000 if nested else 0)) + body + bytes(-len(body) % 4)


def value(kind: int, data: bytes) -> bytes:
    return attribute(kind, attribute(1, data), True)


def comment(text: str) -> bytes:
    body = text.encode() + b"\0"
    return attribute(USER, bytes((0, len(body))) + body)


def four(text: str) -> bytes:
    return ipaddress.IPv4Address(text).packed


def port(number: int) -> bytes:
    return struct.pack("!HH", number, 0)


TCP = bytes((6, 0, 0, 0))
EXACT = "inet_proto . inet_service : ipv4_addr . inet_service"
ALLOWED = "ipv4_addr . ipv4_addr . inet_proto . inet_service"


def test_exact() -> None:
    raw = value(KEY, TCP + port(80)) + value(DATA, four("10.88.0.2") + port(3000)) + comment("web")
    assert listing.read_elements("any4", EXACT, [raw]) == {("any4", "6 . 80"): ("10.88.0.2 . 3000", "web")}


def test_interval() -> None:
    """A range of ports, a prefix, and one that is the whole family."""
    low = four("10.0.0.0") + four("0.0.0.0") + TCP + port(80)
    high = four("10.255.255.255") + four("255.255.255.255") + TCP + port(89)
    raw = value(KEY, low) + value(KEY_END, high) + comment("web")
    assert listing.read_elements("allow4", ALLOWED, [raw]) == {
        ("allow4", "10.0.0.0/8 . 0.0.0.0/0 . 6 . 80-89"): ("", "web")
    }


def test_verdict() -> None:
    """An element that leads to a chain, and one that somebody else has made of it."""
    goto = attribute(2, attribute(1, struct.pack("!i", -4)) + attribute(2, b"spread_1\0"), True)
    drop = attribute(2, attribute(1, struct.pack("!i", 0)), True)
    for body, wanted in ((goto, "goto spread_1"), (drop, "verdict 0")):
        raw = value(KEY, TCP + port(80)) + attribute(DATA, body, True) + attribute(FLAGS, bytes(4))
        found = listing.read_elements("any4_spread", "inet_proto . inet_service : verdict", [raw])
        assert found == {("any4_spread", "6 . 80"): (wanted, "")}


@pytest.mark.parametrize("raw", [b"", bytes(4), attribute(FLAGS, bytes(4)) + value(KEY, TCP + port(80))])
def test_unknown_form(raw: bytes) -> None:
    with pytest.raises(NfnetlinkError, match="unknown form"):
        parse_element(raw)
