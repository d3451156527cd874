# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The periodic check: it tells, restarts or stops, leaves alone what it must, and goes with the last service that asks for it."""

from __future__ import annotations

import json
import typing as t

import pytest
from services import Host, processes
from world import difference

PYTHON = "/usr/bin/python3"
# Well as long as there is a file; "deaf" to the stop signal if told so.
PROGRAM = """
import signal, sys, time
open("/tmp/well", "w").close()
if "deaf" in sys.argv:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
while True:
    time.sleep(1000)
"""
CHECK = "import os, sys; sys.exit(0 if os.path.exists('/tmp/well') else 3)"
HELPER = "/usr/local/libexec/isolation/health"


def options(host: Host, name: str = "web", on_failure: str | None = "restart", **given: t.Any) -> dict[str, t.Any]:
    """A service that is asked every second by a command in it."""
    health: dict[str, t.Any] = {"exec": {"command": [PYTHON, "-c", CHECK]}}
    if on_failure:
        health.update(on_failure=on_failure, interval="1s", retries=2, start_period="0s")
    return host.options(name, **{
        "command": [PYTHON, "-c", PROGRAM], "networks": [], "tmpfs": [{"target": "/tmp"}], "health": health, "rootfs": "web", "service": "web",
        "gate": {"min_healthy_time": "0s", "deadline": "30s"}, **given,
    })  # fmt: skip


def change(host: Host, **given: t.Any) -> str:
    """Change a service; returns the diff, which is as predicted. What the check does meanwhile is no part of it."""
    checked = host.world.module("namespaced_service", check=True, **given)
    done = host.world.apply("namespaced_service", **given)
    assert checked["diff"] == done["diff"]
    again = host.world.module("namespaced_service", check=True, **given)
    assert not again["changed"], again["diff"]
    return json.dumps(done["diff"])


def health_of(host: Host, name: str = "web") -> dict[str, t.Any]:
    """What host_info tells of it."""
    return host.see(name)["health"]  # type: ignore[no-any-return]


def make_ill(host: Host, name: str = "web") -> None:
    """Remove the file."""
    host.world.sh(
        f"/usr/local/libexec/isolation/enter exec {name} -- {PYTHON} -c 'import os; os.unlink(\"/tmp/well\")'"
    )


def test_it_is_restarted(host: Host) -> None:
    """After as many failures as it may have, with another policy of restarts, too; its history tells."""
    host.rootfs("web")
    done = host.world.cycle("namespaced_service", **options(host, restart={"policy": "no"}))
    assert "periodic check: every 1s" in done["diff"][0]["after"]
    first = done["service"]
    host.world.wait(lambda: health_of(host)["status"] == "healthy", 10, "it is well")
    make_ill(host)
    ill = host.world.wait(lambda: (seen := health_of(host))["restarts"] == 1 and seen, 15, "it was restarted")
    assert [one["ok"] for one in ill["last"]].count(False) == 2
    told = host.world.wait(lambda: health_of(host)["status"] == "healthy" and health_of(host), 15, "it is well again")
    assert host.see("web")["pid"] != first["pid"]
    assert told["action"]["action"] == "restart"
    assert "status 3" in told["action"]["message"]
    assert told["failures"] == 0
    assert not host.world.module("namespaced_service", check=True, **options(host, restart={"policy": "no"}))["changed"]


def test_it_is_stopped_and_left_alone(host: Host) -> None:
    """What was stopped stays so; a task starts it again."""
    host.rootfs("web")
    host.world.apply("namespaced_service", **options(host, on_failure="stop"))
    make_ill(host)
    host.world.wait(lambda: host.see("web")["state"] == "stopped", 15, "it was stopped")
    told = health_of(host)
    assert (told["status"], told["action"]["action"]) == (None, "stop")
    count = len(told["last"])
    host.world.sh("sleep 3")
    assert (host.see("web")["state"], len(health_of(host)["last"])) == ("stopped", count)
    assert host.world.apply("namespaced_service", **options(host, on_failure="stop"))["service"]["state"] == "started"


def test_it_only_tells(host: Host) -> None:
    """With none, it is unhealthy and runs on, and a change between the three is live."""
    host.rootfs("web")
    first = host.world.apply("namespaced_service", **options(host, on_failure="none"))["service"]
    make_ill(host)
    host.world.wait(lambda: health_of(host)["failures"] >= 4, 15, "it fails")
    assert health_of(host)["status"] == "unhealthy"
    assert host.see("web")["pid"] == first["pid"]
    assert "effect: live" in change(host, **options(host, on_failure="restart"))
    host.world.wait(lambda: health_of(host)["restarts"] == 1, 15, "it was restarted")


def test_deaf_to_its_stop_signal(host: Host) -> None:
    """What does not end is killed."""
    host.rootfs("web")
    wanted = options(host, command=[PYTHON, "-c", PROGRAM, "deaf"], stop_timeout="1s")
    first = host.world.apply("namespaced_service", **wanted)["service"]
    make_ill(host)
    host.world.wait(lambda: host.see("web")["pid"] not in (first["pid"], None), 40, "it was killed and started")


def test_one_that_is_never_well_waits_longer_each_time(host: Host) -> None:
    """However long its runs are: a good run of the back-off is one that was well."""
    host.rootfs("web")
    never = {
        "exec": {"command": ["/bin/false"]},
        "on_failure": "restart",
        "interval": "1s",
        "retries": 1,
        "start_period": "11s",
    }
    gate = {"min_healthy_time": "0s", "deadline": "1s"}
    wanted = options(host, health=never, gate=gate, restart={"delay": "1s", "max_delay": "3s"})
    assert host.world.module("namespaced_service", **wanted)["failed"]

    def delay() -> int:
        return int((host.world.sh("cat /run/isolation/restart/web || :").split() or ["0"])[0])

    for expected in (1000, 2000, 3000):
        host.world.wait(lambda: delay() == expected, 60, f"the delay is {expected} ms")  # noqa: B023
    assert "web.ill" not in host.world.sh("ls /run/isolation/health").split()


def test_it_goes_with_the_last(host: Host) -> None:
    """One look for all services; nothing is left of it, nor is there anything as long as none asks for it."""
    host.rootfs("web")
    host.world.apply("namespaced_service", **options(host, name="other", on_failure=None))
    before = host.world.snapshot()
    for name in ("web", "db"):
        host.world.apply("namespaced_service", **options(host, name=name))
    assert len(processes(host.world, "runsv health") + processes(host.world, "runsv isolation.health")) == 1
    host.world.wait(lambda: health_of(host, "db")["last"], 10, "it was asked")
    change(host, name="web", state="absent")
    assert host.world.sh(f"ls {HELPER} /run/isolation/health").split() == [HELPER, "/run/isolation/health:", "db.json"]
    assert "periodic check: " in change(host, **options(host, name="db", on_failure=None))
    host.world.cycle("namespaced_service", name="db", state="absent")
    assert difference(before, host.world.snapshot()) == {}
    assert host.world.sh("ls -A /run/isolation").split().count("health") == 0


@pytest.mark.parametrize("what", ["gone", "down"])
def test_it_is_brought_back(host: Host, what: str) -> None:
    """A helper that somebody has removed, or a link that is gone, is a change."""
    host.rootfs("web")
    host.world.apply("namespaced_service", **options(host))
    host.world.sh(f"rm {HELPER}" if what == "gone" else "rm /etc/service/isolation.health")
    again = host.world.apply("namespaced_service", **options(host))
    assert "periodic check" in json.dumps(again["diff"])
    assert not host.world.module("namespaced_service", check=True, **options(host))["changed"]
