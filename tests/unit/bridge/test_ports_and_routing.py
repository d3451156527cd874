# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The guard of services' links, the routing rules, and the options behind them."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.daemonless.isolation.plugins.module_utils._bridge import ports, routing, spec
from ansible_collections.daemonless.isolation.plugins.module_utils._bridge.spec import BridgeSpec
from ansible_collections.daemonless.isolation.plugins.module_utils._errors import InvalidOption
from ansible_collections.daemonless.isolation.plugins.module_utils._host.helpers import restore


def parsed(**options: t.Any) -> BridgeSpec:
    plain = {key: rule["default"] for key, rule in spec.OPTIONS.items() if "default" in rule}
    return spec.parse({**plain, "name": "iso0", "addresses": ["10.88.0.1/24", "fd88::1/64"], **options})


@pytest.mark.parametrize(
    ("mac", "address"),
    [("00:25:96:12:34:56", "fe80::225:96ff:fe12:3456"), ("02:00:00:00:00:01", "fe80::ff:fe00:1")],
)
def test_link_local(mac: str, address: str) -> None:
    assert ports.link_local(mac) == address


def test_a_link_without_ipv4_sends_none() -> None:
    text = ports.link_guard("iso1", "iso0", "02:00:00:00:00:01", None, "fd88::2")
    assert "ether type ip drop" in text
    assert "arp saddr ip != { 0.0.0.0 } drop" in text


@pytest.mark.parametrize("routed", [(), (4,), (6,), (4, 6)])
def test_only_a_gateway_sends_for_others(routed: tuple[int, ...]) -> None:
    text = ports.link_guard("iso1", "iso0", "02:00:00:00:00:01", "10.88.0.2", "fd88::2", routed)
    jumps = [line.split()[2] for line in text.splitlines() if line.endswith("jump routed-iso0")]
    assert jumps == [{4: "ip", 6: "ip6"}[version] for version in routed]
    assert ("chain routed-iso0 {" in text) is bool(routed)


def test_rules() -> None:
    found = routing.desired([parsed(mark_bit=4)], six=True)
    assert [str(rule) for rule in found if rule.version == 4] == [
        "101 to 10.88.0.0/24 iif lo lookup main",
        "102 to 10.88.0.0/24 iif iso0 lookup main",
        "103 to 10.88.0.0/24 fwmark 0x10/0x10 lookup main",
        "104 to 10.88.0.0/24 blackhole",
    ]
    assert len(found) == 8
    assert {rule.version for rule in routing.desired([parsed()], six=False)} == {4}
    assert found[0].command("add") == "rule add priority 101 to 10.88.0.0/24 iif lo lookup main protocol kernel"


def test_rules_are_read_as_they_are_written() -> None:
    shown: list[dict[str, t.Any]] = [
        {"priority": 101, "src": "all", "dst": "10.88.0.0", "dstlen": 24, "iif": "lo", "table": "main", "protocol": "kernel"},
        {"priority": 102, "src": "all", "dst": "10.88.0.0", "dstlen": 24, "iif": "iso0", "table": "main", "protocol": "kernel"},
        {
            "priority": 103, "src": "all", "dst": "10.88.0.0", "dstlen": 24, "fwmark": "0x1000", "fwmask": "0x1000",
            "table": "main", "protocol": "kernel",
        },
        {"priority": 104, "src": "all", "dst": "10.88.0.0", "dstlen": 24, "action": "blackhole", "protocol": "kernel"},
    ]  # fmt: skip
    assert tuple(routing.parse(4, item) for item in shown) == routing.desired([parsed()], six=False)
    assert routing.parse(4, {**shown[0], "protocol": "static"}) is None
    assert routing.parse(4, {**shown[0], "priority": 32766}) is None


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"masquerade_source": ["127.0.0.1"]}, "can't be a source"),
        ({"masquerade_source": ["192.0.2.1", "192.0.2.2"]}, "one address of each family"),
        ({"masquerade_source": ["192.0.2.1"], "mode": "internal"}, "only nat translates"),
        ({"sibling_pairs": [{"from": "10.88.0.2", "to": "10.88.0.3"}]}, "siblings: deny"),
        ({"siblings": "deny", "sibling_pairs": [{"from": "10.99.0.2", "to": "10.88.0.3"}]}, "outside"),
        ({"siblings": "deny", "sibling_pairs": [{"from": "10.88.0.2", "to": "fd88::3"}]}, "families"),
        ({"siblings": "deny", "sibling_pairs": [{"from": "web", "to": "10.88.0.3"}]}, "no address"),
        ({"siblings": "deny", "l2": True}, "broadcast domain"),
        ({"mark_bit": 32}, "0 to 31"),
    ],
)
def test_refused(options: dict[str, t.Any], complaint: str) -> None:
    with pytest.raises(InvalidOption, match=complaint):
        parsed(**options)


def test_records_keep_the_options() -> None:
    asked = parsed(
        siblings="deny", sibling_pairs=[{"from": "10.88.0.2", "to": "10.88.0.0/28"}], masquerade_source=["192.0.2.1"]
    )
    assert spec.from_record("iso0", asked.record()) == asked
    assert asked.pairs(4) == (("10.88.0.2", "10.88.0.0/28"),)
    assert asked.pairs(6) == ()


def test_deleted_tables_are_noticed() -> None:
    deleted = bytes.fromhex("14000000020a0000") + bytes(12)
    other = bytes.fromhex("14000000060a0000") + bytes(12)
    assert restore.tells_of_deletion(other + deleted)
    assert not restore.tells_of_deletion(other + other)
    assert not restore.tells_of_deletion(b"\0" * 20)
