# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The harness itself: a world leaks nothing, sees its own, and its snapshots notice."""

from __future__ import annotations

import json
import os
import pathlib
import typing as t

import pytest
from warm import PACKAGE
from world import CLIENT4, HOST4, HOST6, World, difference

# What a program finds of itself, but for what is imported.
FOUND = """
import json, os, resource, signal, sys, threading
print(json.dumps({
    "namespaces": {name: os.readlink(f"/proc/self/ns/{name}") for name in os.listdir("/proc/self/ns")},
    "environment": dict(os.environ), "umask": os.umask(0), "directory": os.getcwd(), "root": os.listdir("/"), "argv": sys.argv,
    "cgroups": open("/proc/self/cgroup").read(), "stdin": sys.stdin.read(), "name": __name__, "path": sys.path,
    "fds": len(os.listdir("/proc/self/fd")), "limits": [resource.getrlimit(number) for number in range(16)],
    "handlers": [str(signal.getsignal(number)) for number in range(1, 65)], "mask": [*signal.pthread_sigmask(0, [])],
    "threads": threading.active_count(), "nice": os.nice(0), "flags": [*sys.flags],
    "streams": [sys.stdout.encoding, sys.stdout.line_buffering, sys.stderr.errors, sys.stdin.encoding], "user": os.getresuid(),
    "oom": open("/proc/self/oom_score_adj").read(), "parent": os.getppid(),
}))
"""


def test_neighbours_reach_the_host(world: World) -> None:
    world.run(["ping", "-c1", "-W2", HOST4], ns="client")
    world.run(["ping", "-c1", "-W2", HOST6], ns="attacker")
    world.run(["ping", "-c1", "-W2", CLIENT4])


def test_snapshot_notices_each_kind(world: World) -> None:
    before = world.snapshot()
    assert difference(before, world.snapshot()) == {}
    world.sh(
        "ip link add probe type bridge; ip addr add 192.0.2.9/32 dev probe; ip link set probe up; ip rule add prio 77 to 192.0.2.0/24 lookup main;"
        "nft add table inet probe; mount -t tmpfs probe /var/log; ip netns add probe; mkdir /sys/fs/cgroup/memory/probe;"
        "sysctl -qw net.ipv4.ip_forward=1; touch /etc/probe"
    )
    assert {"links", "addresses", "routes", "rules", "nft", "mounts", "netns", "cgroups", "sysctls", "files"} <= set(
        difference(before, world.snapshot())
    )


def test_nothing_is_left_behind() -> None:
    with World() as made:
        made.sh("mkdir -p /sys/fs/cgroup/pids/a/b; touch /etc/isolation-probe /var/lib/isolation/probe")
        made.popen(["sleep", "300"])
        tag, pid = made.tag, made.pid
    assert not os.path.exists(f"/proc/{pid}")
    assert not os.path.exists("/etc/isolation-probe")
    assert not any(tag in name for top, names, _files in os.walk("/sys/fs/cgroup") for name in names)


@pytest.fixture
def program(tmp_path: pathlib.Path) -> t.Callable[[str], list[str]]:
    """A file with a program, as a command."""

    def write(text: str) -> list[str]:
        (tmp_path / "program.py").write_text(text)
        return [str(tmp_path / "program.py")]

    return write


def test_a_fork_is_like_a_python_of_its_own(world: World, program: t.Callable[[str], list[str]]) -> None:
    command = [*program(FOUND), "argument"]
    cold, warm = (way(command, "what it reads") for way in (world._cold, world._warm))
    assert (cold.stderr, warm.stderr) == ("", "")
    cold, warm = json.loads(cold.stdout), json.loads(warm.stdout)
    for name in ("COLUMNS", "LINES"):
        for found in (cold, warm):
            found["environment"].pop(name, None)  # by readline, which pytest imports, not always where Python sees it
    cold["path"][0] = warm["path"][0]  # where a file is, but a module is looked for in /
    assert warm == cold
    assert warm["stdin"] == "what it reads"


ENDS = {
    "import sys; sys.exit('words')": (1, "", "words\n"),
    "import sys; print('out'); sys.exit(7)": (7, "out\n", ""),
    "import atexit; atexit.register(print, 'late')": (0, "late\n", ""),
    "import threading, time; threading.Thread(target=lambda: (time.sleep(0.2), print('late'))).start()": (
        0,
        "late\n",
        "",
    ),
    "from concurrent.futures import ThreadPoolExecutor as E; E().submit(print, 'late')": (0, "late\n", ""),
    "import sys; sys.exit(bool(sys.stdin.read(1)))": (1, "", ""),
}


@pytest.mark.parametrize("text", ENDS)
def test_a_fork_ends_like_one(world: World, program: t.Callable[[str], list[str]], text: str) -> None:
    for way in (world._warm, world._cold):
        done = way(program(text), "x" * 1_000_000)
        assert (done.returncode, done.stdout, done.stderr) == ENDS[text]
    broken = world._warm(program("def work(): 1 / 0\nwork()"), "")
    assert broken.returncode == 1
    assert "in work" in broken.stderr
    assert broken.stderr.endswith("ZeroDivisionError: division by zero\n")
    killed = world._warm(program("import os; os.abort()"), "")
    assert killed.returncode == 128 + 6


def test_sets_are_ordered_otherwise_in_the_next_run(world: World, program: t.Callable[[str], list[str]]) -> None:
    command = program("print({'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'})")
    assert len({world._warm(command, "").stdout for _run in range(4)}) == 2


MODULES: dict[str, dict[str, t.Any]] = {
    "bridge": {"name": "iso0", "addresses": ["10.88.0.1/24"]},
    "nat_portmap": {"name": "web", "mappings": [{"host_port": 80, "address": "10.88.0.2"}]},
    "cgroup_slice": {"name": "web", "pids_max": 9},
    "rootfs_prepare": {"name": "web", "source": {"directory": {"path": "/nowhere"}}},
    "namespaced_service": {"name": "web", "rootfs": "web", "command": ["/bin/true"]},
    "host_info": {"gather_subset": ["services"]},
}


@pytest.mark.parametrize("name", MODULES)
def test_a_module_says_the_same_with_nothing_imported(name: str) -> None:
    given = {**MODULES[name], "_ansible_check_mode": True, "_ansible_diff": True, "_ansible_remote_tmp": "/tmp"}
    text = json.dumps({"ANSIBLE_MODULE_ARGS": given})
    with World(compiled=False) as world:
        cold, warm = (way([f"{PACKAGE}.{name}"], text) for way in (world._cold, world._warm))
    assert json.loads(warm.stdout) == json.loads(cold.stdout)
    assert (warm.returncode, warm.stderr) == (cold.returncode, cold.stderr)


def test_a_snapshot_reads_what_lies_over_the_hosts_own_files(world: World) -> None:
    world.sh("mkdir -p /etc/kept; touch /etc/profile")
    before = world.snapshot()
    assert "/etc/kept" in " ".join(before["files"])
    assert "/etc/profile" not in " ".join(before["files"]), "it is as below"
    world.sh(
        "chmod 600 /etc/profile; echo more >>/etc/fstab; rm /etc/passwd; rm -r /etc/default; mkdir /etc/default; touch /etc/default/new"
    )
    found = difference(before, world.snapshot())["files"]
    assert found["gone"] == []
    lines = {line.split(" ", 1)[0]: line.split(" ", 1)[1] for line in found["new"]}
    assert lines["/etc/profile"].startswith("100600 0:0 ")
    assert lines["/etc/fstab"].startswith("100644 0:0 ")
    assert lines["/etc/passwd"] == "gone"
    assert any(lines[name] == "gone" for name in lines if name.startswith("/etc/default/"))
    assert lines["/etc/default/new"].startswith("100644 ")
    world.sh("mount -t tmpfs other /etc; touch /etc/other")
    assert [line.split(" ")[0] for line in world.snapshot()["files"] if line.startswith("/etc/")] == ["/etc/other"]
