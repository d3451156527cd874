# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Huge pages on this kernel: the hierarchy of version 1 that few hosts mount, and processes that touch too many."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import pathlib
import re
import subprocess
import time
import typing as t

import pytest
from slices import NAME, Inside, read
from world import World, difference

NEW_MOUNTS = 0x20000  # CLONE_NEWNS
PLACE = pathlib.Path("/sys/fs/cgroup/hugetlb")
POOL = pathlib.Path("/proc/sys/vm/nr_hugepages")
LIMIT = "hugetlb.2MB.limit_in_bytes"
TOUCH = """
import mmap, sys, time
block = mmap.mmap(-1, 8 << 20, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x40000)
for page in range(int(sys.argv[1])):
    block[page << 21] = 1
    print(page + 1, flush=True)
time.sleep(300)
"""


def controller() -> tuple[int, int]:
    """The number of the hierarchy that has the controller, 0 for that of version 2, and how many groups there are in it."""
    found = re.search(r"^hugetlb\t(\d+)\t(\d+)\t", pathlib.Path("/proc/cgroups").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]), int(found[2])


def held() -> bool:
    """Whether a process has the hierarchy mounted. A runtime mounts all that there are, so another test's services do."""
    for path in pathlib.Path("/proc").glob("[0-9]*/mountinfo"):
        with contextlib.suppress(OSError):
            if re.search(r" - cgroup \S+ \S*\bhugetlb\b", path.read_text()):
                return True
    return False


def await_controller(condition: t.Callable[[int, int], bool], what: str) -> None:
    """Wait for the kernel's workers, which have the groups of all other tests to remove as well."""
    deadline = time.monotonic() + 60
    while not condition(*controller()):
        assert time.monotonic() < deadline, f"{what}: hierarchy and groups are still {controller()}"
        time.sleep(0.05)


def give_back() -> None:
    """Unmount the hierarchy: with its last mount it ends, if it has no groups then, and version 2 has the controller again."""
    await_controller(lambda _hierarchy, groups: groups == 1, "groups that were removed")
    subprocess.run(["umount", PLACE], check=True)
    await_controller(lambda hierarchy, _groups: hierarchy == 0 or held(), "the hierarchy that was unmounted")


@pytest.fixture
def alone() -> t.Iterator[None]:
    """One test at a time: the machine has one such hierarchy and one pool of pages, whatever namespaces it has."""
    lock = os.open("/sys/fs/cgroup", os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


@pytest.fixture
def world(alone: None) -> t.Iterator[World]:
    """A host on which huge pages are a hierarchy of their own. It is mounted where no other test sees it; four pages are there."""
    libc = ctypes.CDLL(None, use_errno=True)
    here = os.open("/proc/self/ns/mnt", os.O_RDONLY)
    directory, pages = pathlib.Path.cwd(), POOL.read_text()
    assert libc.unshare(NEW_MOUNTS) == 0, os.strerror(ctypes.get_errno())
    try:
        subprocess.run(["mount", "--make-rprivate", "/"], check=True)
        PLACE.mkdir()
        subprocess.run(["mount", "-t", "cgroup", "-o", "hugetlb", "cgroup", PLACE], check=True)
        POOL.write_text("4")
        with World() as made:
            yield made
        give_back()
    finally:
        POOL.write_text(pages)
        libc.setns(here, NEW_MOUNTS)
        os.close(here)
        os.chdir(directory)
        PLACE.rmdir()


def test_huge_pages_are_limited_live_and_given_up(world: World, inside: t.Callable[..., Inside]) -> None:
    clean = world.snapshot()
    world.cycle("cgroup_slice", name=NAME, pids_max=9)
    assert world.sh("ls /sys/fs/cgroup/hugetlb | grep -c isolation || true").strip() == "0", "only when it is needed"
    process = inside()
    made = world.cycle("cgroup_slice", name=NAME, pids_max=9, hugetlb_max=[{"page_size": "2M", "limit": "5M"}])
    assert made["diff"][0]["before"] == "hugetlb_max: none\n"
    assert made["diff"][0]["after"] == "hugetlb_max: 2MB 4M\n"
    assert made["slice"]["effective"]["hugetlb_max"] == [{"page_size": "2MB", "limit": 4 << 20}]
    assert read(world, LIMIT) == str(4 << 20)

    enter = f"echo $$ > /sys/fs/cgroup/hugetlb/isolation/{NAME}/cgroup.procs;"
    greedy = inside(script=f"{enter} exec {world.python} -c '{TOUCH}' 3")
    print(greedy.process.communicate(timeout=20)[0], f"then it ended with {greedy.process.returncode}")
    assert greedy.process.returncode in (-7, 135), "SIGBUS"
    modest = inside(script=f"{enter} exec {world.python} -c '{TOUCH}' 2")
    assert [modest.process.stdout.readline() for _page in range(2)] == ["1\n", "2\n"]  # type: ignore[union-attr]

    world.cycle("cgroup_slice", name=NAME, pids_max=9, hugetlb_max=[{"page_size": "2MB", "limit": "8M"}])
    assert read(world, LIMIT) == str(8 << 20)
    world.cycle("cgroup_slice", name=NAME, pids_max=9)
    assert int(read(world, LIMIT)) > 1 << 62
    assert modest.alive()
    assert process.alive()
    modest.end()
    process.end()
    world.cycle("cgroup_slice", name=NAME, state="absent")
    assert difference(clean, world.snapshot()) == {}


def test_the_boot_file_brings_them_back(world: World) -> None:
    args: dict[str, t.Any] = {
        "name": NAME,
        "hugetlb_max": [{"page_size": "1G", "limit": "0"}, {"page_size": "2M", "limit": "2M"}],
    }
    world.apply("cgroup_slice", **args)
    before = world.snapshot()
    for tree in world.sh("ls /sys/fs/cgroup").split():
        path = f"/sys/fs/cgroup/{tree}/isolation"
        world.sh(f"[ ! -d {path} ] || rmdir {path}/{NAME} {path}/web {path}")
    world.sh("sh -e /etc/isolation/boot.d/30-cgroup-web_3fa91c2.sh")
    assert difference(before, world.snapshot()) == {}
    assert not world.module("cgroup_slice", check=True, **args)["changed"]
    assert read(world, "hugetlb.1GB.limit_in_bytes") == "0"


REFUSALS: list[tuple[dict[str, t.Any], list[str]]] = [
    ({"hugetlb_max": [{"page_size": "4M", "limit": "4M"}]}, ["no huge pages of 4MB", "1GB, 2MB"]),
    ({"hugetlb_max": [{"page_size": "2M", "limit": "900G"}]}, ["900G is more than"]),
    ({"hugetlb_max": [{"page_size": "2M", "limit": "1M"}]}, ["less than a page"]),
    ({"unified": {"hugetlb.2MB.max": "0"}}, ["use hugetlb_max"]),
]


def test_what_the_host_has_not_is_refused(world: World) -> None:
    for options, words in REFUSALS:
        message = world.refused("cgroup_slice", name=NAME, **options)
        assert [word for word in words if word not in message] == [], message
