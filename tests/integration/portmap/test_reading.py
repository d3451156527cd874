# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is read of the table by netlink is what nft lists."""

from __future__ import annotations

import sys

from world import COLLECTIONS, World

COMPARE = """
import sys
sys.path.insert(0, sys.argv[1])
from ansible_collections.daemonless.isolation.plugins.module_utils._host import nft
from ansible_collections.daemonless.isolation.plugins.module_utils._host.nfnetlink import Reader
from ansible_collections.daemonless.isolation.plugins.module_utils._portmap import listing, render
objects = nft.list_json(render.TABLE)
wanted = listing.parse_elements(objects)
found = {}
with Reader("isolation_nat") as kernel:
    for name, kind, _interval in render.maps():
        found.update(listing.read_elements(name, kind, kernel.elements(name)))
    assert kernel.elements("no_such_map") == []
chains = {key for key in wanted if key[0] == "chain"}
assert {key: wanted[key] for key in wanted if key not in chains} == found, (wanted, found)
terse = nft.list_terse(render.TABLE)
assert listing.definitions(terse, {}) == listing.definitions(objects, {}) or chains
assert listing.spreads(terse) == bool(chains)
assert nft.list_terse("inet no_such_table") is None
print(len(found), *sorted({key[0] for key in found}))
"""


def compare(world: World) -> list[str]:
    return world.run([sys.executable, "-c", COMPARE, str(COLLECTIONS)]).stdout.split()


def test_reading(world: World) -> None:
    """Every map and set, with and without chains that spread connections, beside tables of others."""
    world.sh("nft add table inet other; nft add set inet other few '{ type ipv4_addr; elements = { 192.0.2.1 }; }'")
    mappings = []
    for number, (address, host, clients) in enumerate(
        (("10.88.0.2", "198.51.100.1", ["10.0.0.0/8", "192.0.2.9"]), ("fd88::2", "2001:db8:1::1", ["fd00::/9", "::/0"]))
    ):
        for where in ({}, {"host_address": host}):
            first = 1000 * (2 * number + len(where) + 1)
            mappings += [
                {"host_port": first, "port": 80, "address": address, **where},
                {"host_port": f"{first + 10}-{first + 19}", "address": address, "protocol": "udp", **where},
                {
                    "host_port": f"{first + 20}-{first + 22}",
                    "port": "7-9",
                    "address": address,
                    "protocol": "sctp",
                    **where,
                },
                {"host_port": first + 30, "address": address, "allow_from": clients, "deny_from": clients[1:], **where},
                {"host_port": f"{first + 40}-{first + 47}", "address": address, "deny_from": clients, **where},
            ]
    services = [{"address": "10.88.255.7", "to": "10.88.0.2"}, {"address": "fd88:f::7", "to": "fd88::2"}]
    world.apply("nat_portmap", name="web", mappings=mappings, service_addresses=services)
    count, *names = compare(world)
    assert int(count) > 30
    for version in "46":
        kinds = ("one", "any", "allow", "deny", "only", "service", "self")
        assert {f"{kind}{version}" for kind in kinds} | {f"{kind}{version}_range" for kind in ("one", "any")} <= set(
            names
        )
    targets = [{"address": f"10.88.0.{last}", "port": 80} for last in (2, 3)]
    world.apply("nat_portmap", name="api", mappings=[{"host_port": 80, "backends": targets}])
    assert "any4_spread" in compare(world)


def test_while_others_change_the_ruleset(world: World) -> None:
    """Another tool that writes rule after rule neither fails a task nor leads it astray."""
    mappings = [{"host_port": port, "address": "10.88.0.2"} for port in range(20000, 22000)]
    world.sh("nft add table inet other; nft add chain inet other many")
    busy = world.popen(["sh", "-c", "while :; do nft add rule inet other many counter; done"])
    world.apply("nat_portmap", name="web", mappings=mappings)
    assert not world.apply("nat_portmap", name="web", mappings=mappings)["changed"]
    moved = [{**mapping, "port": 80} if mapping["host_port"] == 21000 else mapping for mapping in mappings]
    changed = world.apply("nat_portmap", name="web", mappings=moved)
    assert changed["diff"][0]["after"] == "tcp 21000: 10.88.0.2:80\n"
    busy.kill()
    busy.wait()
