# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which services a bridge takes, and who gets its addresses. The bridge's own ports: tests/unit/bridge."""

from __future__ import annotations

import types
import typing as t

import pytest

from ansible_collections.daemonless.isolation.plugins.module_utils._bridge.ports import MAX_PORTS
from ansible_collections.daemonless.isolation.plugins.module_utils._names import interface_name
from ansible_collections.daemonless.isolation.plugins.module_utils._service.networks import Networks
from ansible_collections.daemonless.isolation.plugins.module_utils._service.options import OPTIONS
from ansible_collections.daemonless.isolation.plugins.module_utils._service.parse import parse
from ansible_collections.daemonless.isolation.plugins.module_utils._service.promises import ServiceRefused
from ansible_collections.daemonless.isolation.plugins.module_utils._service.spec import ServiceSpec
from ansible_collections.daemonless.isolation.plugins.module_utils._service.state import BridgeView, World


def service(name: str, address: str = "auto") -> ServiceSpec:
    defaults = {option: rule.get("default") for option, rule in OPTIONS.items()}
    networks = [{"bridge": "iso0", "address": [address]}]
    return parse({**defaults, "name": name, "rootfs": name, "command": ["/bin/app"], "networks": networks})


def networks(*held: str) -> Networks:
    bridge = BridgeView(("10.88.0.1/16",), ours=True, ports=frozenset(held))
    # What Networks looks at, of a host that has much more.
    host = types.SimpleNamespace(records={}, reserved={}, bridges={"iso0": bridge})
    return Networks(t.cast(World, host), {})


def attach(nets: Networks, name: str) -> str:
    asked = service(name)
    return nets.attach(asked, asked.networks[0]).link


def test_the_last_port_and_one_more() -> None:
    nets = networks(*(f"port{number}" for number in range(MAX_PORTS - 2)))
    attach(nets, "first")
    attach(nets, "second")
    with pytest.raises(ServiceRefused, match=r"third: networks: bridge iso0 has 1023 ports.*use another bridge"):
        attach(nets, "third")


def test_a_service_that_has_its_port_keeps_it() -> None:
    own = interface_name("web", "iso0")
    nets = networks(own, *(f"port{number}" for number in range(MAX_PORTS - 1)))
    assert attach(nets, "web") == own
    with pytest.raises(ServiceRefused):
        attach(nets, "db")


@pytest.mark.parametrize("promised", [False, True])
def test_a_routes_gateway_is_for_who_asks_for_it(promised: bool) -> None:
    """The address by which a bridge's route leads is not assigned to whoever comes first."""
    route = {"to": "192.0.2.0/24", "via": "10.88.0.2"}
    bridge = BridgeView(("10.88.0.1/29",), ours=True, gateways=() if promised else (route["via"],))
    host = types.SimpleNamespace(records={}, reserved={}, bridges={"iso0": bridge})
    expect = {"bridges": [{"name": "iso0", "addresses": ["10.88.0.1/29"], "routes": [route]}]} if promised else {}
    nets = Networks(t.cast(World, host), expect)
    given = set()
    for number in range(4):
        asked = service(f"web{number}")
        given.add(nets.attach(asked, asked.networks[0]).ipv4)
    assert given == {f"10.88.0.{last}" for last in (3, 4, 5, 6)}
    router = service("router", route["via"])
    attachment = nets.attach(router, router.networks[0])
    assert (attachment.ipv4, attachment.routed) == (route["via"], (4,))
