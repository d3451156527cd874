# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Several networks of a service: who is reached over which of them, and what is refused."""

from __future__ import annotations

import typing as t

from services import Host

ASK = "import sys, urllib.request as u; print(u.urlopen(sys.argv[1], timeout=5).status, flush=True)"


def from_inside(host: Host, service: dict[str, t.Any], url: str) -> str:
    """What somebody in a service's network namespace is answered."""
    enter = ["nsenter", f"--net=/proc/{service['pid']}/ns/net"]
    return host.world.run([*enter, "/usr/bin/python3", "-c", ASK, url], check=False).stdout.strip()


def test_siblings_of_each_network_are_reached_over_it(host: Host) -> None:
    """The bridges keep apart what is behind them, so that a packet that takes the other link does not arrive."""
    world = host.world
    world.apply(
        "bridge",
        aggregate=[
            {"name": "iso5", "addresses": ["10.75.0.1/24", "fd75::1/64"]},
            {"name": "iso6", "addresses": ["10.76.0.1/24", "fd76::1/64"]},
        ],
    )
    host.rootfs("web")
    for name, bridge in (("left", "iso5"), ("right", "iso6")):
        host.run(name, networks=[{"bridge": bridge}])
    both = [{"bridge": "iso5", "mtu": 1400}, {"bridge": "iso6", "mac": "02:00:00:00:00:66"}]
    started = world.cycle("namespaced_service", **host.options("web", networks=both))
    assert "networks: iso5 auto mtu 1400, iso6 auto mac 02:00:00:00:00:66" in started["diff"][0]["after"]
    web = started["service"]
    assert [item["mac"] for item in web["addresses"]][1] == "02:00:00:00:00:66"
    for name in ("left", "right"):
        for family in ("ipv4", "ipv6"):
            address = host.see(name)["addresses"][0][family]
            shown = f"[{address}]" if ":" in address else address
            assert from_inside(host, web, f"http://{shown}/") == "200", (name, family)
    # And between the bridges nothing passes.
    assert from_inside(host, host.see("left"), f"http://{host.see('right')['addresses'][0]['ipv4']}/") == ""

    taken = host.options("right", networks=[{"bridge": "iso6", "mac": "02:00:00:00:00:66"}])
    assert "02:00:00:00:00:66 belongs to web" in world.refused("namespaced_service", **taken)
    above = host.options("right", networks=[{"bridge": "iso6", "mtu": 9000}])
    assert "9000 is above bridge iso6's 1500" in world.refused("namespaced_service", **above)
    router = host.see("left")["addresses"][0]["ipv4"]
    routes = [{"to": "192.0.2.0/24", "via": router}]
    by_sibling = host.options("web", networks=[{"bridge": "iso5", "routes": routes}])
    assert "belongs to left" in world.refused("namespaced_service", **by_sibling)
