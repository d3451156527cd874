# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A workload that wants more than its limit is held there, and its sibling has its share. pytest -s prints the figures."""

from __future__ import annotations

import subprocess
import time
import typing as t

import pytest
from slices import SPIN, Inside, busy, read
from world import World

pytestmark = pytest.mark.alone

Start = t.Callable[..., Inside]
WRITE = """
import mmap, os, sys, time
block = mmap.mmap(-1, 64 << 10)
descriptor = os.open(sys.argv[1], os.O_RDWR | os.O_DIRECT)
began = time.monotonic()
for index in range(int(sys.argv[2])):
    offset = (int(sys.argv[3]) << 20) + (index << 16)
    if sys.argv[4] == "read":
        os.preadv(descriptor, [block], offset)
    else:
        os.pwrite(descriptor, block, offset)
print(time.monotonic() - began, flush=True)
"""
BOMB = """
import os
while True:
    try:
        os.fork()
    except OSError:
        pass
"""


def show(text: str) -> None:
    print(f"\n    {text}", flush=True)


def spin(number: int) -> str:
    return " & ".join([f"({SPIN})"] * number) + " & wait"


def periods(world: World, name: str) -> tuple[int, int]:
    """How many periods there were, and in how many of them the quota was used up (sched-bwc.rst)."""
    figures = dict(line.split() for line in read(world, "cpu.stat", name).splitlines())
    return int(figures["nr_periods"]), int(figures["nr_throttled"])


def test_cpu_time_is_held_within_5_percent_of_the_quota(world: World, inside: Start) -> None:
    for share in (0.5, 1.2):
        world.apply("cgroup_slice", name="held", cpu_max=str(share))
        process = inside("held", spin(4))
        time.sleep(1)
        before = periods(world, "held")
        [used] = busy(world, ["held"], 10)
        passed, held = (after - earlier for after, earlier in zip(periods(world, "held"), before))
        show(
            f"cpu_max {share}: {used:.4f} CPUs over 10 s ({(used / share - 1) * 100:+.2f} %), held in {held} of {passed} periods"
        )
        assert used / share < 1.05
        assert held > 0 or share > 1
        # In a period in which it was not held, other work has left it less than the quota.
        assert used / share > 0.95 or held < 0.98 * passed
        world.apply("cgroup_slice", name="held", state="absent", force=True)
        assert not process.alive()


def test_a_change_of_the_quota_holds_at_once_for_the_same_process(world: World, inside: Start) -> None:
    world.apply("cgroup_slice", name="held", cpu_max="80%")
    process = inside("held", spin(2))
    world.apply("cgroup_slice", name="held", cpu_max="20%")
    time.sleep(0.5)
    [used] = busy(world, ["held"], 5)
    show(f"cpu_max from 0.8 to 0.2 live: {used:.4f} CPUs over 5 s")
    assert abs(used / 0.2 - 1) < 0.05
    assert process.alive()


def test_the_sibling_of_a_busy_slice_has_its_share_of_cpu_time(world: World, inside: Start) -> None:
    """On one CPU, against eight processes: by weight, and beside a quota. Others may use that CPU too; shares are of what both got."""
    pinned = {"cpuset_cpus": "1"}
    world.apply("cgroup_slice", aggregate=[{"name": "loud", **pinned}, {"name": "quiet", "cpu_weight": 300, **pinned}])
    inside("loud", spin(8))
    inside("quiet", SPIN)
    time.sleep(1)
    loud, quiet = busy(world, ["loud", "quiet"], 10)
    show(f"weights 100 and 300: {loud:.3f} and {quiet:.3f} CPUs, the sibling has {quiet / (loud + quiet):.1%} of both")
    assert quiet / (loud + quiet) > 0.75 * 0.95
    world.apply("cgroup_slice", aggregate=[{"name": "loud", "cpu_max": "20%", **pinned}, {"name": "quiet", **pinned}])
    time.sleep(0.5)
    loud, quiet = busy(world, ["loud", "quiet"], 10)
    show(f"a quota of 0.2 beside none: {loud:.3f} and {quiet:.3f} CPUs")
    assert loud < 0.2 * 1.05
    assert quiet > loud


def test_memory_is_held_and_the_siblings_is_its_own(world: World, inside: Start) -> None:
    limits = {"memory_max": "64M", "memory_swap_max": "0"}
    world.apply("cgroup_slice", aggregate=[{"name": "web/a", **limits}, {"name": "web/b", **limits}])
    eat = "import sys, time; block = b'x' * (int(sys.argv[1]) << 20); print(len(block), flush=True); time.sleep(300)"
    sibling = inside("web/b", f'exec {world.python} -c "{eat}" 40')
    assert sibling.process.stdout.readline() == f"{40 << 20}\n"  # type: ignore[union-attr]
    killed = 0
    for _round in range(3):
        greedy = inside("web/a", f'exec {world.python} -c "{eat}" 200')
        killed += greedy.process.wait(30) in (-9, 137)
    found = {entry["name"]: entry for entry in world.apply("host_info", gather_subset=["slices"])["slices"]}
    one, other = found["web/a"], found["web/b"]
    show(
        f"memory_max 67108864: peak {one['peak']['memory']}, {one['oom_kills']} kills; the sibling's: {other['usage']}"
    )
    assert (killed, one["oom_kills"], other["oom_kills"]) == (3, 3, 0)
    assert one["peak"]["memory"] <= 64 << 20
    assert other["usage"]["memory_current"] > 40 << 20
    assert sibling.alive()


def test_a_fork_bomb_does_not_slow_its_siblings_forks(world: World, inside: Start) -> None:
    world.apply(
        "cgroup_slice",
        aggregate=[{"name": "web/a", "pids_max": 64, "cpu_max": "30%"}, {"name": "web/b", "pids_max": 64}],
    )
    work = "import os, sys, time\nsys.stdin.readline()\nfor _round in range(2):\n"
    work += " began = time.monotonic()\n for index in range(300):\n  pid = os.fork()\n  pid or os._exit(0)\n  os.waitpid(pid, 0)\n"
    work += " print(time.monotonic() - began, flush=True)\n _round or time.sleep(3)"

    sibling = inside("web/b", f"exec {world.python} -c '{work}' </dev/null")
    alone = float(sibling.process.stdout.readline())  # type: ignore[union-attr]
    bomb = inside("web/a", f"exec {world.python} -c '{BOMB}'")
    world.wait(lambda: read(world, "pids.current", "web/a") == "64", 10, "the bomb has filled its slice")
    beside = float(sibling.process.stdout.readline())  # type: ignore[union-attr]
    found = {entry["name"]: entry for entry in world.apply("host_info", gather_subset=["slices"])["slices"]}
    show(f"300 forks of the sibling: {alone:.3f} s alone, {beside:.3f} s beside a bomb of 64 with 0.3 CPUs")
    assert beside < alone * 2 + 0.2
    assert found["web/a"]["usage"]["pids_current"] == 64
    assert found["web/a"]["peak"].get("pids", 64) == 64
    assert found["web/a"]["throttling"]["nr_throttled"] > 0
    world.apply("cgroup_slice", name="web/a", state="absent", force=True)
    assert not bomb.alive()


@pytest.mark.parametrize(("rate", "way"), [("wbps", "write"), ("rbps", "read"), ("wiops", "write"), ("riops", "read")])
def test_a_disk_is_held_and_the_sibling_is_not(world: World, inside: Start, disk: str, rate: str, way: str) -> None:
    """In blocks of 64 KiB, past the page cache: version 1 holds nothing that is written back later (cgroup-v1/blkio-controller)."""
    limit = {"bps": "4M", "iops": "64"}[rate[1:]]
    world.cycle("cgroup_slice", name="held", io_max=[{"device": disk, rate: limit}])
    world.apply("cgroup_slice", name="free")

    def start(name: str, blocks: int, offset: int) -> Inside:
        return inside(name, f"exec {world.python} -c '{WRITE}' {disk} {blocks} {offset} {way}")

    held, free = start("held", 192, 0), start("free", 1024, 64)
    seconds, others = float(held.process.stdout.readline()), float(free.process.stdout.readline())  # type: ignore[union-attr]
    figure, other = 12 / seconds, 64 / others
    show(
        f"{rate} {limit}: {figure:.3f} MiB/s ({(figure / 4 - 1) * 100:+.1f} %), the sibling beside it {other:.0f} MiB/s"
    )
    assert figure < 4 * 1.1
    assert other > 5 * figure
    [io] = world.apply("cgroup_slice", name="held", io_max=[{"device": disk, rate: limit}])["slice"]["usage"]["io"]
    kind = way[0]
    assert (io["device"], io[f"{kind}bytes"], io[f"{kind}ios"]) == (disk, 12 << 20, 192)


def test_a_change_of_the_disks_rate_holds_at_once(world: World, inside: Start, disk: str) -> None:
    world.apply("cgroup_slice", name="held", io_max=[{"device": disk, "wbps": "1M"}])
    process = inside("held", f"exec {world.python} -c '{WRITE}' {disk} 192 0 write")
    time.sleep(1)
    world.apply("cgroup_slice", name="held", io_max=[{"device": disk, "wbps": "8M"}])
    seconds = float(process.process.stdout.readline())  # type: ignore[union-attr]
    show(f"12 MiB, one second of it at 1 MiB/s, the rest at 8 MiB/s: {seconds:.2f} s")
    assert 2 < seconds < 6
    process.process.wait(5)
    world.apply("cgroup_slice", name="held", state="absent")
    subprocess.run(["blockdev", "--flushbufs", disk], check=True)


def test_the_figures_of_version_1(world: World, inside: Start) -> None:
    world.apply("cgroup_slice", name="web", cpu_max="20%", memory_max="64M", pids_max=8)
    process = inside("web", SPIN)
    time.sleep(1)
    [found] = world.apply("host_info", gather_subset=["slices"])["slices"]
    show(str({key: found[key] for key in ("usage", "peak", "pressure", "throttling", "oom_kills")}))
    assert set(found["usage"]) == {"memory_current", "swap_current", "pids_current", "cpu_usage_usec", "io"}
    assert 100_000 < found["usage"]["cpu_usage_usec"] < 2_000_000
    assert found["peak"]["memory"] >= found["usage"]["memory_current"] > 0
    assert found["throttling"]["nr_periods"] >= found["throttling"]["nr_throttled"] > 0
    assert found["throttling"]["throttled_usec"] > 0
    assert (found["pressure"], found["oom_kills"]) == (None, 0)
    process.end()
