# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Secrets from the inventory: deployed, rotated and mistyped, and shown by Ansible at no verbosity."""

from __future__ import annotations

import copy
import typing as t

from stage import Site
from world import difference

CANARY, ROTATED, FOREIGN = "canary-0818-of-inventories", "canary-0819-of-inventories", "canary-0820-of-another-host"
LIVE = "/run/isolation/secrets"


def shown(site: Site, *options: str, check: bool = True) -> str:
    """What a very verbose deployment prints, which is none of the values."""
    done = site.play("deploy", "-vvv", "--diff", *options, check=check)
    text = done.stdout + done.stderr
    assert "canary-" not in text, [line for line in text.splitlines() if "canary-" in line]
    return text


def test_from_the_inventory_to_the_service(site: Site) -> None:
    world = site.world
    clean = world.snapshot()
    site.service["secrets"] = [{"name": "db_password"}]
    name = site.service["name"]
    site.variables["isolation_secret_values"] = {f"{name}/db_password": CANARY, "other/db_password": FOREIGN}

    rehearsed = shown(site, "--check")
    assert "secret db_password: set" in rehearsed
    assert difference(clean, world.snapshot()) == {}
    assert "secret db_password: set" in shown(site)
    instance = site.instance()
    assert world.sh(f"cat {LIVE}/{instance['name']}/db_password") == CANARY
    assert site.changed("deploy") == 0
    assert site.changed("deploy", "--check", "--diff") == 0

    # A new value is no new release; neither is what it does.
    site.service["secrets"] = [{"name": "db_password", "on_change": "none"}]
    site.variables["isolation_secret_values"] = {"db_password": ROTATED}
    assert "secret db_password: changed" in shown(site)
    assert world.sh(f"cat {LIVE}/{instance['name']}/db_password") == ROTATED
    assert (site.instance()["name"], site.instance()["pid"]) == (instance["name"], instance["pid"])
    del site.variables["isolation_secret_values"]
    assert site.changed("deploy") == 0

    # A new release has no value of its own yet, and is refused before anything is changed.
    site.service["environment"] = {"NEW": "release"}
    deployed = world.snapshot()
    assert "secret db_password: this host has no value of it" in shown(site, check=False)
    assert difference(deployed, world.snapshot()) == {}
    site.variables["isolation_secret_values"] = {"db_password": CANARY}
    shown(site)
    assert site.instance()["name"] != instance["name"]

    site.changed("teardown", "-e", "teardown_images=true")
    assert difference(clean, world.snapshot()) == {}


MISTAKES: list[tuple[dict[str, t.Any], dict[str, t.Any]]] = [
    ({}, {"isolation_secret_values": CANARY}),
    ({}, {"isolation_secret_values": [CANARY]}),
    ({}, {"isolation_secret_values": {"db_password": [CANARY]}}),
    ({}, {"isolation_secret_values": {"db_password": CANARY}, "isolation_prune": "perhaps"}),
    ({"environment": {"DB_PASSWORD": CANARY}}, {"isolation_secret_values": {"db_password": CANARY}}),
    ({"secrets": [{"name": "db_password", "value": CANARY}]}, {}),
    ({"secret_values": {"db_password": CANARY}}, {}),
]


def test_mistakes_show_nothing(site: Site) -> None:
    site.service["secrets"] = [{"name": "db_password"}]
    declared = copy.deepcopy(site.variables)
    clean = site.world.snapshot()
    for of_service, of_inventory in MISTAKES:
        site.variables.clear()
        site.variables.update(copy.deepcopy(declared))
        site.service.update(copy.deepcopy(of_service))
        site.variables.update(copy.deepcopy(of_inventory))
        text = shown(site, "--check", check=False)
        assert "failed=1" in text
    assert difference(clean, site.world.snapshot()) == {}
