# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""New releases of a service that is in use, and the way back."""

from __future__ import annotations

import json
import os
import time
import typing as t

import pytest
from releases import load, running, stop
from stage import Site
from world import HOST4

UPDATES = int(os.environ.get("ISOLATION_TEST_UPDATES", "2"))


def test_updates_under_load_refuse_and_lose_nothing(web: Site) -> None:
    """F10: from outside by the published port, and from a sibling by its name."""
    assert web.changed("deploy") > 0
    (sibling,) = running(web, "sibling")
    clients = [load(web, f"http://{HOST4}:8080/"), load(web, "http://web:3000/", sibling["pid"])]
    try:
        for number in range(2, UPDATES + 2):
            web.service["environment"]["RELEASE"] = str(number)
            assert web.changed("deploy") > 0
            assert len(running(web)) == 1
    finally:
        told = [stop(client) for client in clients]
    for seen in told:
        for name, count in seen.items():
            assert (count["refused"], count["lost"]) == (0, 0), (name, count)
            assert count["answered"] > 20, (name, count)
            assert {f"release {number}" for number in range(1, UPDATES + 2)} <= {*count}, (name, count)
        assert seen["kept"]["closed"] <= UPDATES
    print(json.dumps(told))
    web.settled()


@pytest.mark.parametrize(
    ("bad", "rollout", "reason"),
    [
        (
            {"command": ["/usr/bin/python3", "-c", "raise SystemExit('this release is broken')"]},
            {"healthy_deadline": "4s"},
            "this release is broken",
        ),
        (
            {"environment": {"RELEASE": "2", "DIES": "8"}},
            {"min_healthy_time": "14s", "healthy_deadline": "15s"},
            "it has been well for less than 14 s",
        ),
        ({"environment": {"RELEASE": "2", "ILL": "1"}}, {"healthy_deadline": "4s"}, "500"),
    ],
    ids=["ends", "ends-later", "ill"],
)
def test_a_bad_release_is_taken_back_and_the_old_one_never_stops(
    web: Site, bad: dict[str, t.Any], rollout: dict[str, str], reason: str
) -> None:
    """F9: it was never led to, it is stopped, and what serves is the same process as before."""
    web.changed("deploy")
    (before,) = running(web)
    web.service.update(bad)
    usual = dict(web.variables["isolation_rollout"])
    web.variables["isolation_rollout"].update(rollout)
    client = load(web, f"http://{HOST4}:8080/")
    failed = web.play("deploy", check=False)
    told = stop(client)
    assert failed.returncode != 0
    assert reason in failed.stdout
    assert [entry["pid"] for entry in running(web)] == [before["pid"]]
    for name, count in told.items():
        assert (count["refused"], count["lost"], count["closed"]) == (0, 0, 0), (name, count)
        assert count["release 1"] == count["answered"]
    web.variables["isolation_rollout"] = usual
    web.service["environment"] = {"RELEASE": "3"}
    web.service["command"] = ["/usr/bin/python3", "-u", "/srv/app.py"]
    web.changed("deploy")
    assert web.get("http://127.0.0.1:8080/") == "3"


def test_a_rollback_leaves_a_release_that_ends_again_and_again(web: Site) -> None:
    """It was well for long enough, and then was not: it is held back without being started."""
    del web.variables["isolation_services"][1]
    web.changed("deploy")
    web.service["environment"] = {"RELEASE": "2", "DIES": "8"}
    web.changed("deploy")
    bad = running(web)[0]["name"]

    def ends() -> int:
        info = web.world.apply("host_info", gather_subset=["services"], project=web.variables["isolation_project"])
        return sum(entry["restarts"] for entry in info["services"] if entry["name"] == bad)

    web.world.wait(ends, 40, "it has ended")
    assert web.changed("rollback") > 0
    assert web.get("http://127.0.0.1:8080/") == "1"
    assert [entry["name"] for entry in running(web)] != [bad]
    assert "Held back since a rollback: " + bad in web.play("deploy").stdout
    assert web.get("http://127.0.0.1:8080/") == "1"


def test_a_rollback_returns_and_holds_back_what_it_left(web: Site) -> None:
    web.changed("deploy")
    web.service["environment"]["RELEASE"] = "2"
    web.changed("deploy")
    assert web.get("http://127.0.0.1:8080/") == "2"

    # One that never was well is none to return to, and does not push out the one that is.
    web.service["environment"]["ILL"] = "1"
    web.variables["isolation_rollout"]["healthy_deadline"] = "3s"
    assert web.play("deploy", check=False).returncode != 0
    del web.service["environment"]["ILL"]
    web.variables["isolation_rollout"]["healthy_deadline"] = "20s"
    web.changed("deploy")

    client = load(web, f"http://{HOST4}:8080/")
    assert web.changed("rollback", "-e", '{"isolation_only": ["web"]}') > 0
    told = stop(client)
    assert web.get("http://127.0.0.1:8080/") == "1"
    for name, count in told.items():
        assert (count["refused"], count["lost"]) == (0, 0), (name, count)

    held = web.play("deploy").stdout
    assert "Held back since a rollback: web-" in held
    assert web.get("http://127.0.0.1:8080/") == "1"
    web.settled()

    web.service["environment"]["RELEASE"] = "3"
    web.changed("deploy")
    assert web.get("http://127.0.0.1:8080/") == "3"
    web.service["environment"]["RELEASE"] = "2"
    web.changed("deploy", "-e", "isolation_deploy_held=true")
    assert web.get("http://127.0.0.1:8080/") == "2"
    assert web.changed("deploy") == 0


def test_a_rollback_to_what_still_runs_starts_nothing(web: Site) -> None:
    """With `keep_running`, the old instance serves again by one transaction, and the host ends it by itself when its time is over."""
    web.variables["isolation_rollout"]["keep_running"] = "10m"
    web.changed("deploy")
    (first,) = running(web)
    web.service["environment"]["RELEASE"] = "2"
    web.changed("deploy")
    assert web.get("http://127.0.0.1:8080/") == "2"
    old, new = sorted(running(web), key=lambda entry: entry["name"] != first["name"])
    assert (old["pid"], old["enabled"], new["stops_in"]) == (first["pid"], False, None)
    assert 400 < old["stops_in"] < 600
    assert web.changed("deploy") == 0

    client = load(web, f"http://{HOST4}:8080/")
    assert web.changed("rollback", "-e", '{"isolation_only": ["web"]}') > 0
    for name, count in stop(client).items():
        assert (count["refused"], count["lost"]) == (0, 0), (name, count)
    assert web.get("http://127.0.0.1:8080/") == "1"
    (back,) = running(web)
    assert (back["pid"], back["enabled"], back["stops_in"]) == (first["pid"], True, None)

    web.variables["isolation_rollout"]["keep_running"] = "4s"
    web.service["environment"]["RELEASE"] = "3"
    web.changed("deploy")
    deadline = time.monotonic() + 20
    left = "ls /run/isolation/ending /usr/local/libexec/isolation/end"
    while len(running(web)) > 1 or web.world.sh(left, check=False):
        assert time.monotonic() < deadline
        time.sleep(0.5)
    assert web.get("http://127.0.0.1:8080/") == "3"
    assert web.changed("deploy") == 0
    web.settled()


def test_a_release_that_is_not_well_is_left_for_who_wants_to_look_into_it(web: Site) -> None:
    web.variables["isolation_rollout"].update(auto_revert=False, healthy_deadline="3s")
    web.changed("deploy")
    web.service["environment"].update(RELEASE="2", ILL="1")
    for _time in range(2):
        failed = web.play("deploy", check=False)
        assert failed.returncode != 0
        assert "was left as it is" in failed.stdout
        assert web.get(f"http://{HOST4}:8080/") == "1"
        assert len(running(web)) == 2
    web.service["environment"] = {"RELEASE": "3"}
    web.changed("deploy")
    assert web.get(f"http://{HOST4}:8080/") == "3"
    assert len(running(web)) == 1


def test_ports_that_do_not_answer_lead_back(web: Site) -> None:
    """The gate asks the instance, `verify` the published port, as users do."""
    web.service["verify"] = {"http": {"url": "http://127.0.0.1:8080/"}, "timeout": "3s"}
    web.changed("deploy")
    web.service["environment"]["RELEASE"] = "2"
    web.service["verify"]["http"]["status"] = 418
    failed = web.play("deploy", check=False)
    assert failed.returncode != 0
    assert "verify of web" in failed.stdout
    assert "The earlier ports are back" in failed.stdout
    assert web.get(f"http://{HOST4}:8080/") == "1"
    assert len(running(web)) == 1
    del web.service["verify"]["http"]["status"]
    web.changed("deploy")
    assert web.get(f"http://{HOST4}:8080/") == "2"


ALONE = """
import fcntl, os, runpy
fcntl.flock(os.open("/data", os.O_RDONLY), fcntl.LOCK_EX | fcntl.LOCK_NB)
runpy.run_path("/srv/app.py", run_name="__main__")
"""
"""A program of which no second one can run."""


def test_what_has_a_volume_is_replaced_in_its_place(web: Site) -> None:
    """`recreate`: two of it never run, its service address leads to whichever does, and one that is not well gives the place back."""
    web.service.update(service_address="10.88.9.1", mounts=[{"type": "volume", "source": "data", "target": "/data"}])
    web.service["command"] = ["/usr/bin/python3", "-u", "-c", ALONE]
    web.changed("deploy")
    (inside,) = running(web, "sibling")
    ask = ["nsenter", "-t", str(inside["pid"]), "-n", "/usr/bin/python3", "-c"]
    script = "import urllib.request as u; print(u.urlopen('http://10.88.9.1:3000/', timeout=5).read().decode())"

    def served() -> set[str]:
        return {web.world.run([*ask, script]).stdout.strip(), web.get(f"http://{HOST4}:8080/")}

    assert served() == {"1"}
    web.service["environment"]["RELEASE"] = "2"
    assert web.changed("deploy") > 0
    assert served() == {"2"}
    (second,) = running(web)
    web.service["environment"].update(RELEASE="3", ILL="1")
    web.variables["isolation_rollout"]["healthy_deadline"] = "3s"
    failed = web.play("deploy", check=False)
    assert failed.returncode != 0
    assert "500" in failed.stdout
    assert [entry["name"] for entry in running(web)] == [second["name"]]
    assert served() == {"2"}
    web.service["environment"] = {"RELEASE": "2"}
    web.changed("deploy")
    assert [entry["name"] for entry in running(web)] == [second["name"]], "what failed goes, and nothing else"
    web.settled()
