# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a bridge's options mean."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.daemonless.isolation.plugins.module_utils._bridge.spec import OPTIONS, from_record, parse
from ansible_collections.daemonless.isolation.plugins.module_utils._errors import InvalidOption


def options(**given: t.Any) -> dict[str, t.Any]:
    defaults = {option: rule.get("default") for option, rule in OPTIONS.items()}
    return {**defaults, "name": "iso0", **given}


def test_canonical() -> None:
    spec = parse(
        options(
            addresses=["10.88.0.1/24", "FD88:0::1/64"],
            mac="02-AA-00-00-00-01",
            forward_delay="4s",
            ageing_time="1m",
            service_to_host=["UDP/53", "tcp/80-80", "icmp", "udp/53"],
            ports=["eth1", "eth0.5"],
        )
    )
    assert spec.addresses == ("10.88.0.1/24", "fd88::1/64")
    assert spec.mac == "02:aa:00:00:00:01"
    assert (spec.forward_delay, spec.ageing_time) == (400, 6000)
    assert spec.service_to_host == ("icmp", "tcp/80", "udp/53")
    assert spec.ports == ("eth0.5", "eth1")
    assert [str(network) for network in spec.subnets(6)] == ["fd88::/64"]
    assert spec.hosts(4) == ("10.88.0.1",)


def test_ipv6_mode_follows_mode() -> None:
    assert parse(options(mode="internal")).ipv6_mode == "internal"
    assert parse(options(mode="internal", ipv6_mode="routed")).mode_of(6) == "routed"


def test_record_keeps_it() -> None:
    spec = parse(options(addresses=["10.88.0.1/24"], stp=True, mtu=1400, allow_bridges=["iso1"]))
    assert from_record("iso0", spec.record()) == spec


@pytest.mark.parametrize(
    ("given", "word"),
    [
        ({"name": "Iso"}, "valid name"),
        ({"name": "default"}, "default"),
        ({"name": "sixteen-letters-"}, "valid name"),
        ({"addresses": ["10.88.0.1"]}, "prefix"),
        ({"addresses": ["10.88.0.1/33"]}, "10.88.0.1/33"),
        ({"addresses": ["10.88.0.0/24"]}, "10.88.0.1/24"),
        ({"addresses": ["10.88.0.255/24"]}, "broadcast"),
        ({"addresses": ["10.88.0.1/31"]}, "room"),
        ({"addresses": ["fd88::/64"]}, "own address"),
        ({"addresses": ["fe80::1/64"]}, "link-local"),
        ({"addresses": ["169.254.1.1/16"]}, "link-local"),
        ({"addresses": ["224.0.0.1/24"]}, "multicast"),
        ({"addresses": ["10.88.0.1/24", "10.88.0.1/24"]}, "more than once"),
        ({"addresses": ["10.88.0.1/16", "10.88.1.1/24"]}, "overlap"),
        ({"mtu": 67}, "68"),
        ({"mtu": 1279, "addresses": ["fd88::1/64"]}, "1280"),
        ({"mac": "03:00:00:00:00:00"}, "unicast"),
        ({"mac": "02:00"}, "unicast"),
        ({"forward_delay": "1s"}, "2s"),
        ({"service_to_host": ["tcp/0"]}, "65535"),
        ({"service_to_host": ["tcp/90-80"]}, "lower"),
        ({"service_to_host": ["gre/1"]}, "gre/1"),
        ({"trusted_interfaces": ['x" drop']}, "network interface"),
        ({"trusted_interfaces": ["wg*"]}, "patterns"),
        ({"ports": ["iso0"]}, "itself"),
        ({"allow_bridges": ["iso0"]}, "anyway"),
    ],
)
def test_refused(given: dict[str, t.Any], word: str) -> None:
    with pytest.raises(InvalidOption, match=word):
        parse(options(**given))
