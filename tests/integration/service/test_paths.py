# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Masked and read-only paths, as the service finds them."""

from __future__ import annotations

import json
import os
import typing as t

import pytest
from services import Host

from ansible_collections.daemonless.isolation.plugins.module_utils._service.paths import READ_ONLY

LOOK = """
import json, os, sys, time

def read(path):
    try:
        if os.path.isdir(path):
            return sorted(os.listdir(path))
        with open(path, "rb") as stream:
            return stream.read(64).decode(errors="replace")
    except OSError as error:
        return error.strerror

def write(path):
    try:
        if os.path.isdir(path):
            path += "/new"
        with open(path, "a") as stream:
            stream.write("x")
        return "done"
    except OSError as error:
        return error.strerror

print(json.dumps({path: [read(path), write(path)] for path in sys.argv[1:]}), flush=True)
time.sleep(600)
"""
FILES = [
    {"path": f"/srv/{name}", "content": "text"}
    for name in ("a/file", "a/beside", "b/file", "c/file", "c/deep/file", "d")
]
ALWAYS = ("/proc/interrupts", "/proc/sys/net/ipv4/ip_forward")
LOOKED = (*(file["path"] for file in FILES), "/srv/b", "/srv/link", "/proc/uptime", "/data/secret", *ALWAYS)


def asked(**options: t.Any) -> dict[str, t.Any]:
    mounts = [{"type": "bind", "source": "/opt/data", "target": "/data"}]
    return {
        "name": "web",
        "rootfs": "web",
        "command": ["/usr/bin/python3", "-c", LOOK, *LOOKED],
        "mounts": mounts,
        **options,
    }


def seen(host: Host) -> dict[str, t.Any]:
    (line,) = host.world.wait(
        lambda: [line for line in host.log("web").splitlines()[-1:] if "{" in line], 10, "it tells"
    )
    return json.loads(line[line.index("{") :])  # type: ignore[no-any-return]


@pytest.mark.parametrize("runtime", ["crun", "runc"])
def test_what_is_read_and_written(host: Host, runtime: str) -> None:
    world = host.world
    host.rootfs("web", files=FILES)
    world.sh(
        "mount -t tmpfs none /opt; mkdir -m 777 /opt/data; echo text >/opt/data/secret; chmod 666 /opt/data/secret"
    )
    world.sh("ln -s /srv/d /var/lib/isolation/instances/web/rootfs/srv/link")
    world.cycle("namespaced_service", **asked(runtime=runtime))
    free = seen(host)
    assert free["/srv/a/file"] == ["text", "done"]
    assert free["/data/secret"] == ["text\n", "done"]
    assert free["/srv/b"] == [["file"], "done"]

    given = {
        "masked_paths": ["/srv/a/file", "/srv/b", "/srv/link", "/proc/uptime", "/data/secret"],
        "readonly_paths": ["/srv/c", "/srv/a/beside"],
    }
    changed = world.cycle("namespaced_service", **asked(runtime=runtime, **given))
    assert {"masked_paths: /data/secret, /proc/uptime, /srv/a/file, /srv/b, /srv/link", "effect: restart"} <= set(
        changed["diff"][0]["after"].splitlines()
    )
    locked = seen(host)
    assert locked["/srv/a/file"][0] == "", locked
    assert locked["/srv/d"][0] == "", "the link leads to it"
    assert locked["/srv/link"][0] == ""
    assert locked["/proc/uptime"][0] == ""
    assert locked["/data/secret"][0] == ""
    assert locked["/srv/b"][0] == []
    assert locked["/srv/b"][1] != "done"
    assert locked["/srv/b/file"][0] == "No such file or directory"
    assert locked["/srv/a/beside"] == [free["/srv/a/beside"][0] + "x", "Read-only file system"]
    assert locked["/srv/c/file"][1] == locked["/srv/c/deep/file"][1] == "Read-only file system"
    for path in ALWAYS:
        assert locked[path] == free[path], "as without them"
    assert free["/proc/interrupts"][0] == ""
    mounts = world.sh("cut -d ' ' -f 5,6 /proc/$(cat /run/isolation/service/web.pid)/mountinfo").splitlines()
    for path in READ_ONLY:
        assert not os.path.exists(path) or any(line.startswith(path + " ro") for line in mounts), path
    assert world.sh("cat /opt/data/secret") == "text\nx", "nothing of it was written to"

    world.cycle("namespaced_service", **asked(runtime=runtime))
    assert seen(host)["/srv/b"] == [["file", "new"], "done"]


def test_what_is_not_there_is_warned_of_and_what_is_needed_is_refused(host: Host) -> None:
    host.rootfs("web")
    host.world.sh("mkdir -p /opt/data")
    made = host.world.cycle("namespaced_service", **asked(masked_paths=["/srv/nosuch", "/proc/nosuch"]))
    told = "service web: masked_paths: /srv/nosuch is not in the root filesystem"
    assert told in str(made["warnings"])
    assert "/proc/nosuch" not in str(made["warnings"])
    answer = host.world.refused("namespaced_service", **asked(masked_paths=["/usr/bin"]))
    assert answer.startswith(
        "service web: masked_paths: /usr/bin would hide the service's own program /usr/bin/python3"
    )
    answer = host.world.refused("namespaced_service", **asked(masked_paths=["/data"]))
    assert answer.startswith("service: web: masked_paths: /data would hide /data, which the service is given")
