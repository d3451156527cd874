# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What stays beside a service under runit, and what becomes of the service when that is killed."""

from __future__ import annotations

import typing as t

import pytest
from services import Host, processes

LIMIT = 500
"""KiB of memory beside an idle service, its share of what is shared."""

SPEAK = (
    "import os, sys, time\n"
    "for name in ('stdout', 'stderr'):\n"
    "    with open('/dev/' + name, 'w') as stream:\n"
    "        print('by', name, os.getuid(), file=stream)\n"
    "try:\n"
    "    open('/proc/self/fd/1').close()\n"
    "except OSError as error:\n"
    "    print('not to be read:', error.strerror)\n"
    "print('at last', flush=True)\n"
)
STAY = "time.sleep(1000)\n"


def start(host: Host, name: str, program: str, **options: t.Any) -> dict[str, t.Any]:
    """Run a Python program as a service that no network is made for."""
    gate = {"min_healthy_time": "0s", "deadline": "20s"}
    command = ["/usr/bin/python3", "-c", program]
    return host.run(name, **{"command": command, "networks": [], "health": None, "gate": gate, **options})


def beside(host: Host) -> dict[str, int]:
    """The processes of the host that are there for services and are not services, and what they take, in KiB."""
    found = {}
    for line in host.world.sh("pgrep -lx 'runsv|svlogd|crun|sh|cat'").splitlines():
        pid, name = line.split()
        rollup = host.world.run(["cat", f"/proc/{pid}/smaps_rollup"], check=False).stdout
        if "Pss:" in rollup:
            found[f"{name} {pid}"] = int(rollup.partition("Pss:")[2].split()[0])
    return found


def test_little_stays_beside_an_idle_service(host: Host) -> None:
    start(host, "web", "import time\n" + STAY)
    there = beside(host)
    assert sorted(key.split()[0] for key in there) == ["runsv", "svlogd"]
    assert sum(there.values()) < LIMIT, there


def test_runsvdir_is_told_to_look_for_a_new_service(host: Host) -> None:
    """It writes a dot to its log, which is part of its title, when it was woken."""
    title = host.world.run(["pgrep", "-fx", "runsvdir -P /etc/service log: ,+"], check=False)
    assert title.returncode == 0
    start(host, "web", "import time\n" + STAY)
    host.world.sh(r"pgrep -fx 'runsvdir -P /etc/service log: ,+[.].*'")


@pytest.mark.parametrize("options", [{}, {"init": False}, {"restart": {"policy": "on-failure"}}], ids=str)
def test_any_user_writes_to_dev_stdout_and_nobody_reads_it(host: Host, options: dict[str, t.Any]) -> None:
    start(host, "web", SPEAK + STAY, user="1000:1000", **options)
    host.world.wait(lambda: "at last" in host.log("web"), 5, "the last line is in the log")
    for line in ("by stdout 1000", "by stderr 1000", "not to be read: Permission denied"):
        assert line in host.log("web")


def test_the_log_is_complete_although_the_service_ends_at_once(host: Host) -> None:
    host.rootfs("web")
    program = "import sys; sys.stdout.write(''.join(f'line {n}\\n' for n in range(5000))); print('the end')"
    options = host.options("web", command=["/usr/bin/python3", "-c", program], networks=[], health=None)
    options.update(gate={"deadline": "10s"}, restart={"policy": "no"})
    host.world.module("namespaced_service", **options)
    host.world.wait(lambda: host.see("web")["state"] == "stopped", 5, "it is not started again")
    log = host.log("web")
    assert (log.count("line "), log.count("the end")) == (5000, 1)


@pytest.mark.parametrize("victim", ["svlogd", "runsv"])
def test_killing_what_stays_restarts_the_service_once(host: Host, victim: str) -> None:
    program = "import sys, time; print('begun', flush=True)\n"
    first = start(host, "web", program + STAY)
    host.world.sh(f"kill -9 $(pgrep -x {victim})")
    host.world.wait(lambda: host.see("web")["pid"] not in (None, first["pid"]), 20, "it is back")
    # svlogd(8) puts aside what a killed one had been writing to.
    host.world.wait(
        lambda: host.world.sh("cat /var/log/isolation/web/*").count("begun") == 2, 5, "its output is logged"
    )
    assert len(processes(host.world, "python3 -c " + program.splitlines()[0])) == 2, "init and program, once"
    assert sorted(key.split()[0] for key in beside(host)) == ["runsv", "svlogd"]


def test_what_fails_before_the_service_begins_is_in_its_log(host: Host) -> None:
    """The runtime's own words, when the root filesystem has lost its program; and on-failure counts it as a failure."""
    world = host.world
    start(host, "web", "import time\n" + STAY, restart={"policy": "on-failure"})
    world.sh(
        "rm /var/lib/isolation/instances/web/rootfs/etc/hosts; mkdir /var/lib/isolation/instances/web/rootfs/etc/hosts"
    )
    world.sh(f"kill -9 {host.see('web')['pid']}")
    world.wait(lambda: "hosts" in host.log("web"), 10, "the log tells why")
    assert host.see("web")["state"] == "failing"


def _crash(host: Host, name: str, script: str, **options: t.Any) -> dict[str, t.Any]:
    """Start a service that does not stay; returns what host_info tells of it a moment later."""
    host.rootfs(name)
    wanted = {
        "health": None,
        "gate": {"min_healthy_time": "5s", "deadline": "30s"},
        "command": ["/usr/bin/python3", "-c", script],
        **options,
    }
    started = host.world.module("namespaced_service", **host.options(name, **wanted))
    assert started["failed"]
    host.world.wait(lambda: host.see(name)["restarts"] >= 4, 30, "it has ended four times")
    return host.see(name)


def test_a_crash_loop_is_told_and_slows_down(host: Host) -> None:
    """F12: the delay doubles to its cap, and host_info says how often and why it ended, and when it is started again."""
    loop = {"delay": "100ms", "max_delay": "800ms"}
    found = _crash(
        host,
        "web",
        "import time; print(time.monotonic(), flush=True); print('port 80 is taken'); exit(3)",
        restart=loop,
    )
    host.world.wait(lambda: host.see("web")["restarts"] >= 8, 30, "it has ended eight times")
    begins = [
        float(line.split()[1]) for line in host.log("web").splitlines() if line.split()[1].replace(".", "").isdigit()
    ]
    waits = [after - before for before, after in zip(begins, begins[1:])]
    least = [0.1, 0.2, 0.4, 0.8, 0.8, 0.8]
    assert [wait >= low for wait, low in zip(waits, least)] == [True] * 6, waits
    assert found["failure"] is None or found["failure"]["log"][-1] == "port 80 is taken"
    failing = host.world.wait(lambda: host.see("web")["failure"], 10, "it waits")
    assert failing["log"][-1] == "port 80 is taken"
    assert failing["ended_at"] is not None

    good = host.run("web", restart=loop)
    seen = host.see("web")
    assert (seen["restarts"], seen["failure"], seen["pid"]) == (0, None, good["pid"])


def test_what_a_start_lacks_is_told(host: Host) -> None:
    """F12: without its image, a service is not started; host_info says so, and it comes back with it."""
    world = host.world
    host.run("web", restart={"delay": "100ms", "max_delay": "1s"})
    instance = "/var/lib/isolation/instances/web"
    world.sh(
        f"kill -9 $(cat /run/isolation/service/web.pid); umount {instance}/rootfs; mv {instance}/layers {instance}/away"
    )
    told = world.wait(lambda: host.see("web")["failure"], 20, "it fails")
    world.wait(
        lambda: "web" in " ".join((host.see("web")["failure"] or {"log": []})["log"]), 20, "the reason is in the log"
    )
    assert told["exit_status"] is None
    world.sh(f"mv {instance}/away {instance}/layers")
    world.wait(lambda: host.see("web")["state"] == "started", 20, "it is back")


def test_an_exit_status_where_it_is_known(host: Host) -> None:
    found = _crash(host, "web", "exit(3)", restart={"policy": "on-failure", "delay": "100ms", "max_delay": "200ms"})
    failing = found["failure"] or host.world.wait(lambda: host.see("web")["failure"], 10, "it waits")
    assert failing["exit_status"] == 3
