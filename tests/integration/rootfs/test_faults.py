# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""rootfs_prepare killed, out of room, out of descriptors, on a read-only /etc: nothing half is used, and the next run converges."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import subprocess
import sys
import typing as t

import pytest
from world import COLLECTIONS, World, difference, digest

INSTANCES = "/var/lib/isolation/instances"
IMAGES = "/var/lib/isolation/images"


@pytest.fixture
def source(tmp_path: pathlib.Path) -> pathlib.Path:
    """A root filesystem of 6 MB in 200 files."""
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    for number in range(200):
        (root / f"etc/{number}").write_bytes(os.urandom(30_000))
    return root


@pytest.fixture
def archive(source: pathlib.Path, tmp_path: pathlib.Path) -> str:
    path = str(tmp_path / "root.tar")
    subprocess.run(["tar", "-C", str(source), "-cf", path, "."], check=True)
    return path


@contextlib.contextmanager
def slow_server(world: World, path: str, seconds: float) -> t.Iterator[str]:
    """A URL in the world that gives a file in 20 parts, over so many seconds."""
    script = f"""
import http.server, time
data = open({path!r}, 'rb').read()
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header('Content-Length', str(len(data)))
        self.end_headers()
        step = len(data) // 20 + 1
        for start in range(0, len(data), step):
            self.wfile.write(data[start:start + step])
            time.sleep({seconds / 20})
    def log_message(self, *arguments): pass
server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
"""
    server = world.popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert server.stdout is not None
    port = int(server.stdout.readline())
    yield f"http://127.0.0.1:{port}/root.tar"


class Run:
    """A module that runs in the world, and is killed with all that it has started."""

    def __init__(self, world: World, **wanted: t.Any) -> None:
        self.world = world
        module = "ansible_collections.daemonless.isolation.plugins.modules.rootfs_prepare"
        self.process = world.popen(
            ["env", f"PYTHONPATH={World._ansible_path()}:{COLLECTIONS}", "setsid", "-w", "sh", "-c",
             f'echo $$; exec "{world.python}" -m {module}'],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({"ANSIBLE_MODULE_ARGS": {**wanted, "_ansible_remote_tmp": "/tmp"}}))
        self.process.stdin.close()
        self.group = int(self.process.stdout.readline())

    def kill(self) -> None:
        """Kill every process of its session, which is one process group."""
        self.world.run(["kill", "-s", "KILL", "--", f"-{self.group}"], check=False)
        self.process.wait()


def whole(world: World) -> None:
    """No image is there without its description and its list, and nothing is mounted on what is no mount point of ours."""
    script = f"""
import json, os, sys
for name in os.listdir({IMAGES!r}) if os.path.isdir({IMAGES!r}) else []:
    if not name.startswith('.'):
        found = json.load(open(f'{IMAGES}/{{name}}/image.json'))
        assert len(open(f'{IMAGES}/{{name}}/manifest').read().splitlines()) >= found['entries'], name
"""
    world.run([sys.executable, "-c", script])


def leftovers(world: World) -> list[str]:
    """What runs make aside, and mounts beside those of whole instances."""
    staged = world.sh(f"find {IMAGES} {INSTANCES} -maxdepth 2 -name '.staged*' 2>/dev/null || true").split()
    lines = world.sh("cat /proc/self/mountinfo").splitlines()
    mounts = [
        line
        for line in lines
        if "/var/lib/isolation/" in line and " /var/lib/isolation/instances/web/rootfs " not in line
    ]
    return staged + mounts


def settled(state: dict[str, t.Any]) -> dict[str, t.Any]:
    """Without the numbers that an overlay puts into its work directory, and whether it was made with a new layer (uuid)."""
    files = [line for line in state["files"] if "/layers/work/work/" not in line]
    return {**state, "files": files, "mounts": [line.replace(",uuid=on", "") for line in state["mounts"]]}


MOMENTS: dict[str, str] = {
    "fetch": f"[ -s {IMAGES}/.staged-*/archive ]",
    "unpack": f"ls {IMAGES}/.staged-*/image/rootfs/etc/9*",
    "description": f"ls {IMAGES}/.staged-*/image/manifest",
    "layers": f"ls -d {INSTANCES}/web/layers/upper",
    "mount": f"grep -q {INSTANCES}/web/rootfs /proc/self/mountinfo",
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_killed(world: World, archive: str, moment: str) -> None:
    with slow_server(world, archive, 0.5 if moment == "fetch" else 0) as url:
        before = world.snapshot()
        wanted: dict[str, t.Any] = {
            "name": "web",
            "source": {"tar": {"url": url, "checksum": digest(archive)}},
            "files": [{"path": "/etc/web.conf", "content": "here"}],
        }
        run = Run(world, **wanted)
        script = f"while ! {MOMENTS[moment]} >/dev/null 2>&1; do :; done"
        world.run(["timeout", "10", "sh", "-c", script], check=False)
        run.kill()
        whole(world)
        result = world.apply("rootfs_prepare", **wanted)["rootfs"]
        assert leftovers(world) == []
        whole(world)
        assert not world.apply("rootfs_prepare", **wanted, verify="full")["changed"]
        assert world.sh(f"cat {result['path']}/etc/web.conf") == "here"
        assert world.sh("ls /etc/isolation/id_range /etc/isolation/rootfs").split() == [
            "/etc/isolation/id_range:", "web.json", "/etc/isolation/rootfs:", "web.json",
        ]  # fmt: skip
        world.apply("rootfs_prepare", name="web", state="absent", prune_images=True)
        assert difference(before, world.snapshot()) == {}


def test_killed_and_given_up(world: World, archive: str) -> None:
    """What nobody asks for any more is collected by whoever prunes: its claim, its ids, what it had made aside."""
    wanted: dict[str, t.Any] = {"source": {"tar": {"path": archive}}}
    world.apply("rootfs_prepare", name="other", **wanted)
    before = world.snapshot()
    with slow_server(world, archive, 100) as url:
        run = Run(world, name="web", source={"tar": {"url": url, "checksum": "sha256:" + "0" * 64}})
        world.wait(lambda: "archive" in world.sh(f"ls {IMAGES}/.staged-* 2>/dev/null || true"))
        assert not world.module("rootfs_prepare", check=True, name="other", **wanted)["changed"], "it is still at work"
        run.kill()
    world.sh("echo '{\"format\": 1, \"name\": \"gone\", \"project\": \"default\", \"spec\": {}, \"assigned\": {\"id_base\": 99942400}}'"
             " > /etc/isolation/id_range/gone.json")  # fmt: skip
    assert leftovers(world) != []
    result = world.cycle("rootfs_prepare", name="other", **wanted, prune_images=True)
    lines = result["diff"][0]["before"]
    assert "leftovers of killed runs: " in lines
    assert "rootfs web: service web" in lines
    assert "ids of service gone: 99942400" in lines
    assert difference(before, world.snapshot()) == {}


@pytest.mark.parametrize("moment", ["fetch", "unpack", "files", "replace"])
def test_a_full_disk(world: World, archive: str, source: pathlib.Path, tmp_path: pathlib.Path, moment: str) -> None:
    disk = str(tmp_path / "disk")
    subprocess.run(["truncate", "-s", "40M", disk], check=True)
    subprocess.run(["mkfs.ext4", "-q", "-O", "^has_journal", "-m", "0", disk], check=True)
    world.sh(f"mount -o loop {disk} /var/lib/isolation && rmdir /var/lib/isolation/lost+found")
    (source / "etc/0").write_bytes(b"other")
    old: dict[str, t.Any] = {"name": "old", "source": {"directory": {"path": str(source)}}}
    world.apply("rootfs_prepare", **old, files=[{"path": "/etc/mine", "content": "mine"}])
    world.sh(f"echo here > {INSTANCES}/old/rootfs/etc/own")
    wanted: dict[str, t.Any] = {"name": "web", "source": {"tar": {"path": archive, "checksum": digest(archive)}}}
    room = {"fetch": 3, "unpack": 3, "files": 1, "replace": 1}[moment]
    if moment in ("files", "replace"):  # the image is there; what is laid in does not fit
        world.apply("rootfs_prepare", name="api", source=wanted["source"])
        wanted["files"] = [{"path": "/big", "content": "x" * 3_000_000}]
    if moment == "replace":
        wanted["name"] = "old"
    with slow_server(world, archive, 0) as url:
        if moment == "fetch":
            wanted["source"]["tar"] = {"url": url, "checksum": digest(archive)}
        world.sh(
            f"dd if=/dev/zero of=/var/lib/isolation/filler bs=1M 2>/dev/null || true; truncate -s -{room}M /var/lib/isolation/filler"
        )
        before = world.snapshot()
        answer = world.module("rootfs_prepare", **wanted)
        assert answer.get("failed")
        assert "No space left on device" in answer["msg"]
        assert difference(settled(before), settled(world.snapshot())) == {}
        assert world.sh(f"cat {INSTANCES}/old/rootfs/etc/mine {INSTANCES}/old/rootfs/etc/own") == "minehere\n"
        world.sh("rm /var/lib/isolation/filler")
        world.apply("rootfs_prepare", **wanted)
        assert not world.apply("rootfs_prepare", **wanted)["changed"]
    every = [{"name": name} for name in ("old", "web", "api")]
    world.apply("rootfs_prepare", state="absent", prune_images=True, aggregate=every)
    assert world.sh("ls -A /var/lib/isolation") == ""


@pytest.mark.parametrize("fault", ["etc", "records", "descriptors"])
def test_nothing_is_taken_down_that_could_not_be_recorded(world: World, archive: str, fault: str) -> None:
    wanted: dict[str, t.Any] = {"name": "web", "source": {"tar": {"path": archive, "checksum": digest(archive)}}}
    world.apply("rootfs_prepare", **wanted)
    world.sh(f"echo mine > {INSTANCES}/web/rootfs/mine")
    python, before = world.python, world.snapshot()
    if fault == "descriptors":
        limited = pathlib.Path(archive).with_name("python")
        limited.write_text(f'#!/bin/sh\nulimit -n 5\nexec {python} "$@"\n')
        limited.chmod(0o755)
        world.python = str(limited)
    else:
        world.sh("mount -t tmpfs -o size=4k full /etc/isolation/id_range" if fault == "records" else "true")
        world.sh("mount --bind /etc/isolation /etc/isolation; mount -o remount,bind,ro /etc/isolation")
    answer = world.module("rootfs_prepare", **{**wanted, "files": [{"path": "/new", "content": "x"}]})
    assert answer.get("failed"), answer
    assert {"descriptors": "Too many open files"}.get(fault, "Read-only file system") in answer["msg"]
    if fault != "descriptors":
        new = world.module("rootfs_prepare", **{**wanted, "name": "new"})
        assert "Read-only file system" in new["msg"]
        world.sh("umount /etc/isolation; umount /etc/isolation/id_range || true")
    world.python = python
    assert difference(before, world.snapshot()) == {}
    assert world.sh(f"cat {INSTANCES}/web/rootfs/mine") == "mine\n"
