# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is asked before a deployment: it changes nothing, shows no secret, and keeps others away."""

from __future__ import annotations

import json
import pathlib
import typing as t

import pytest
import yaml
from stage import Site
from world import World, difference

from ansible_collections.daemonless.isolation.plugins.module_utils._deploy.braille import unpacked

LEASE = "/run/isolation/lease.json"
CANARY = "canary-3c0f9a71"

DECLARED: dict[str, t.Any] = {
    "project": "default",
    "bridges": [],
    "services": {},
    "rollout": {
        "min_healthy_time": "0s",
        "healthy_deadline": "1m",
        "confirm_timeout": "1m",
        "drain_timeout": "5s",
        "keep_running": "0s",
        "auto_revert": True,
        "keep_releases": 2,
        "services_at_once": 10,
    },
    "only": [],
    "prune": False,
    "prune_max": 0,
}

PLAY = [
    {
        "hosts": "isolation",
        "gather_facts": False,
        "roles": [{"role": "daemonless.isolation.isolation", "when": False}],
        "tasks": [
            {
                "name": "Look and plan",
                "daemonless.isolation.deploy_plan": {"declared": "{{ isolation__declared }}", "wait": "1s"},
                "register": "ahead",
            },
            {
                "name": "Keep it",
                "ansible.builtin.copy": {
                    "content": "{{ ahead | dict2items | rejectattr('key', 'eq', 'invocation') | items2dict | to_json }}",
                    "dest": "{{ kept }}",
                    "mode": "0600",
                },
                "check_mode": False,
                "diff": False,
            },
        ],
    }
]


@pytest.fixture
def ahead(site: Site, tmp_path: pathlib.Path) -> t.Callable[..., dict[str, t.Any]]:
    """Look ahead at a deployment."""
    playbook, kept = tmp_path / "ahead.yml", tmp_path / "ahead.json"
    playbook.write_text(yaml.safe_dump(PLAY))

    def call(*options: str) -> dict[str, t.Any]:
        output = site.play(str(playbook), "-e", f"kept={kept}", *options).stdout
        return {**json.loads(kept.read_text()), "output": output}

    return call


def test_it_tells_what_differs_and_changes_nothing(site: Site, ahead: t.Callable[..., dict[str, t.Any]]) -> None:
    site.service["rootfs"]["files"].append({"path": "/etc/token", "content": CANARY, "sensitive": True})
    world, clean = site.world, site.world.snapshot()
    found = ahead("-vvv", "--diff")
    assert CANARY not in found["output"]
    assert found["leased"]
    assert json.loads(world.sh(f"cat {LEASE}"))["holder"]
    world.sh(f"rm {LEASE}; rmdir --ignore-fail-on-non-empty /run/isolation")
    assert difference(clean, world.snapshot()) == {}
    (name,) = found["differing"]["services"]
    assert found["differing"] == {
        "bridges": ["isodemo0"],
        "slices": ["/".join(name.rsplit("-", 1))],
        "rootfs": [name],
        "services": [name],
        "portmaps": ["service-demo"],
    }

    dry = ahead("--check")
    assert (dry.get("differing"), dry["leased"]) == (None, False)
    assert [entry["name"] for wave in dry["plan"]["waves"] for entry in wave["services"]] == [name]
    assert difference(clean, world.snapshot()) == {}

    assert site.changed("deploy", "-vvv") > 0
    assert world.sh(f"cat {LEASE}", check=False) == "", "the role gives back the lease"
    deployed = world.snapshot()
    after = ahead()
    assert (after["differing"], after["leased"], after["plan"]["waves"]) == ({}, False, [])
    assert difference(deployed, world.snapshot()) == {}

    world.sh("nft flush map inet isolation_nat tcp_targets 2>/dev/null || nft delete table inet isolation_nat")
    assert ahead()["differing"] == {"portmaps": ["service-demo"]}
    assert ahead()["plan"]["rootfs"] == []
    assert site.changed("deploy") == 1


def test_what_can_not_be_is_told_and_the_lease_given_back(site: Site) -> None:
    site.prepare()
    before = site.world.snapshot()
    site.service["resources"]["memory_max"] = "a lot"
    done = site.play("deploy", check=False)
    assert done.returncode != 0
    assert "memory_max: 'a lot'" in done.stdout + done.stderr
    assert site.world.sh(f"cat {LEASE}", check=False) == ""
    assert difference(before, site.world.snapshot()) == {}


def test_who_brings_something_up_keeps_others_away(world: World, archive: pathlib.Path) -> None:
    source = {"tar": {"path": str(archive)}}
    web = {"name": "web", "rootfs": {"source": source}, "command": ["/usr/bin/true"]}
    wanted = {**DECLARED, "services": {"isolation_services": [web]}}
    lease = {"holder": "a", "wait": "0s"}
    seen = world.apply("deploy_step", step="look")
    assert unpacked(seen["info"]) == {"services": [], "portmaps": [], "rootfs": [], "slices": []}
    asked = world.apply("deploy_step", step="plan", declared=DECLARED, lease=lease, proceed=True)
    assert (unpacked(asked["differing"]), asked["leased"], asked.get("up")) == ({}, False, None)
    asked = world.apply("deploy_step", step="plan", declared=wanted, lease=lease)
    assert (set(unpacked(asked["differing"])), asked["leased"]) == ({"slices", "rootfs", "services"}, True)
    dry = world.module("deploy_step", step="plan", declared=wanted, proceed=True, check=True)
    assert (dry["changed"], dry.get("up")) == (False, None)
    other = world.module("deploy_step", step="plan", declared=wanted, lease={**lease, "holder": "b"})
    assert other["failed"]
    assert (other["held_by"], other["leased"]) == ("a", False)
    assert "another deployment, a, has held this host" in other["msg"]
    gone = world.module("deploy_step", step="remove", lease={**lease, "holder": "b"})
    assert (gone["failed"], gone["held_by"]) == (True, "a"), "nobody takes back what another is at work on"
    nothing: dict[str, list[str]] = {key: [] for key in ("holds", "services", "portmaps", "ended", "returns")}
    wave = {**nothing, "slices": [{"name": "web/0123abc", "pids_max": 10}]}
    dead = world.module("deploy_step", step="bring_up", wave=wave, lease={"holder": "b"})
    assert dead["failed"]
    assert "another deployment, a, has gone on with this host: nothing more is done by this one" in dead["msg"]
    assert world.apply("host_info", gather_subset=["slices"])["slices"] == []
    done = world.apply("deploy_step", step="bring_up", wave=wave, lease={"holder": "a"})
    assert (done["changed"], done["more"], done["lost"]) == (True, False, "")
    last = world.apply(
        "deploy_step",
        step="finish",
        going=done["going"],
        remove={"slices": [{"name": "web/0123abc", "state": "absent"}]},
        lease={"holder": "a"},
        release=True,
    )
    assert (last["changed"], last["released"], list(last["layers"])) == (True, True, ["remove:slices"])
    world.apply("cgroup_slice", name="web/0123abc", pids_max=10)
    for check in (True, False):
        gone = world.module("deploy_step", step="remove", check=check, lease={**lease, "holder": "b"})
        assert (gone["changed"], gone["leased"], list(gone["layers"])) == (True, False, ["remove:slices"])
    assert world.apply("host_info", gather_subset=["slices"])["slices"] == []
    assert world.sh(f"cat {LEASE}", check=False) == ""


def test_the_first_wave_comes_up_with_the_plan(world: World, archive: pathlib.Path) -> None:
    """What stands below the service is made; that nothing supervises services here is told as of any service that does not come into service."""
    web = {"name": "web", "rootfs": {"source": {"tar": {"path": str(archive)}}}, "command": ["/usr/bin/python3"]}
    wanted = {**DECLARED, "services": {"isolation_services": [web]}}
    clean, lease = world.snapshot(), {"holder": "a", "wait": "0s"}
    begun = world.apply("deploy_step", step="plan", declared=wanted, lease=lease, proceed=True)
    assert (begun["changed"], begun["leased"], begun["up"]["more"]) == (True, True, False)
    assert "a runsvdir must watch" in begun["up"]["lost"]
    assert [name for name, done in begun["layers"].items() if done["changed"]] == ["slices", "rootfs", "services"]
    assert [line["after_header"].split()[0] for line in begun["diff"]] == ["slice", "rootfs", "service"]
    world.apply("deploy_step", step="remove", lease=lease, prune_images=True)
    assert difference(clean, world.snapshot()) == {}


def test_an_archive_on_the_controller_is_asked_for_by_its_digest(
    site: Site, ahead: t.Callable[..., dict[str, t.Any]]
) -> None:
    site.service["rootfs"]["remote_src"] = False
    assert site.world.sh("ls /var/lib/isolation", check=False) == ""
    site.prepare()
    clean = site.world.snapshot()
    found = ahead()
    assert len(found["differing"]["rootfs"]) == 1
    site.world.sh(f"rm {LEASE}; rmdir --ignore-fail-on-non-empty /run/isolation")
    assert difference(clean, site.world.snapshot()) == {}, "nothing was sent"
    assert site.changed("deploy") > 0
    assert site.get("http://127.0.0.1:8080/") == "hello world"
    assert site.changed("deploy") == 0
