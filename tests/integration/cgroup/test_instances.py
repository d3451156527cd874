# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Two instances of one service, as they are during a surge: a limit each, and what befalls one leaves the other alone."""

from __future__ import annotations

import time
import typing as t

import pytest
from services import Host

pytestmark = pytest.mark.alone

BOMB = """
import os
while True:
    try:
        os.fork()
    except OSError:
        pass
"""


def slices(host: Host) -> dict[str, dict[str, t.Any]]:
    """What host_info tells of slices, by name."""
    return {entry["name"]: entry for entry in host.world.apply("host_info", gather_subset=["slices"])["slices"]}


def slowest(host: Host, service: dict[str, t.Any], times: int) -> float:
    """The longest of a number of requests, in seconds, with the start of the client."""
    longest = 0.0
    for _index in range(times):
        began = time.monotonic()
        assert host.ask(service) == "hello world"
        longest = max(longest, time.monotonic() - began)
    return longest


def test_each_instance_has_its_own_limits(host: Host) -> None:
    world = host.world
    world.apply(
        "cgroup_slice",
        aggregate=[
            {"name": "web", "memory_max": "256M", "pids_max": 200},
            {"name": "web/aaa", "memory_max": "64M", "memory_swap_max": "0", "pids_max": 40},
            {"name": "web/bbb", "memory_max": "96M", "memory_swap_max": "0", "pids_max": 80},
        ],
    )
    one = host.run("web-aaa", service="web", slice="web/aaa")
    two = host.run("web-bbb", service="web", slice="web/bbb")
    for service, name, memory in ((one, "aaa", 64 << 20), (two, "bbb", 96 << 20)):
        assert f":memory:/isolation/web/{name}/" in world.sh(f"cat /proc/{service['pid']}/cgroup")
        assert world.sh(f"cat /sys/fs/cgroup/memory/isolation/web/{name}/memory.limit_in_bytes").strip() == str(memory)

    host.ask(one, "/eat?200")
    world.wait(lambda: host.ask(one) == "hello world", 10, "the first is there, again or still")
    count, answer = host.ask(one, "/fork?200").split()
    assert (int(count) < 40, answer) == (True, "EAGAIN")
    assert host.ask(two, "/fork?60") == "60 done"
    assert host.ask(two) == "hello world"
    assert host.see("web-bbb")["pid"] == two["pid"]
    found = slices(host)
    kills = {name: entry["oom_kills"] for name, entry in found.items()}
    peaks = {name: entry["peak"]["memory"] for name, entry in found.items()}
    print(
        f"\n    kills {kills}, peaks {peaks}, first process of the first: {one['pid']} and {host.see('web-aaa')['pid']}"
    )
    assert (kills["web/aaa"] >= 1, kills["web/bbb"]) == (True, 0)
    assert kills["web"] == kills["web/aaa"]
    assert peaks["web/aaa"] <= 64 << 20

    # Live, for one of them, in the same process.
    now = host.see("web-aaa")["pid"]
    world.cycle("cgroup_slice", name="web/aaa", memory_max="128M", memory_swap_max="0", pids_max=70)
    assert host.ask(one, "/fork?60") == "60 done"
    assert [host.see("web-aaa")["pid"], host.see("web-bbb")["pid"]] == [now, two["pid"]]


def test_a_fork_bomb_in_one_does_not_touch_the_other(host: Host) -> None:
    world = host.world
    limits = {"pids_max": 64, "cpu_max": "30%", "memory_max": "128M", "memory_swap_max": "0"}
    world.apply(
        "cgroup_slice", aggregate=[{"name": "web"}, {"name": "web/aaa", **limits}, {"name": "web/bbb", **limits}]
    )
    good = host.run("web-bbb", service="web", slice="web/bbb")
    alone = slowest(host, good, 10)
    host.rootfs("web-aaa", service="web")
    command = ["/usr/bin/python3", "-c", BOMB]
    host.world.apply(
        "namespaced_service", name="web-aaa", service="web", rootfs="web-aaa", slice="web/aaa", command=command,
        gate={"min_healthy_time": "100ms", "deadline": "20s"},
    )  # fmt: skip
    world.wait(lambda: slices(host)["web/aaa"]["usage"]["pids_current"] == 64, 20, "the bomb has filled its slice")
    beside = slowest(host, good, 10)
    print(
        f"\n    slowest of 10 requests: {alone * 1000:.0f} ms alone, {beside * 1000:.0f} ms beside a bomb of 64 processes"
    )
    assert host.ask(good, "/fork?50") == "50 done"
    assert beside < alone * 3 + 0.5
    assert host.see("web-bbb")["pid"] == good["pid"]
    assert world.sh("true; echo the host forks") == "the host forks\n"
    world.apply("namespaced_service", name="web-aaa", state="absent")
    assert slices(host)["web/aaa"]["usage"]["pids_current"] == 0
    assert host.ask(good) == "hello world"
