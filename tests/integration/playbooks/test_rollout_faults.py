# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Deployments that meet each other, hosts that fail, and plays that die."""

from __future__ import annotations

import copy
import os
import pathlib
import random
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from releases import load, running, stop
from stage import Site
from world import HOST4

SEED = int(os.environ.get("ISOLATION_TEST_SEED", "1"))
MOMENTS = [
    random.Random(SEED + number).uniform(0.5, 9) for number in range(int(os.environ.get("ISOLATION_TEST_KILLS", "2")))
]
AT_ONCE = int(os.environ.get("ISOLATION_TEST_DEPLOYMENTS", "3"))


@pytest.fixture
def fleet(web: Site) -> Site:
    """Four hosts, which share one kernel: each has a project, a bridge and a port of its own."""
    del web.variables["isolation_services"][1]
    (bridge,) = web.variables.pop("isolation_bridges")
    (service,) = web.variables.pop("isolation_services")
    del web.variables["isolation_project"]
    web.hosts = {}
    for number in range(1, 5):
        name = f"iso{number}"
        web.hosts[f"web{number}"] = {
            "isolation_project": f"p{number}",
            "isolation_bridges": [{**bridge, "name": name, "addresses": [f"10.88.{number}.1/24"]}],
            "isolation_services": [
                {
                    **service,
                    "name": f"web{number}",
                    "networks": [{"bridge": name}],
                    "ports": [{"host_port": 8080 + number, "port": 3000}],
                }
            ],
        }
    web.variables["isolation_rollout"]["max_parallel"] = 2
    return web


def begun(site: Site) -> set[str]:
    """The projects that have anything on the host."""
    return {entry["project"] for entry in site.world.apply("host_info", gather_subset=["bridges", "rootfs"])["bridges"]}


def test_a_bad_release_stops_after_the_canary(fleet: Site) -> None:
    fleet.hosts["web1"]["isolation_services"][0]["environment"] = {"RELEASE": "1", "ILL": "1"}
    fleet.variables["isolation_rollout"]["healthy_deadline"] = "4s"
    failed = fleet.play("deploy", check=False)
    assert failed.returncode != 0
    assert "500" in failed.stdout, "the reason is told"
    assert begun(fleet) == {"p1"}, "no other host is touched"


def test_a_host_that_can_not_be_reached_stops_the_batches_that_follow(fleet: Site) -> None:
    fleet.hosts["web2"].update(ansible_connection="ssh", ansible_host="127.0.0.1", ansible_port=1)
    stopped = fleet.play("deploy", check=False)
    assert stopped.returncode != 0
    assert "The rollout stops before web4: web2 failed, or could not be reached." in stopped.stdout
    assert begun(fleet) == {"p1", "p3"}, "who was in the same batch is finished"
    for number in (1, 3):
        assert fleet.get(f"http://127.0.0.1:{8080 + number}/") == "1"
    fleet.hosts["web2"] = {**fleet.hosts["web2"], "ansible_connection": "local"}
    assert fleet.play("deploy").returncode == 0, "a second run finishes it"
    assert begun(fleet) == {"p1", "p2", "p3", "p4"}


def test_deployments_at_once_are_as_if_one_after_the_other(web: Site, tmp_path: pathlib.Path) -> None:
    """F7, for whole deployments: each has a release of its own, and one is left."""
    web.changed("deploy")
    sites = []
    for number in range(AT_ONCE):
        folder = tmp_path / f"site{number}"
        folder.mkdir()
        variables = copy.deepcopy(web.variables)
        variables["isolation_services"][0]["environment"]["RELEASE"] = str(10 + number)
        sites.append(Site(web.world, folder, variables))
    with ThreadPoolExecutor(AT_ONCE) as pool:
        outputs = list(pool.map(lambda site: site.play("deploy", timeout=100 + 100 * AT_ONCE).stdout, sites))
    assert sum("another deployment is at work" in output for output in outputs) >= 1
    assert len(running(web)) == 1
    last = next(site for site in sites if site.changed("deploy", "--check") == 0)
    assert web.get("http://127.0.0.1:8080/") == last.service["environment"]["RELEASE"]
    assert web.world.sh("ls /run/isolation").split().count("lease.json") == 0


def _kill(play: subprocess.Popen[str]) -> None:
    """End a play at once. The process that entered the world has it as its child."""
    for child in pathlib.Path(f"/proc/{play.pid}/task/{play.pid}/children").read_text().split():
        os.kill(int(child), signal.SIGKILL)
    play.wait()


def test_a_deployment_that_dies_after_the_ports_were_led_elsewhere_is_taken_back(web: Site) -> None:
    """F1: by the host itself, since nobody confirms; no request is lost, and the next run ends it."""
    web.variables["isolation_rollout"]["confirm_timeout"] = "5s"
    web.changed("deploy")
    client = load(web, f"http://{HOST4}:8080/")
    web.service["environment"]["RELEASE"] = "2"
    play = web.start("deploy")
    token = pathlib.Path(f"/proc/{web.world.pid}/root/etc/isolation/unconfirmed/token")
    deadline = time.monotonic() + 120
    while not token.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    _kill(play)
    deadline = time.monotonic() + 30
    while token.exists():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert web.get(f"http://{HOST4}:8080/") == "1"
    web.changed("deploy")
    assert web.get(f"http://{HOST4}:8080/") == "2"
    assert len(running(web)) == 1
    web.settled()
    for name, count in stop(client).items():
        assert (count["refused"], count["lost"]) == (0, 0), (name, count)


def test_what_a_killed_deployment_has_left_is_gone_on_with(web: Site) -> None:
    """F1, F8: the play is killed at some moment after another; the host serves throughout, and the next run ends it."""
    web.changed("deploy")
    client = load(web, f"http://{HOST4}:8080/")
    for number, seconds in enumerate(MOMENTS, 2):
        web.service["environment"]["RELEASE"] = str(number)
        play = web.start("deploy")
        time.sleep(seconds)
        _kill(play)
        assert web.get(f"http://{HOST4}:8080/") in {str(number - 1), str(number)}
        web.changed("deploy")
        (left,) = running(web)
        assert web.get("http://127.0.0.1:8080/") == str(number), left
        web.settled()
    for name, count in stop(client).items():
        assert (count["refused"], count["lost"]) == (0, 0), (name, count)
