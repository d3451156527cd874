# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Older releases that are removed, and images whose content is compared with what was unpacked."""

from __future__ import annotations

import contextlib
import os
import pathlib
import subprocess
import typing as t

import pytest
from world import World, difference

INSTANCES = "/var/lib/isolation/instances"
IMAGES = "/var/lib/isolation/images"


@pytest.fixture
def source(tmp_path: pathlib.Path) -> dict[str, t.Any]:
    """A directory as a source."""
    (tmp_path / "root/etc").mkdir(parents=True)
    (tmp_path / "root/etc/motd").write_text("hello\n")
    (tmp_path / "root/etc/link").symlink_to("motd")
    (tmp_path / "root/data").write_bytes(os.urandom(10_000))
    return {"directory": {"path": str(tmp_path / "root")}}


@contextlib.contextmanager
def process_in(world: World, root: str) -> t.Iterator[None]:
    """A process that has a root filesystem as its root directory, in a mount namespace of its own."""
    script = (
        f"import os, signal; os.chroot({root!r}); os.chdir('/'); print(os.getpid(), flush=True); signal.sigwait([15])"
    )
    inside = world.popen(["unshare", "-m", world.python, "-c", script], stdout=subprocess.PIPE)
    assert inside.stdout is not None
    pid = inside.stdout.readline().strip()
    try:
        yield
    finally:
        world.sh(f"kill -9 {pid}")
        inside.wait()


def test_keep(world: World, source: dict[str, t.Any]) -> None:
    base: dict[str, t.Any] = {"source": source, "service": "web"}
    world.apply("rootfs_prepare", **base, aggregate=[{"name": f"web-{letter}"} for letter in "abcde"])
    world.apply("rootfs_prepare", name="api", source=source)
    world.sh("mkdir -p /etc/isolation/service")
    record = '{"format": 1, "name": "web-b", "project": "default", "spec": {"rootfs": "web-b", "service": "web"}, "assigned": {}}'
    world.sh(f"echo '{record}' > /etc/isolation/service/web-b.json")
    for number, letter in enumerate("edcba"):  # the oldest is e
        world.sh(f"touch -d '2030-01-01 00:00:0{number}' /etc/isolation/rootfs/web-{letter}.json")
    with process_in(world, f"{INSTANCES}/web-a/rootfs"):
        result = world.cycle("rootfs_prepare", **base, name="web-f", keep=1)
        assert "rootfs web-d: service web" in result["diff"][0]["before"]
        assert sorted(world.sh(f"ls {INSTANCES}").split()) == ["api", "web-a", "web-b", "web-c", "web-f"]
        assert sorted(world.sh("ls /etc/isolation/rootfs").split()) == [
            "api.json", "web-a.json", "web-b.json", "web-c.json", "web-f.json",
        ]  # fmt: skip
        assert world.sh(f"grep -c {INSTANCES} /proc/self/mountinfo") == "5\n"
    world.cycle("rootfs_prepare", **base, name="web-f", keep=0)
    assert sorted(world.sh(f"ls {INSTANCES}").split()) == ["api", "web-b", "web-f"], "a service names web-b"
    assert "not a number" in world.refused("rootfs_prepare", **base, name="web-f", keep=-1)
    other = world.module("rootfs_prepare", **base, name="web-g", keep=0, project="other")
    assert "project" in other["msg"], "the range of another project is not given to this one"


def test_a_damaged_image_is_unpacked_again(world: World, source: dict[str, t.Any]) -> None:
    wanted: dict[str, t.Any] = {"source": source, "name": "web", "verify": "full"}
    result = world.cycle("rootfs_prepare", **wanted)["rootfs"]
    world.apply("rootfs_prepare", source=source, name="api")
    world.sh(f"echo mine > {INSTANCES}/web/rootfs/mine; echo api > {INSTANCES}/api/rootfs/mine")
    image = result["image"]
    for damage, told in (
        (f"echo x > {image}/rootfs/etc/motd", "/etc/motd: other size, content, 1 entry"),
        (f"rm {image}/rootfs/data; touch {image}/rootfs/more", "/data: missing, 2 entries"),
        (f"rm {image}/manifest", "its manifest is missing"),
    ):
        world.sh(damage)
        if "/data" in told:
            assert not world.apply("rootfs_prepare", **{**wanted, "verify": "stat"})["changed"]
            with process_in(world, f"{INSTANCES}/api/rootfs"):
                message = world.refused("rootfs_prepare", **wanted)
                assert all(part in message for part in ("image damaged: /data", "uses it", "api, web"))
            world.sh(f"mkdir /tmp/m; mount -t overlay o -o lowerdir={image}/rootfs:/srv /tmp/m")
            assert "none of ours" in world.refused("rootfs_prepare", **wanted)
            world.sh("umount /tmp/m; rmdir /tmp/m")
        before = world.snapshot()
        mended = world.apply("rootfs_prepare", **wanted)
        assert f"image content: damaged: {told}" in mended["diff"][0]["before"]
        assert difference(before, world.snapshot()).keys() <= {"files", "mounts"}
        assert world.sh(f"cat {INSTANCES}/web/rootfs/mine {INSTANCES}/api/rootfs/mine") == "mine\napi\n"
        assert world.sh(f"cat {INSTANCES}/web/rootfs/etc/motd {INSTANCES}/api/rootfs/etc/motd") == "hello\nhello\n"
    assert not world.module("rootfs_prepare", check=True, **wanted)["changed"]


def test_a_damaged_image_whose_source_is_gone(world: World, source: dict[str, t.Any], tmp_path: pathlib.Path) -> None:
    path = str(tmp_path / "a.tar")
    subprocess.run(["tar", "-C", source["directory"]["path"], "-cf", path, "."], check=True)
    wanted: dict[str, t.Any] = {"source": {"tar": {"path": path}}, "name": "web"}
    result = world.apply("rootfs_prepare", **wanted)["rootfs"]
    wanted["source"]["tar"]["checksum"] = result["digest"]
    world.sh(f"echo x > {result['image']}/rootfs/data")
    os.unlink(path)
    assert not world.apply("rootfs_prepare", **wanted)["changed"]
    assert path in world.refused("rootfs_prepare", **wanted, verify="full")


def test_a_symlink_swap_leads_nowhere_else(world: World, source: dict[str, t.Any], tmp_path: pathlib.Path) -> None:
    """T6: somebody replaces a directory of the root by a link to the host's, again and again, while files are laid in."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "web.conf").write_text("canary")
    result = world.apply("rootfs_prepare", name="web", source=source)["rootfs"]
    upper = f"{INSTANCES}/web/layers/upper"
    script = f"""
import os
os.chdir({upper!r})
os.makedirs('conf', exist_ok=True)
os.symlink({str(outside)!r}, 'link')
print(os.getpid(), flush=True)
while True:
    for source, target in (('conf', 'away'), ('link', 'conf'), ('conf', 'link'), ('away', 'conf')):
        try: os.rename(source, target)
        except OSError: pass
"""
    racer = world.popen([world.python, "-c", script], stdout=subprocess.PIPE)
    assert racer.stdout is not None
    pid = racer.stdout.readline().strip()
    for number in range(4):
        names = ("web", *map(str, range(60)))
        files = [{"path": f"/conf/{name}.conf", "content": str(number)} for name in names]
        answer = world.module("rootfs_prepare", name="web", source=source, files=files)
        assert answer.get("failed", False) is False or "conf" in answer["msg"], answer
        assert sorted(path.name for path in outside.iterdir()) == ["web.conf"]
        assert (outside / "web.conf").read_text() == "canary"
        assert outside.stat().st_uid == (outside / "web.conf").stat().st_uid == 0
    world.sh(f"kill -9 {pid}")
    racer.wait()
    with process_in(world, result["path"]):
        files = [{"path": "/etc/other", "content": "x"}]
        assert "in use" in world.refused("rootfs_prepare", name="web", source=source, files=files)
