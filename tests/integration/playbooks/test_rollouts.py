# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""New releases of a service that is in use, and the way back."""

from __future__ import annotations

import copy
import json
import os
import pathlib
import random
import signal
import subprocess
import time
import typing as t
from concurrent.futures import ThreadPoolExecutor

import pytest
from stage import Site
from world import HOST4

UPDATES = int(os.environ.get("ISOLATION_TEST_UPDATES", "2"))
LOAD = pathlib.Path(__file__).with_name("load.py").read_text(encoding="utf-8")

APP = """
import http.server, os, time

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.path == "/slow":
            time.sleep(0.2)
        if self.path == "/health" and os.environ.get("ILL"):
            self.send_error(500)
            return
        text = os.environ["RELEASE"].encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *ignored):
        pass

http.server.ThreadingHTTPServer.request_queue_size = 128
server = http.server.ThreadingHTTPServer(("", 3000), Handler)
if os.environ.get("DIES"):
    import threading
    threading.Timer(float(os.environ["DIES"]), lambda: os._exit(3)).start()
server.serve_forever()
"""


@pytest.fixture
def web(site: Site) -> Site:
    """A site whose service tells its release, and a sibling that asks it by its name."""
    service = site.service
    service["name"] = "web"
    service["environment"] = {"RELEASE": "1"}
    service["rootfs"]["files"][0]["content"] = APP
    service["resources"] = {"memory_max": "128M", "pids_max": 64}
    service["health"] = {"http": {"port": 3000, "path": "/health"}}
    sibling = {
        **service,
        "name": "sibling",
        "environment": {},
        "ports": [],
        "rootfs": {**service["rootfs"], "files": [{"path": "/srv/load.py", "content": LOAD}]},
        "command": ["/usr/bin/python3", "-c", "import time; time.sleep(100000)"],
        "health": None,
    }
    site.variables["isolation_services"].append(sibling)
    site.variables["isolation_rollout"] = {
        "min_healthy_time": "200ms",
        "healthy_deadline": "20s",
        "drain_timeout": "3s",
    }
    return site


def running(site: Site, service: str = "web") -> list[dict[str, t.Any]]:
    info = site.world.apply("host_info", gather_subset=["services"], project=site.variables["isolation_project"])
    return [entry for entry in info["services"] if entry["service"] == service and entry["state"] == "started"]


def load(site: Site, url: str, inside: int | None = None) -> subprocess.Popen[str]:
    pipes: dict[str, t.Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    if inside is None:
        return site.world.popen(["/usr/bin/python3", "-c", LOAD, url], ns="client", **pipes)
    enter = ["nsenter", "-t", str(inside), "-m", "-n", "/usr/bin/python3", "/srv/load.py", url]
    return site.world.popen(enter, **pipes)


def stop(client: subprocess.Popen[str]) -> dict[str, dict[str, int]]:
    output, errors = client.communicate("", timeout=60)
    assert output, errors
    return json.loads(output)  # type: ignore[no-any-return]


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


SEED = int(os.environ.get("ISOLATION_TEST_SEED", "1"))
MOMENTS = [
    random.Random(SEED + number).uniform(0.5, 9) for number in range(int(os.environ.get("ISOLATION_TEST_KILLS", "2")))
]
AT_ONCE = int(os.environ.get("ISOLATION_TEST_DEPLOYMENTS", "3"))


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
