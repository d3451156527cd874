# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""rootfs_prepare on the real kernel: what it mounts, shares, refuses, and takes back."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import random
import signal
import subprocess
import time
import typing as t

import pytest
from world import COLLECTIONS, World, difference, digest

INSTANCES = "/var/lib/isolation/instances"
IMAGES = "/var/lib/isolation/images"
HELPER = "/usr/local/libexec/isolation/rootfs"


@pytest.fixture
def source(tmp_path: pathlib.Path) -> pathlib.Path:
    """A small root filesystem with what images have: links, owners, a set-user-ID file, a link in place of /dev."""
    root = tmp_path / "source"
    for name in ("usr/bin", "etc", "tmp", "srv"):
        (root / name).mkdir(parents=True)
    (root / "bin").symlink_to("usr/bin")
    (root / "dev").symlink_to("/srv")
    (root / "etc/resolv.conf").symlink_to("/run/resolv.conf")
    (root / "etc/passwd").write_text("root:x:0:0::/:/bin/sh\n")
    (root / "srv/data").write_text("data")
    os.chown(root / "srv/data", 7, 8)
    (root / "usr/bin/su").write_text("#!")
    (root / "usr/bin/su").chmod(0o4755)
    return root


@pytest.fixture
def archive(source: pathlib.Path, tmp_path: pathlib.Path) -> str:
    path = str(tmp_path / "root.tar.gz")
    subprocess.run(["tar", "-C", str(source), "-czf", path, "."], check=True)
    return path


def tar(path: str, **options: t.Any) -> dict[str, t.Any]:
    return {"tar": {"path": path, **options}}


def owner(world: World, path: str) -> tuple[int, int]:
    uid, gid = world.sh(f"stat -c '%u %g' {path}").split()
    return int(uid), int(gid)


def mounts(world: World) -> list[str]:
    return [
        line
        for line in world.sh("cat /proc/self/mountinfo").splitlines()
        if f"{INSTANCES}/" in line or f"{IMAGES}/" in line
    ]


def without_images(state: dict[str, t.Any]) -> dict[str, t.Any]:
    return {**state, "files": [line for line in state["files"] if not line.startswith(IMAGES)]}


def test_from_nothing_to_nothing(world: World, archive: str) -> None:
    before = world.snapshot()
    result = world.cycle("rootfs_prepare", name="web", source=tar(archive, checksum=digest(archive)))["rootfs"]
    root, base = result["path"], result["id_base"]
    assert root == f"{INSTANCES}/web/rootfs"
    assert result["digest"] == digest(archive)
    assert not result["cached"]
    assert owner(world, root) == (base, base)
    assert owner(world, f"{root}/srv/data") == (base + 7, base + 8)
    assert owner(world, f"{result['image']}/rootfs/srv/data") == (7, 8)
    (mount,) = mounts(world)
    assert {"rw", "nosuid", "nodev"} <= set(mount.split()[5].split(","))
    assert world.sh(f"stat -c %F {root}/dev {root}/proc {root}/etc/resolv.conf {root}/bin").split("\n")[:4] == [
        "directory",
        "directory",
        "regular empty file",
        "symbolic link",
    ]

    gone = world.cycle("rootfs_prepare", name="web", state="absent")
    assert gone["rootfs"] == {"name": "web", "state": "absent"}
    assert difference(before, without_images(world.snapshot())) == {}
    again = world.cycle("rootfs_prepare", name="web", source=tar(archive))["rootfs"]
    assert again["cached"]
    assert again["id_base"] == base
    pruned = world.cycle("rootfs_prepare", name="web", state="absent", prune_images=True)
    assert f"images {digest(archive)}" in pruned["diff"][0]["before"]
    assert difference(before, world.snapshot()) == {}


def test_the_service_writes_and_others_do_not(world: World, archive: str) -> None:
    result = world.apply("rootfs_prepare", name="web", source=tar(archive))["rootfs"]
    root, base = result["path"], result["id_base"]
    user = f"setpriv --reuid {base} --regid {base} --clear-groups"
    world.sh(
        f"{user} sh -c 'echo new > {root}/etc/new; echo more >> {root}/etc/passwd; mv {root}/srv {root}/moved; rm {root}/bin/su'"
    )
    assert owner(world, f"{root}/etc/new") == (base, base)
    assert (
        world.sh(f"cat {result['image']}/rootfs/etc/passwd {result['image']}/rootfs/srv/data")
        == "root:x:0:0::/:/bin/sh\ndata"
    )
    for reader in (f"setpriv --reuid {base + 65536} --regid {base + 65536} --clear-groups", user):
        assert world.run(["sh", "-c", f"{reader} ls {INSTANCES}/web/layers {IMAGES}"], check=False).returncode != 0
    assert not world.apply("rootfs_prepare", name="web", source=tar(archive))["changed"]


def test_two_services_share_an_image_and_nothing_else(world: World, archive: str) -> None:
    result = world.cycle(
        "rootfs_prepare", source=tar(archive), aggregate=[{"name": "a"}, {"name": "b"}, {"name": "b-2", "service": "b"}]
    )
    a, b, b2 = (entry["rootfs"] for entry in result["results"])
    assert a["image"] == b["image"] == b2["image"]
    assert abs(a["id_base"] - b["id_base"]) >= 65536
    assert b["id_base"] == b2["id_base"]
    assert world.sh(f"ls {IMAGES}").split() == [digest(archive).replace(":", "-")]
    world.sh(f"echo x > {a['path']}/only-a")
    assert world.run(["ls", f"{b['path']}/only-a"], check=False).returncode != 0
    world.cycle("rootfs_prepare", name="b", state="absent")
    assert world.sh("ls /etc/isolation/id_range").split() == ["a.json", "b.json"]
    world.cycle("rootfs_prepare", state="absent", aggregate=[{"name": "b-2"}, {"name": "a"}])
    assert world.run(["ls", "/etc/isolation", HELPER], check=False).stdout == ""


@pytest.mark.parametrize(("mode", "size"), [("read_only", None), ("ephemeral", "1M"), ("overlay", None)])
def test_modes(world: World, archive: str, mode: str, size: str | None) -> None:
    files: list[dict[str, t.Any]] = [{"path": "/etc/web.conf", "content": "here"}]
    result = world.cycle("rootfs_prepare", name="web", source=tar(archive), mode=mode, size=size, files=files)["rootfs"]
    root = result["path"]
    assert world.sh(f"cat {root}/etc/web.conf") == "here"
    assert owner(world, f"{root}/srv/data") == (result["id_base"] + 7, result["id_base"] + 8)
    done = world.run(["dd", "if=/dev/zero", f"of={root}/big", "bs=64k", "count=64"], check=False)
    assert {"read_only": "Read-only", "ephemeral": "No space left", "overlay": ""}[mode] in done.stderr
    assert (done.returncode == 0) == (mode == "overlay")
    world.cycle("rootfs_prepare", name="web", source=tar(archive), mode="ephemeral", size="128K", files=files)
    assert int(world.sh(f"stat -fc '%b * %S' {root} | xargs expr")) == 128 << 10
    assert world.run(["ls", f"{root}/big"], check=False).returncode == (0 if mode == "overlay" else 2)


def test_after_a_reboot(world: World, archive: str) -> None:
    wanted: dict[str, t.Any] = {
        "name": "web",
        "source": tar(archive),
        "mode": "ephemeral",
        "files": [{"path": "/etc/web.conf", "content": "here"}],
    }
    result = world.apply("rootfs_prepare", **wanted)["rootfs"]
    root = result["path"]
    up = world.snapshot()
    world.sh(f"umount {root}")
    assert world.module("rootfs_prepare", check=True, **wanted)["diff"][0]["before"] == "mounted: no\n"
    for _twice in range(2):
        world.run([HELPER, "mount", "web"])
        assert difference(up, world.snapshot()) == {}
    assert owner(world, f"{root}/srv/data") == (result["id_base"] + 7, result["id_base"] + 8)
    assert not world.apply("rootfs_prepare", **wanted)["changed"]
    for _twice in range(2):
        world.run([HELPER, "umount", "web"])
        assert mounts(world) == []
    failed = world.run([HELPER, "mount", "other"], check=False)
    assert failed.returncode == 1
    assert "no usable record" in failed.stderr
    assert world.run([HELPER, "mount", "../web"], check=False).returncode == 2


@pytest.mark.parametrize(
    "damage",
    [
        "umount {root}",
        "mount -t tmpfs over {root}",
        "mount -o remount,ro {root}",
        "umount {root}; mount -t overlay o -o lowerdir={image}/rootfs,upperdir={layers}/upper,workdir={layers}/work,nosuid,nodev {root}",
        "umount {root}; rm -r {image}",
        "rm {helper}",
        "echo other > {root}/etc/web.conf",
        "chown 0:0 {root}/etc/web.conf",
        "ln -sf /etc/shadow {root}/etc/web.conf",
    ],
)
def test_what_was_changed_by_hand_is_mended(world: World, archive: str, damage: str) -> None:
    wanted: dict[str, t.Any] = {
        "name": "web",
        "source": tar(archive),
        "files": [{"path": "/etc/web.conf", "content": "here"}],
    }
    result = world.apply("rootfs_prepare", **wanted)["rootfs"]
    names = {"root": result["path"], "image": result["image"], "layers": f"{INSTANCES}/web/layers", "helper": HELPER}
    world.sh(damage.format(**names))
    assert world.cycle("rootfs_prepare", **wanted)["changed"]
    assert world.sh(f"cat {result['path']}/etc/web.conf") == "here"
    assert len(mounts(world)) == 1


def test_files(world: World, archive: str) -> None:
    base: dict[str, t.Any] = {"name": "web", "source": tar(archive)}
    files: list[dict[str, t.Any]] = [
        {"path": "/bin/tool", "content": "one\n", "mode": "0755"},
        {"path": "/etc/passwd", "content": "ours\n", "owner": 3, "group": 4},
        {"path": "/opt/deep/er", "state": "directory", "owner": 1000, "mode": "0700"},
        {"path": "/dev2/secret", "content": "canary-5309", "sensitive": True},
    ]
    first = world.cycle("rootfs_prepare", **base, files=files)
    assert "canary-5309" not in json.dumps([first["diff"], first["results"]])
    root, low = first["rootfs"]["path"], first["rootfs"]["id_base"]
    assert world.sh(f"cat {root}/usr/bin/tool {root}/etc/passwd") == "one\nours\n"
    assert owner(world, f"{root}/etc/passwd") == (low + 3, low + 4)
    assert owner(world, f"{root}/opt/deep/er") == (low + 1000, low)
    files[0]["content"] = "two\n"
    second = world.cycle("rootfs_prepare", **base, files=files[:1])
    assert world.sh(f"cat {root}/usr/bin/tool {root}/etc/passwd") == "two\nroot:x:0:0::/:/bin/sh\n"
    assert world.run(["ls", f"{root}/dev2/secret"], check=False).returncode != 0
    assert "files /etc/passwd: sha256:" in second["diff"][0]["before"]
    assert "canary-5309" not in world.sh("cat /etc/isolation/rootfs/web.json")


def test_links_in_the_root_lead_nowhere_else(world: World, archive: str, tmp_path: pathlib.Path) -> None:
    """A service that has replaced directories of its own by links does not send our files elsewhere."""
    result = world.apply("rootfs_prepare", name="web", source=tar(archive))["rootfs"]
    outside = tmp_path / "outside"
    outside.mkdir()
    world.sh(
        f"cd {result['path']}; ln -s {outside} trap; ln -s ../../../../../../../../..{outside} trap2; ln -s {outside} etc/a.conf"
    )
    files: list[dict[str, t.Any]] = [{"path": path, "content": "x"} for path in ("/trap2/b", "/etc/a.conf")]
    message = world.module("rootfs_prepare", name="web", source=tar(archive), files=files)
    assert "trap2" in message["msg"]
    world.apply("rootfs_prepare", name="web", source=tar(archive), files=files[1:])
    assert list(outside.iterdir()) == []
    assert world.sh(f"cat {result['path']}/etc/a.conf") == "x"


def test_in_use(world: World, archive: str) -> None:
    wanted: dict[str, t.Any] = {
        "name": "web",
        "source": tar(archive),
        "files": [{"path": "/etc/web.conf", "content": "here"}],
    }
    result = world.apply("rootfs_prepare", **wanted)["rootfs"]
    script = f"import os, time; os.chroot('{result['path']}'); os.chdir('/'); print('in', flush=True); time.sleep(600)"
    inside = world.popen(["unshare", "-m", world.python, "-c", script], stdout=subprocess.PIPE)
    assert inside.stdout is not None
    assert inside.stdout.readline() == "in\n"
    world.sh(f"echo mine > {result['path']}/etc/web.conf")
    assert not world.apply("rootfs_prepare", **wanted)["changed"]
    changes: tuple[dict[str, t.Any], ...] = ({"files": []}, {"mode": "read_only"}, {"state": "absent"})
    for change in changes:
        message = world.refused("rootfs_prepare", **{**wanted, **change})
        assert "stop the service web" in message
        assert "python" in message
    world.sh(f"umount {result['path']}")
    assert "in use" in world.refused("rootfs_prepare", name="web", state="absent")
    world.apply("rootfs_prepare", name="web", state="absent", force=True, prune_images=True)
    assert mounts(world) == []
    assert os.path.basename(result["image"]) in world.sh(f"ls {IMAGES}"), "its layers are still in use"
    world.sh(f"pkill -f '^{world.python} -c import os, time; os.chroot' || true")
    inside.wait()
    world.wait(lambda: world.apply("rootfs_prepare", name="web", state="absent", prune_images=True)["changed"])
    assert world.run(["ls", IMAGES], check=False).stdout == ""


def test_directory(world: World, source: pathlib.Path) -> None:
    wanted: dict[str, t.Any] = {"name": "web", "source": {"directory": {"path": str(source)}}}
    first = world.cycle("rootfs_prepare", **wanted)["rootfs"]
    world.sh(f"echo mine > {first['path']}/mine")
    (source / "etc/more").write_text("more")
    changed = world.cycle("rootfs_prepare", **wanted)
    second = changed["rootfs"]
    assert second["digest"] != first["digest"]
    assert f"image: {first['digest']}" in changed["diff"][0]["before"]
    assert world.sh(f"cat {second['path']}/etc/more") == "more"
    assert world.run(["ls", f"{second['path']}/mine"], check=False).returncode != 0
    wanted["source"]["directory"]["revision"] = "2"
    third = world.cycle("rootfs_prepare", **wanted, prune_images=True)["rootfs"]
    assert world.sh(f"ls {IMAGES}").split() == [third["digest"].replace(":", "-")]


def test_a_url(world: World, archive: str) -> None:
    world.popen(
        [world.python, "-m", "http.server", "-b", "127.0.0.1", "-d", os.path.dirname(archive), "8000"],
        stderr=subprocess.DEVNULL,
    )
    world.wait(lambda: world.run(["sh", "-c", "ss -ltn | grep -q :8000"], check=False).returncode == 0)
    url = "http://127.0.0.1:8000/root.tar.gz"
    wrong = "sha256:" + "0" * 64
    before = world.snapshot()
    answer = world.module("rootfs_prepare", name="web", source={"tar": {"url": url, "checksum": wrong}})
    assert all(part in answer["msg"] for part in (url, wrong, digest(archive)))
    assert difference(before, world.snapshot()) == {}, "a failed fetch keeps no claim"
    answer = world.module("rootfs_prepare", name="web", source={"tar": {"url": url + "x", "checksum": wrong}})
    assert "404" in answer["msg"]
    assert difference(before, world.snapshot()) == {}
    result = world.cycle("rootfs_prepare", name="web", source={"tar": {"url": url, "checksum": digest(archive)}})[
        "rootfs"
    ]
    assert result["fetched"] == os.path.getsize(archive)


def test_bad_input(world: World, archive: str, tmp_path: pathlib.Path) -> None:
    wrong = "sha256:" + "0" * 64
    message = world.refused("rootfs_prepare", name="web", source=tar(archive, checksum=wrong))
    assert all(part in message for part in (archive, wrong, digest(archive)))
    assert "No such file" in world.refused("rootfs_prepare", name="web", source=tar("/nowhere.tar"))
    assert "not a directory" in world.refused("rootfs_prepare", name="web", source={"directory": {"path": archive}})
    assert "source" in world.refused("rootfs_prepare", name="web")
    assert "exactly one" in world.refused("rootfs_prepare", name="web", source={})
    world.sh("mkdir -p /var/lib/isolation/instances/mine/rootfs")
    assert "no record" in world.refused("rootfs_prepare", name="mine", source=tar(archive))
    world.apply("rootfs_prepare", name="web", source=tar(archive))
    assert "project" in world.refused("rootfs_prepare", name="web", source=tar(archive), project="other")
    assert "project" in world.refused("rootfs_prepare", name="web", state="absent", project="other")
    assert "has the range" in world.refused("rootfs_prepare", name="web", source=tar(archive), id_base=1 << 20)


@pytest.mark.parametrize("kind", ["cut off", "not an archive", "link out", "device", "too large", "too many"])
def test_a_broken_archive_leaves_nothing(world: World, archive: str, tmp_path: pathlib.Path, kind: str) -> None:
    bad = str(tmp_path / "bad.tar")
    options: dict[str, t.Any] = {}
    if kind == "cut off":
        pathlib.Path(bad).write_bytes(pathlib.Path(archive).read_bytes()[:-100])
    elif kind == "not an archive":
        pathlib.Path(bad).write_text("no archive" * 1000)
    elif kind in ("link out", "device"):
        (tmp_path / "evil").mkdir()
        os.mkfifo(tmp_path / "evil/pipe")
        (tmp_path / "evil/link").symlink_to(tmp_path)
        names = ["pipe"] if kind == "device" else ["link", "--transform", "s,^,link/../,"]
        subprocess.run(["tar", "-C", str(tmp_path / "evil"), "-Pcf", bad, *names], check=True)
    else:
        bad = archive
        options = {"max_size": "3"} if kind == "too large" else {"max_entries": 3}
    before = world.snapshot()
    answer = world.module("rootfs_prepare", name="web", source=tar(bad), **options)
    assert answer.get("failed")
    assert bad in answer["msg"]
    assert ("entry" in answer["msg"]) == (kind != "not an archive")
    assert difference(before, world.snapshot()) == {}
    result = world.cycle("rootfs_prepare", name="web", source=tar(archive))
    assert result["changed"]


def test_a_full_disk_leaves_nothing(world: World, source: pathlib.Path) -> None:
    world.sh(f"mkdir -p {IMAGES} && mount -t tmpfs -o size=2m,mode=700 tmpfs {IMAGES}")
    (source / "big").write_bytes(bytes(5 << 20))
    answer = world.module("rootfs_prepare", name="web", source={"directory": {"path": str(source)}})
    assert "No space left" in answer["msg"]
    assert world.sh(f"ls -A {IMAGES}") == ""
    (source / "big").write_bytes(b"")
    assert world.cycle("rootfs_prepare", name="web", source={"directory": {"path": str(source)}})["changed"]


def test_on_the_file_system_of_this_machine(world: World, archive: str, tmp_path: pathlib.Path) -> None:
    """The world's store is a tmpfs; a host's is a disk."""
    store = tmp_path / "store"
    store.mkdir()
    world.sh(f"mount --bind {store} /var/lib/isolation")
    result = world.cycle("rootfs_prepare", name="web", source=tar(archive))["rootfs"]
    assert owner(world, f"{result['path']}/srv/data") == (result["id_base"] + 7, result["id_base"] + 8)
    base = result["id_base"]
    world.sh(f"setpriv --reuid {base} --regid {base} --clear-groups sh -c 'echo x >> {result['path']}/etc/passwd'")
    world.cycle("rootfs_prepare", name="web", state="absent", prune_images=True)
    assert list(store.iterdir()) == []


def test_killed_anywhere(world: World, source: pathlib.Path) -> None:
    """Whatever a killed run leaves, the next one comes to the same end."""
    (source / "big").write_bytes(os.urandom(8 << 20))
    for number in range(300):
        (source / f"srv/{number}").write_text(str(number))
    wanted: dict[str, t.Any] = {
        "name": "web",
        "source": {"directory": {"path": str(source)}},
        "files": [{"path": "/etc/web.conf", "content": "here"}],
    }
    clean = world.apply("rootfs_prepare", **wanted)["rootfs"]
    expected = world.snapshot()
    chance = random.Random(4)
    arguments = json.dumps({"ANSIBLE_MODULE_ARGS": {**wanted, "_ansible_remote_tmp": "/tmp"}})
    for _round in range(4):
        world.apply("rootfs_prepare", name="web", state="absent", prune_images=True)
        process = world.popen(
            ["env", f"PYTHONPATH={World._ansible_path()}:{COLLECTIONS}", world.python, "-m",
             "ansible_collections.daemonless.isolation.plugins.modules.rootfs_prepare"],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        assert process.stdin is not None
        process.stdin.write(arguments)
        process.stdin.close()
        time.sleep(0.25 + chance.random() * 0.4)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert world.apply("rootfs_prepare", **wanted)["rootfs"]["digest"] == clean["digest"]
        assert difference(settled(expected), settled(world.snapshot())) == {}


def settled(state: dict[str, t.Any]) -> dict[str, t.Any]:
    """Without what an overlay keeps in its work directory, whose names are numbers, and whether it was first made with a new layer (uuid)."""
    files = [line for line in state["files"] if "/layers/work/work/" not in line]
    return {**state, "files": files, "mounts": [line.replace(",uuid=on", "") for line in state["mounts"]]}


def test_debian(monkeypatch: pytest.MonkeyPatch) -> None:
    """A real release, through the same path; the network is this machine's, all else the world's."""
    with World(compiled=False) as world:  # whose modules are started by its argv
        _debian(world, monkeypatch)


def _debian(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    inside = world.argv
    monkeypatch.setattr(
        world, "argv", lambda command, ns="host": [part for part in inside(command, ns) if part != "-n"]
    )
    wanted: dict[str, t.Any] = {
        "name": "deb",
        "source": {"debian": {"suite": "bookworm", "include": ["python3-minimal"]}},
    }
    result = world.apply("rootfs_prepare", **wanted)["rootfs"]
    root, base = result["path"], result["id_base"]
    assert not result["cached"]
    assert result["fetched"] > result["size"] > 50 << 20
    assert not world.apply("rootfs_prepare", **wanted)["changed"]
    run = f"setpriv --reuid {base} --regid {base} --clear-groups"
    assert world.sh(f"chroot {root} /usr/bin/python3 -c 'print(6 * 7)'") == "42\n"
    assert world.sh(f"chroot {root} dpkg --verify") == ""
    assert world.run(["sh", "-c", f"{run} ls {root}/root"]).returncode == 0
    assert world.sh(f"find {root}/var/cache/apt {root}/var/lib/apt/lists -type f -size +0") == ""
    assert owner(world, f"{root}/etc/shadow") == (base, base + 42)
    assert world.sh(f"stat -c %a {root}/usr/bin/passwd") == "4755\n"
    assert world.sh(f"find {root} -xdev -type b -o -type c -o -type p") == ""
