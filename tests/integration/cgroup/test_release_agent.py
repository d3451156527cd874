# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The way out by cgroup v1's release_agent (CVE-2022-0492): a program that the host's root runs when a group is left empty."""

from __future__ import annotations

import json
import typing as t

import pytest
from services import Host

ATTACK = r"""
import ctypes, errno, json, os, sys, time
libc = ctypes.CDLL(None, use_errno=True)

def answer(result):
    return "done" if result >= 0 else errno.errorcode[ctypes.get_errno()]

def write(path, text):
    try:
        with open(path, "w") as stream:
            stream.write(text)
    except OSError as error:
        return errno.errorcode[error.errno]
    return "done"

def mount_all(place):
    found = {}
    os.makedirs(place, exist_ok=True)
    for options in ("memory", "pids", "blkio", "freezer", "devices", "none,name=out"):
        found[options] = answer(libc.mount(b"cgroup", place.encode(), b"cgroup", 0, options.encode()))
        if found[options] == "done":
            found[options + " agent"] = write(place + "/release_agent", "/tmp/agent")
            found[options + " notify"] = write(place + "/notify_on_release", "1")
            found[options + " listed"] = sorted(os.listdir(place)).count("release_agent")
            libc.umount2(place.encode(), 2)
    found["cgroup2"] = answer(libc.mount(b"cgroup2", place.encode(), b"cgroup2", 0, None))
    found["fsopen"] = answer(libc.syscall(430, b"cgroup", 0))
    return found

def attack():
    groups = [line.split()[1] for line in open("/proc/self/mounts") if line.split()[2].startswith("cgroup")]
    found = {"groups": groups, "mounted": mount_all("/tmp/one")}
    found["agents"] = {path: write(path + "/release_agent", "/tmp/agent") for path in groups}
    found["notify"] = {path: write(path + "/notify_on_release", "1") for path in groups}
    found["remount"] = {path: answer(libc.mount(b"", path.encode(), b"", 0x20, None)) for path in groups}
    found["core"] = write("/proc/sys/kernel/core_pattern", "|/tmp/agent")
    # A user namespace of one's own has all capabilities in it, and a cgroup namespace with it.
    found["unshare"] = answer(libc.unshare(0x10000000 | 0x00020000 | 0x02000000))
    if found["unshare"] == "done":
        found["inner"] = mount_all("/tmp/two")
    return found

print("seen " + json.dumps(attack()), flush=True)
time.sleep(600)
"""


def attacked(host: Host, name: str, **options: t.Any) -> dict[str, t.Any]:
    """What the attack has met with in a service."""
    host.rootfs(name)
    command = ["/usr/bin/python3", "-B", "-c", ATTACK]
    wanted = {
        "name": name,
        "rootfs": name,
        "command": command,
        "gate": {"min_healthy_time": "100ms", "deadline": "20s"},
    }
    host.world.apply("namespaced_service", **wanted, **options)
    [line] = host.world.wait(lambda: [line for line in host.log(name).splitlines() if "seen {" in line], 20)
    found: dict[str, t.Any] = json.loads(line.partition("seen ")[2])
    return found


def test_nothing_can_be_mounted_and_no_agent_be_set(host: Host) -> None:
    before = host.world.sh("cat /sys/fs/cgroup/*/release_agent /proc/sys/kernel/core_pattern 2>/dev/null || true")
    seen = attacked(host, "web")
    assert seen["groups"]
    assert set(seen["mounted"].values()) == {"EPERM"}, seen
    assert set(seen["agents"].values()) <= {"EROFS", "EACCES", "ENOENT", "EPERM"}, seen
    assert set(seen["notify"].values()) <= {"EROFS", "EACCES"}, seen
    assert set(seen["remount"].values()) == {"EPERM"}, seen
    assert (seen["core"], seen["unshare"]) == ("EROFS", "EPERM"), seen
    assert (
        host.world.sh("cat /sys/fs/cgroup/*/release_agent /proc/sys/kernel/core_pattern 2>/dev/null || true") == before
    )


@pytest.mark.parametrize("capabilities", [[], ["SYS_ADMIN", "DAC_OVERRIDE"]], ids=["none", "admin"])
def test_nor_without_the_filter_of_system_calls(host: Host, capabilities: list[str]) -> None:
    """What the administrator has opened on purpose: only the namespaces hold then, and no agent may be set still."""
    before = host.world.sh("cat /sys/fs/cgroup/*/release_agent 2>/dev/null || true")
    seen = attacked(host, "web", seccomp="unconfined", capabilities=capabilities)
    for mounted in (seen["mounted"], seen.get("inner", {})):
        agents = {what: answer for what, answer in mounted.items() if what.endswith(" agent")}
        assert "done" not in agents.values(), seen
        assert not any(answer for what, answer in mounted.items() if what.endswith(" listed")), seen
    assert "done" not in seen["agents"].values(), seen
    assert seen["core"] == "EROFS", seen
    print({key: value for key, value in seen.items() if key != "groups"})
    assert host.world.sh("cat /sys/fs/cgroup/*/release_agent 2>/dev/null || true") == before
