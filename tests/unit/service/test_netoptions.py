# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""MAC addresses, MTU and routes of services' networks: what is refused, and what is done inside."""

from __future__ import annotations

import types
import typing as t

import pytest

from ansible_collections.daemonless.isolation.plugins.module_utils._errors import IsolationError
from ansible_collections.daemonless.isolation.plugins.module_utils._host.records import Record
from ansible_collections.daemonless.isolation.plugins.module_utils._service.bundle import network_batch, network_lines
from ansible_collections.daemonless.isolation.plugins.module_utils._service.netoptions import parse_networks
from ansible_collections.daemonless.isolation.plugins.module_utils._service.networks import Networks
from ansible_collections.daemonless.isolation.plugins.module_utils._service.options import OPTIONS
from ansible_collections.daemonless.isolation.plugins.module_utils._service.parse import parse
from ansible_collections.daemonless.isolation.plugins.module_utils._service.spec import ServiceSpec
from ansible_collections.daemonless.isolation.plugins.module_utils._service.state import BridgeView, World

HELD = Record(
    "service", "db", "default", {}, {"networks": [{"bridge": "iso0", "mac": "02:00:00:00:00:09", "ipv4": "10.88.0.9"}]}
)


def service(name: str, *networks: dict[str, t.Any]) -> ServiceSpec:
    defaults = {option: rule.get("default") for option, rule in OPTIONS.items()}
    given = [{"bridge": "iso0", "address": ["auto"], **network} for network in networks]
    return parse({**defaults, "name": name, "rootfs": name, "command": ["/bin/app"], "networks": given})


def nets(l2: bool = False) -> Networks:
    bridges = {
        "iso0": BridgeView(("10.88.0.1/24", "fd88::1/64"), True, l2, mtu=1500, mac="02:00:00:00:00:01"),
        "iso1": BridgeView(("10.89.0.1/24",), True, l2, mtu=1500),
    }
    host = types.SimpleNamespace(records={"db": HELD}, reserved={}, bridges=bridges)
    return Networks(t.cast(World, host), {})


def batch(*networks: dict[str, t.Any], l2: bool = False) -> list[str]:
    asked, made = service("web", *networks), nets(l2)
    return network_batch([made.attach(asked, network) for network in asked.networks]).splitlines()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"mac": "03:00:00:00:00:01"}, "multicast"),
        ({"mac": "ff:ff:ff:ff:ff:ff"}, "multicast"),
        ({"mac": "00:00:00:00:00:00"}, "no address at all"),
        ({"mac": "02:00:00:00:00"}, "not a MAC address"),
        ({"mac": "02:00:00:00:00:01"}, "belongs to bridge iso0"),
        ({"mac": "02:00:00:00:00:09"}, "belongs to db"),
        ({"mtu": 67}, "must be 68 to 65535"),
        ({"mtu": 1501}, "above bridge iso0's 1500"),
        ({"mtu": 1279}, "IPv6 needs 1280"),
        ({"routes": [{"to": "192.0.2.1/24"}]}, "has host bits set"),
        ({"routes": [{"to": None}]}, "write a network such as"),
        ({"routes": [{"to": "0.0.0.0/0"}]}, "that is what default_route is for"),
        ({"routes": [{"to": "224.0.0.0/8"}]}, "is not routed"),
        ({"routes": [{"to": "192.0.2.0/24", "via": "x"}]}, "routes: via"),
        ({"routes": [{"to": "192.0.2.0/24", "via": "fd88::5"}]}, "of another family"),
        ({"routes": [{"to": "192.0.2.0/24", "via": "10.89.0.5"}]}, "outside of the subnets"),
        ({"routes": [{"to": "192.0.2.0/24", "via": "10.88.0.9"}]}, "belongs to db, .* give the bridge that route"),
        ({"routes": [{"to": "192.0.2.0/24"}, {"to": "192.0.2.0/24"}]}, "more than once"),
    ],
)
def test_what_can_t_be_is_refused(given: dict[str, t.Any], message: str) -> None:
    with pytest.raises(IsolationError, match=message):
        batch(given)


def test_a_bridge_without_that_family_has_no_such_route() -> None:
    with pytest.raises(IsolationError, match="bridge iso1 has no address of that family"):
        batch({"bridge": "iso1", "routes": [{"to": "2001:db8::/32"}]})


def test_one_mac_for_two_elements_or_two_networks_is_refused() -> None:
    mac = {"mac": "02:00:00:00:00:07"}
    with pytest.raises(IsolationError, match="given to two networks"):
        service("web", mac, {"bridge": "iso1", **mac})
    made = nets()
    first, second = service("web", mac), service("other", mac)
    assert made.attach(first, first.networks[0]).mac == mac["mac"]
    with pytest.raises(IsolationError, match="02:00:00:00:00:07 belongs to web"):
        made.attach(second, second.networks[0])


def test_who_has_a_mac_keeps_it() -> None:
    made, asked = nets(), service("db", {"mac": "02-00-00-00-00-09"})
    attached = made.attach(asked, asked.networks[0])
    assert attached.mac == "02:00:00:00:00:09"
    assert network_lines([attached]).split()[3] == "02:00:00:00:00:09"


def test_the_default_route_and_the_others() -> None:
    lines = batch({"default_route": False, "mtu": 1400}, {"bridge": "iso1", "routes": [{"to": "192.0.2.0/24"}]})
    assert lines[0:2] == ["link set lo up", "link set eth0 mtu 1400"]
    assert "route add 10.88.0.0/24 via 10.88.0.1 dev eth0" in lines
    assert "route add fd88::/64 via fd88::1 dev eth0" in lines
    assert [line for line in lines if "default" in line] == ["route add default via 10.89.0.1 dev eth1"]
    assert lines[-1] == "route add 192.0.2.0/24 via 10.89.0.1 dev eth1 onlink"


def test_siblings_of_the_second_network_are_reached_by_it() -> None:
    lines = batch({}, {"bridge": "iso1"})
    assert lines[-1] == "route add 10.89.0.0/24 via 10.89.0.1 dev eth1"
    assert not any("10.89.0.0/24" in line for line in batch({}, {"bridge": "iso1"}, l2=True))


def test_with_one_broadcast_domain_a_sibling_can_be_the_router() -> None:
    lines = batch({"routes": [{"to": "192.0.2.0/24", "via": "10.88.0.9"}]}, l2=True)
    assert lines[-1] == "route add 192.0.2.0/24 via 10.88.0.9 dev eth0 onlink"


def test_what_is_left_at_its_default_is_not_in_the_record() -> None:
    plain = parse_networks([{"bridge": "iso0", "address": ["auto"], "default_route": True, "routes": []}], "web")
    assert plain[0].canonical() == {"bridge": "iso0", "address": ["auto"]}
    assert service("web", {"routes": [{"to": "192.0.2.0/24", "via": "10.88.0.5"}], "default_route": False}).record()[
        "networks"
    ] == [
        {
            "bridge": "iso0",
            "address": ["auto"],
            "default_route": False,
            "routes": ["192.0.2.0/24 via 10.88.0.5"],
        }
    ]
