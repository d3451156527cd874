# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Slices on this kernel, by control group files: each limit is read back where the kernel keeps it."""

from __future__ import annotations

import typing as t

import pytest
from slices import NAME, Inside, read, trees
from world import World, difference

LIMITS = [
    ({"cpu_weight": 200}, {"cpu_weight": 50}, {"cpu.shares": "2048"}, {"cpu.shares": "512"}),
    (
        {"cpu_max": "50%"},
        {"cpu_max": "30000/200000"},
        {"cpu.cfs_quota_us": "50000", "cpu.cfs_period_us": "100000"},
        {"cpu.cfs_quota_us": "30000", "cpu.cfs_period_us": "200000"},
    ),
    ({"cpu_max": "1.5"}, {"cpu_max": "max"}, {"cpu.cfs_quota_us": "150000"}, {"cpu.cfs_quota_us": "-1"}),
    ({"cpuset_cpus": "0"}, {"cpuset_cpus": "max"}, {"cpuset.cpus": "0"}, {"cpuset.cpus": "0-1"}),
    ({"cpuset_mems": "0"}, {}, {"cpuset.mems": "0"}, {"cpuset.mems": "0"}),
    (
        {"memory_max": "64M"},
        {"memory_max": "96M"},
        {"memory.limit_in_bytes": "67108864"},
        {"memory.limit_in_bytes": "100663296"},
    ),
    # A number of bytes that is no whole page: the kernel rounds down, and that is no difference.
    (
        {"memory_max": "67110000"},
        {"memory_max": "40M"},
        {"memory.limit_in_bytes": "67108864"},
        {"memory.limit_in_bytes": "41943040"},
    ),
    (
        {"memory_max": "64M", "memory_swap_max": "16M"},
        {"memory_max": "128M", "memory_swap_max": "0"},
        {"memory.limit_in_bytes": "67108864", "memory.memsw.limit_in_bytes": "83886080"},
        {"memory.limit_in_bytes": "134217728", "memory.memsw.limit_in_bytes": "134217728"},
    ),
    (
        {"memory_max": "128M", "memory_swap_max": "0"},
        {"memory_max": "32M", "memory_swap_max": "4M"},
        {"memory.memsw.limit_in_bytes": "134217728"},
        {"memory.limit_in_bytes": "33554432", "memory.memsw.limit_in_bytes": "37748736"},
    ),
    ({"pids_max": 64}, {"pids_max": 32}, {"pids.max": "64"}, {"pids.max": "32"}),
    (
        {"io_max": [{"device": "/dev/loop0", "wbps": "10M", "riops": "100"}]},
        {"io_max": [{"device": "/dev/loop0", "wbps": "5M"}, {"device": "/dev/loop1", "rbps": "1M"}]},
        {"blkio.throttle.write_bps_device": "7:0 10485760", "blkio.throttle.read_iops_device": "7:0 100"},
        {
            "blkio.throttle.write_bps_device": "7:0 5242880",
            "blkio.throttle.read_iops_device": "",
            "blkio.throttle.read_bps_device": "7:1 1048576",
        },
    ),
]

DEFAULTS = {
    "cpu.shares": "1024",
    "cpu.cfs_quota_us": "-1",
    "cpuset.cpus": "0-1",
    "memory.limit_in_bytes": "9223372036854771712",
    "memory.memsw.limit_in_bytes": "9223372036854771712",
    "pids.max": "max",
    "blkio.throttle.write_bps_device": "",
    "blkio.throttle.read_bps_device": "",
}


@pytest.mark.parametrize(
    ("first", "second", "kernel_first", "kernel_second"), LIMITS, ids=lambda value: "-".join(value)[:40]
)
def test_each_limit_is_set_read_back_changed_live_and_given_up(
    world: World,
    inside: t.Callable[..., Inside],
    first: dict[str, t.Any],
    second: dict[str, t.Any],
    kernel_first: dict[str, str],
    kernel_second: dict[str, str],
) -> None:
    world.cycle("cgroup_slice", name=NAME, **first)
    assert {file: read(world, file) for file in kernel_first} == kernel_first
    process = inside()
    world.cycle("cgroup_slice", name=NAME, **second)
    assert {file: read(world, file) for file in kernel_second} == kernel_second
    assert process.alive()
    world.apply("cgroup_slice", name=NAME)
    assert not world.module("cgroup_slice", name=NAME, check=True)["changed"]
    assert {file: read(world, file) for file in DEFAULTS} == DEFAULTS
    assert process.alive()
    assert f"/isolation/{NAME}" in world.sh(f"grep memory: /proc/{process.pid}/cgroup")


def test_result_and_diff_say_what_the_kernel_has(world: World, inside: t.Callable[..., Inside]) -> None:
    created = world.cycle("cgroup_slice", name=NAME, memory_max="64M", pids_max="64")
    assert created["diff"] == [
        {
            "before_header": f"slice {NAME}",
            "after_header": f"slice {NAME}",
            "before": "state: absent\n",
            "after": "state: present\nmemory_max: 64M\npids_max: 64\n",
        }
    ]
    assert created["slice"] == created["results"][0]["slice"]
    changed = world.cycle("cgroup_slice", name=NAME, memory_max="32M", pids_max="64")
    assert changed["diff"][0]["before"] == "memory_max: 64M\n"
    assert changed["diff"][0]["after"] == "memory_max: 32M\n"
    inside()
    found = world.apply("cgroup_slice", name=NAME, memory_max="32M", pids_max="64")
    assert not found["changed"]
    assert found["slice"]["path"] == f"/isolation/{NAME}"
    assert found["slice"]["manager"] == "cgroupfs"
    assert found["slice"]["version"] == "hybrid"
    assert found["slice"]["effective"]["memory_max"] == 33554432
    assert found["slice"]["usage"]["pids_current"] == 1
    assert found["slice"]["usage"]["memory_current"] > 0


def test_a_value_that_somebody_else_has_written_is_put_right(world: World) -> None:
    world.apply("cgroup_slice", name=NAME, pids_max="64")
    world.sh(
        f"echo 5 > /sys/fs/cgroup/pids/isolation/{NAME}/pids.max; echo 512 > /sys/fs/cgroup/cpu/isolation/{NAME}/cpu.shares"
    )
    result = world.cycle("cgroup_slice", name=NAME, pids_max="64")
    assert result["diff"][0]["before"] == "cpu_weight: 50\npids_max: 5\n"
    assert read(world, "pids.max") == "64"
    assert read(world, "cpu.shares") == "1024"


def test_what_is_lost_is_made_again(world: World) -> None:
    world.apply("cgroup_slice", name=NAME, pids_max="64", cpu_max="50%")
    world.sh(f"rmdir /sys/fs/cgroup/pids/isolation/{NAME}")
    assert "pids" in str(world.cycle("cgroup_slice", name=NAME, pids_max="64", cpu_max="50%")["diff"])
    assert read(world, "pids.max") == "64"
    world.sh("rm /etc/isolation/boot.d/30-cgroup-web_3fa91c2.sh")
    assert "boot file" in str(world.cycle("cgroup_slice", name=NAME, pids_max="64", cpu_max="50%")["diff"])
    world.sh("rm /etc/isolation/cgroup/web.3fa91c2.json")
    refusal = world.refused("cgroup_slice", name=NAME, pids_max="64", cpu_max="50%")
    assert "not made by this collection" in refusal
    assert "pids_max" in refusal


def test_boot_file_brings_back_the_same_slice(world: World) -> None:
    args: dict[str, t.Any] = {
        "name": NAME,
        "cpu_weight": 300,
        "cpu_max": "75%",
        "cpuset_cpus": "1",
        "memory_max": "64M",
        "memory_swap_max": "0",
        "pids_max": "32",
        "io_max": [{"device": "/dev/loop0", "rbps": "1M"}],
    }
    world.apply("cgroup_slice", name="web", cpu_max="90%")
    world.apply("cgroup_slice", **args)
    before = world.snapshot()
    for tree in trees(world):
        world.sh(
            f"rmdir /sys/fs/cgroup/{tree}/isolation/{NAME} /sys/fs/cgroup/{tree}/isolation/web /sys/fs/cgroup/{tree}/isolation"
        )
    world.sh("for file in /etc/isolation/boot.d/*cgroup*.sh; do sh -e $file; sh -e $file; done")
    assert difference(before, world.snapshot()) == {}
    found = world.module("cgroup_slice", check=True, **args)
    assert not found["changed"], found["diff"]
    assert not world.module("cgroup_slice", check=True, name="web", cpu_max="90%")["changed"]


def test_a_process_that_takes_too_much_memory_is_killed_and_its_sibling_lives(
    world: World, inside: t.Callable[..., Inside]
) -> None:
    world.apply(
        "cgroup_slice",
        aggregate=[{"name": "web/small", "memory_max": "64M"}, {"name": "web/other", "memory_max": "64M"}],
    )
    sibling = inside("web/other")
    small = inside("web/small", f"exec {world.python} -c 'b = bytearray(200 << 20); print(len(b))'")
    assert small.process.wait(30) in (-9, 137)
    assert sibling.alive()
    found = world.apply("cgroup_slice", name="web/small", memory_max="64M")["slice"]
    assert found["oom_kills"] == 1
    assert found["peak"]["memory"] <= 64 << 20


def test_a_fork_bomb_is_held_by_its_slice_alone(world: World, inside: t.Callable[..., Inside]) -> None:
    world.apply("cgroup_slice", aggregate=[{"name": "a", "pids_max": "16"}, {"name": "a-b", "pids_max": "16"}])
    bomb = (
        "import os, time\nmade = refused = 0\nfor _ in range(100):\n try:\n  pid = os.fork()\n except BlockingIOError:\n  refused += 1; continue\n"
        " if pid == 0:\n  time.sleep(300)\n made += 1\nprint(made, refused, flush=True); time.sleep(300)"
    )
    process = inside("a", f"exec {world.python} -c '{bomb}'")
    assert process.process.stdout.readline() == "15 85\n"  # type: ignore[union-attr]
    assert read(world, "pids.current", "a") == "16"
    neighbour = inside("a-b", "sleep 300 & sleep 300 & wait")
    assert neighbour.alive()
    world.wait(lambda: read(world, "pids.current", "a-b") == "3")
    assert "16 processes inside" in world.refused("cgroup_slice", name="a", state="absent")
    removed = world.apply("cgroup_slice", name="a", state="absent", force=True)
    assert removed["slice"] == {"name": "a", "state": "absent"}
    assert neighbour.alive()


def test_freezing_and_thawing(world: World, inside: t.Callable[..., Inside]) -> None:
    world.cycle("cgroup_slice", name=NAME, pids_max="8")
    process = inside()
    frozen = world.cycle("cgroup_slice", name=NAME, pids_max="8", state="frozen")
    assert frozen["slice"]["state"] == "frozen"
    assert frozen["diff"][0]["before"] == "state: present\n"
    assert frozen["diff"][0]["after"] == "state: frozen\n"
    assert read(world, "freezer.state") == "FROZEN"
    world.cycle("cgroup_slice", name=NAME, pids_max="9", state="frozen")
    thawed = world.cycle("cgroup_slice", name=NAME, pids_max="9")
    assert thawed["slice"]["state"] == "present"
    assert read(world, "freezer.state") == "THAWED"
    assert process.alive()
    world.apply("cgroup_slice", name=NAME, state="frozen")
    world.apply("cgroup_slice", name=NAME, state="absent", force=True)
    assert not process.alive()


def test_absent_leaves_nothing(world: World) -> None:
    before = world.snapshot()
    world.cycle("cgroup_slice", name=NAME, memory_max="64M", cpuset_cpus="0")
    world.cycle("cgroup_slice", name="web/other")
    # What a runtime leaves behind, also in hierarchies that slices don't use.
    world.sh(
        f"mkdir -p /sys/fs/cgroup/devices/isolation/{NAME}/web-3fa91c2 /sys/fs/cgroup/pids/isolation/{NAME}/web-3fa91c2/more"
    )
    world.cycle("cgroup_slice", name=NAME, state="absent")
    assert world.sh("ls /sys/fs/cgroup/pids/isolation/web").split().count("other") == 1
    world.cycle("cgroup_slice", name="web/other", state="absent")
    assert difference(before, world.snapshot()) == {}
    assert world.cycle("cgroup_slice", name="web/other", state="absent")["slice"] == {
        "name": "web/other",
        "state": "absent",
    }


def test_absent_with_processes_or_slices_inside(world: World, inside: t.Callable[..., Inside]) -> None:
    before = world.snapshot()
    world.apply("cgroup_slice", aggregate=[{"name": "web", "cpu_weight": 50}, {"name": NAME}])
    assert f"the slices {NAME} are inside it" in world.refused("cgroup_slice", name="web", state="absent")
    process = inside()
    assert "1 process inside" in world.refused(
        "cgroup_slice", aggregate=[{"name": "web"}, {"name": NAME}], state="absent"
    )
    removed = world.cycle("cgroup_slice", aggregate=[{"name": "web"}, {"name": NAME}], state="absent", force=True)
    assert [entry["changed"] for entry in removed["results"]] == [True, True]
    assert not process.alive()
    assert difference(before, world.snapshot()) == {}


def test_a_parent_made_for_its_child_becomes_a_slice_and_outlives_it(world: World) -> None:
    before = world.snapshot()
    world.apply("cgroup_slice", name=NAME)
    world.cycle("cgroup_slice", name="web", pids_max="100")
    world.cycle("cgroup_slice", name=NAME, state="absent")
    assert read(world, "pids.max", "web") == "100"
    world.cycle("cgroup_slice", name="web", state="absent")
    assert difference(before, world.snapshot()) == {}


def test_shares_of_parent_and_child_move_together(world: World) -> None:
    """v1 refuses a child more CPU time than its parent has, at any moment."""

    def both(parent: str, child: str, *, child_first: bool) -> None:
        pair = [{"name": "web", "cpu_max": parent}, {"name": NAME, "cpu_max": child}]
        world.cycle("cgroup_slice", aggregate=pair[::-1] if child_first else pair)

    both("50%", "40%", child_first=False)
    both("100%", "90%", child_first=True)
    both("30%", "20%", child_first=False)
    both("60%", "10%", child_first=True)
    assert read(world, "cpu.cfs_quota_us", "web") == "60000"
    message = world.module("cgroup_slice", name=NAME, cpu_max="80%")["msg"]
    assert "cpu.cfs_quota_us" in message
    assert "parent" in message


def test_another_hand_made_group_is_refused_by_name(world: World) -> None:
    world.sh(
        "mkdir -p /sys/fs/cgroup/memory/isolation/web; echo 64M > /sys/fs/cgroup/memory/isolation/web/memory.limit_in_bytes"
    )
    message = world.refused("cgroup_slice", name="web")
    assert "/sys/fs/cgroup/memory/isolation/web" in message
    assert "not made by this collection" in message
    assert "not made by this collection" in world.refused("cgroup_slice", name="web", state="absent", force=True)


def test_another_project_is_refused(world: World) -> None:
    world.apply("cgroup_slice", name=NAME, project="shop")
    for state in ("present", "absent"):
        assert "belongs to project 'shop'" in world.refused("cgroup_slice", name=NAME, state=state)


REFUSALS: list[tuple[dict[str, t.Any], list[str]]] = [
    ({"memory_max": "12Q"}, ["memory_max", "'12Q'", "not a size"]),
    ({"memory_max": "4000T"}, ["memory_max", "4000T", "this host has"]),
    ({"memory_max": "100"}, ["memory_max", "less than a page"]),
    ({"cpu_max": "0%"}, ["cpu_max", "0%"]),
    ({"cpu_max": "0.5%"}, ["cpu_max", "at least 1000"]),
    ({"cpu_max": "5000/2000000"}, ["cpu_max", "period"]),
    ({"cpu_weight": 0}, ["cpu_weight", "from 1 to 10000"]),
    ({"cpuset_cpus": "0-99"}, ["cpuset_cpus", "no CPU 2-99", "it has 0-1"]),
    ({"cpuset_cpus": "zero"}, ["cpuset_cpus", "'zero'"]),
    ({"cpuset_mems": "7"}, ["cpuset_mems", "no memory node 7"]),
    ({"pids_max": "0"}, ["pids_max", "'0'"]),
    ({"pids_max": "9999999"}, ["pids_max", "4194304"]),
    ({"memory_high": "64M"}, ["memory_high", "cgroup v1"]),
    ({"memory_low": "64M"}, ["memory_low", "cgroup v1", "soft limit"]),
    ({"memory_min": "64M"}, ["memory_min", "cgroup v1"]),
    ({"memory_swap_max": "64M"}, ["memory_swap_max", "memory_max must be set"]),
    ({"memory_zswap_max": "64M"}, ["memory_zswap_max", "cgroup v1", "compressed swap"]),
    ({"io_latency": [{"device": "/dev/loop0", "target": "5ms"}]}, ["io_latency", "cgroup v1"]),
    ({"io_latency": [{"device": "/dev/nosuch", "target": "5ms"}]}, ["io_latency", "/dev/nosuch", "No such file"]),
    ({"hugetlb_max": [{"page_size": "2M", "limit": "64M"}]}, ["hugetlb_max", "hugetlb is not mounted"]),
    ({"io_weight": 2000}, ["io_weight", "cgroup v1"]),
    ({"io_max": [{"device": "/dev/nosuch", "rbps": "1M"}]}, ["io_max", "/dev/nosuch", "No such file"]),
    ({"io_max": [{"device": "/dev/null", "rbps": "1M"}]}, ["io_max", "/dev/null", "not a block device"]),
    ({"io_max": [{"device": "/dev/loop0"}]}, ["io_max", "/dev/loop0", "at least one of"]),
    (
        {"io_max": [{"device": "/dev/loop0", "rbps": "1M"}, {"device": "/dev/loop0", "wbps": "1M"}]},
        ["/dev/loop0", "more than once"],
    ),
    ({"unified": {"memory.oom.group": "1"}}, ["unified: memory.oom.group", "no controller memory"]),
    ({"unified": {"memory.max": "1"}}, ["unified: memory.max", "use memory_max"]),
    ({"unified": {"nonsense": "1"}}, ["unified: 'nonsense'"]),
    ({"unified": {"cgroup.freeze": "1"}}, ["unified: cgroup.freeze", "use state"]),
    ({"name": "Web"}, ["name", "'Web'"]),
    ({"name": "web//x"}, ["name", "''"]),
    ({"name": "../x"}, ["name", "'..'"]),
]


def test_bad_input_is_refused_by_name_before_any_change(world: World) -> None:
    before = world.snapshot()
    for options, words in REFUSALS:
        args: dict[str, t.Any] = {"name": NAME, **options}
        for check in (True, False):
            answer = world.module("cgroup_slice", check=check, **args)
            assert answer.get("failed"), options
            assert [word for word in words if word not in answer["msg"]] == [], answer["msg"]
    assert difference(before, world.snapshot()) == {}


def test_one_bad_element_stops_the_whole_task_before_any_change(world: World) -> None:
    assert "two: memory_max" in world.refused(
        "cgroup_slice", aggregate=[{"name": "one"}, {"name": "two", "memory_max": "12Q"}]
    )


def test_an_unmounted_controller_is_named(world: World) -> None:
    world.sh("umount /sys/fs/cgroup/cpuset")
    message = world.refused("cgroup_slice", name=NAME, cpuset_cpus="0")
    assert "cpuset_cpus: the controller cpuset is not mounted" in message
    effective = world.cycle("cgroup_slice", name=NAME, pids_max="5")["slice"]["effective"]
    assert "cpuset_cpus" not in effective
    assert effective["pids_max"] == 5


def test_more_cpus_than_there_are_is_a_warning(world: World) -> None:
    result = world.cycle("cgroup_slice", name=NAME, cpu_max="64")
    assert "64 CPUs are more than the 2" in str(result["warnings"])
