# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Images come out as `umoci unpack` unpacks them, and what they hold runs."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import pathlib
import shutil
import stat
import subprocess
import tarfile
import typing as t

import pytest
from archives import CONFIG, MANIFEST, TAR, Entry, Layout, archive, entry, folder, hard, link, sha256
from registries import Registry
from world import REPOSITORY, World

CACHE = REPOSITORY / ".build" / "rootfs"
THEN = 1_600_000_000
CAPABILITY = "\x01\x00\x00\x02\x00 \x00\x00" + "\x00" * 12


@pytest.fixture(scope="session")
def debian() -> pathlib.Path:
    """A small Debian as a compressed tar archive. It takes most of a minute to make, so it is kept."""
    path = CACHE / "debian-bookworm-essential.tar.gz"
    if not path.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        plain = path.with_suffix(f".{os.getpid()}")
        subprocess.run(
            ["mmdebstrap", "-q", "--mode=root", "--variant=essential", "--format=tar", "bookworm", plain],
            check=True,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "SOURCE_DATE_EPOCH": str(THEN)},
        )
        packed = path.with_suffix(f".{os.getpid()}.gz")
        with plain.open("rb") as stream, gzip.open(packed, "wb", compresslevel=1) as to:
            shutil.copyfileobj(stream, to, 1 << 20)
        plain.unlink()
        packed.rename(path)
    return path


def dated(*entries: Entry) -> bytes:
    """An archive whose entries have times with fractions of a second."""
    for number, (info, _content) in enumerate(entries):
        info.mtime = info.mtime or THEN + number
        info.pax_headers = {"mtime": f"{info.mtime}.{number:03}456789", **info.pax_headers}
    return archive(*entries, form=tarfile.PAX_FORMAT)


def marked(made: Entry, **attributes: str) -> Entry:
    made[0].pax_headers = {f"SCHILY.xattr.{name.replace('__', '.')}": value for name, value in attributes.items()}
    return made


def application() -> list[bytes]:
    """Layers of an application for Debian: what is added, what is replaced, what is taken away."""
    return [
        dated(
            folder("opt"),
            marked(folder("opt/app", uid=1000, gid=1000), user__team="web"),
            entry(
                "opt/app/run",
                b"#!/bin/sh\necho release $(cat /opt/app/version) of $(. /etc/os-release; echo $ID)\n",
                mode=0o755,
            ),
            entry("opt/app/version", b"1\n", uid=1000, gid=100),
            marked(entry("opt/app/ping", b"ping", mode=0o755), security__capability=CAPABILITY, user__note="caps"),
            entry("opt/app/su", b"su", mode=0o4755),
            entry("opt/app/wall", b"wall", mode=0o2755, gid=5),
            entry("bin/through-merged-usr", b"x", mode=0o755),
            folder("lib/through-merged-usr"),
            entry("lib/through-merged-usr/file", b"x"),
            hard("opt/app/sh", "bin/dash"),
            hard("opt/app/cat", "usr/bin/cat"),
            link("opt/app/latest", "../app/version"),
            link("opt/app/absolute", "/etc/hostname"),
            folder("opt/app/data"),
            entry("opt/app/data/old", b"old"),
            folder("opt/app/cache"),
            entry("opt/app/cache/a", b"a"),
            folder("opt/app/cache/deep"),
            entry("opt/app/cache/deep/b", b"b"),
            folder("opt/app/becomes-file"),
            entry("opt/app/becomes-file/x", b"x"),
            entry("opt/app/becomes-directory", b"x"),
            link("opt/app/link-becomes-directory", "data"),
            folder("opt/app/replaced"),
            entry("opt/app/replaced/low", b"low"),
            entry("var/run/through-a-link", b"x"),
            entry("opt/app/long-" + "n" * 150, b"long"),
        ),
        dated(
            folder("opt/app", mode=0o750, uid=1001, gid=1000),
            entry("opt/app/version", b"2\n"),
            hard("opt/app/version-again", "opt/app/version"),
            entry("usr/share/.wh.doc", b""),
            folder("etc/apt"),
            entry("etc/apt/.wh..wh..opq", b""),
            entry("etc/apt/only", b"here"),
            folder("opt/app/cache"),
            entry("opt/app/cache/new", b"new"),
            entry("opt/app/cache/.wh..wh..opq", b""),
            entry("opt/app/data/.wh.old", b""),
            entry("opt/app/becomes-file", b"file"),
            folder("opt/app/becomes-directory"),
            entry("opt/app/becomes-directory/y", b"y"),
            folder("opt/app/link-becomes-directory"),
            entry("opt/app/link-becomes-directory/z", b"z"),
            entry("opt/app/.wh.replaced", b""),
            folder("opt/app/replaced"),
            entry("opt/app/replaced/high", b"high"),
            entry("opt/app/.wh.nothing", b""),
        ),
        dated(
            entry("opt/app/ping", b"other ping", mode=0o755),
            hard("opt/app/run-again", "opt/app/run"),
            entry("opt/app/cache/.wh.new", b""),
            entry("etc/.wh.motd", b""),
            entry("opt/app/.wh.wall", b""),
            entry("opt/app/wall", b"again", uid=7),
        ),
    ]


def tree(top: pathlib.Path) -> dict[str, tuple[t.Any, ...]]:
    """All of a tree: kind, mode, owner, time, content, links, extended attributes that are kept."""
    found: dict[str, tuple[t.Any, ...]] = {}
    linked: dict[tuple[int, int], list[str]] = {}
    for path in sorted(top.rglob("*")):
        status, name = path.lstat(), str(path.relative_to(top))
        content: object = None
        if stat.S_ISREG(status.st_mode):
            content = hashlib.sha256(path.read_bytes()).hexdigest()
            linked.setdefault((status.st_dev, status.st_ino), []).append(name)
        elif stat.S_ISLNK(status.st_mode):
            content = os.readlink(path)
        elif not stat.S_ISDIR(status.st_mode):
            content = status.st_rdev
        attributes = {
            key: os.getxattr(path, key, follow_symlinks=False)
            for key in os.listxattr(path, follow_symlinks=False)
            if (key.startswith("user.") and "rootlesscontainers" not in key) or key == "security.capability"
        }
        found[name] = (oct(status.st_mode), status.st_uid, status.st_gid, status.st_mtime_ns, content, attributes)
    for names in linked.values():
        for name in names:
            found[name] += (tuple(names),)
    return found


def compare(ours: pathlib.Path, theirs: pathlib.Path) -> int:
    """The trees are the same, but for devices, which we leave out. Returns how many entries there are."""
    mine, reference = tree(ours), tree(theirs)
    devices = {
        name
        for name, seen in reference.items()
        if stat.S_IFMT(int(seen[0], 8)) in (stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO)
    }
    assert all(name.startswith("dev/") for name in devices)
    reference = {name: seen for name, seen in reference.items() if name not in devices}
    differing = {
        name: (mine.get(name), reference.get(name))
        for name in {*mine, *reference}
        if mine.get(name) != reference.get(name)
    }
    assert differing == {}
    return len(mine)


def umoci_unpack(layout: pathlib.Path, reference: str, bundle: pathlib.Path) -> pathlib.Path:
    subprocess.run(
        ["umoci", "raw", "unpack", "--image", f"{layout}:{reference}", bundle], check=True, capture_output=True
    )
    return bundle


def inside(world: World, path: str) -> pathlib.Path:
    """A path of the world, seen from here."""
    return pathlib.Path(f"/proc/{world.pid}/root{path}")


def debian_layout(path: pathlib.Path, base: pathlib.Path) -> Layout:
    """Debian, and the application's layers on top of it."""
    layout, layers = Layout(path), application()
    packed = base.read_bytes()
    plain = hashlib.sha256()
    with gzip.open(base) as stream:
        while part := stream.read(1 << 20):
            plain.update(part)
    diff_ids = [f"sha256:{plain.hexdigest()}", *map(sha256, layers)]
    document = {
        "os": "linux",
        "architecture": "amd64",
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": layout.blob(json.dumps(document).encode(), CONFIG),
        "layers": [
            layout.blob(packed, f"{TAR}+gzip"),
            *(layout.blob(gzip.compress(layer), f"{TAR}+gzip") for layer in layers),
        ],
    }
    layout.add(layout.blob(json.dumps(manifest).encode(), MANIFEST), "app")
    return layout


def test_debian_with_an_application(world: World, debian: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """Pushed to a registry, pulled, unpacked as umoci unpacks it; and its programs run."""
    layout = debian_layout(tmp_path / "layout", debian)
    registry = Registry(world, tmp_path)
    registry.push(layout.path, "debian/app:2", "app")
    result = world.apply("rootfs_prepare", name="web", source=registry.source("debian/app:2"))["rootfs"]
    assert result["digest"] == layout.entries[0]["digest"]
    theirs = umoci_unpack(layout.path, "app", tmp_path / "umoci")
    assert compare(inside(world, f"{result['image']}/rootfs"), theirs) > 5000
    assert world.sh(f"chroot {result['path']} /opt/app/run") == "release 2 of debian\n"
    assert "bookworm" in world.sh(
        f"chroot {result['path']} /usr/bin/dpkg-query -W -f '${{Version}} bookworm' base-files"
    )
    shutil.rmtree(theirs)


def test_layers_that_umoci_made(world: World, tmp_path: pathlib.Path) -> None:
    """Three layers by changing a tree; ours, as OCI layout, as its archive, and as an archive of `docker save`."""
    image, bundle = tmp_path / "image", tmp_path / "bundle"
    edits = [
        "mkdir -p usr/bin etc/conf.d var/cache; ln -s usr/bin bin; echo 1 >etc/conf.d/a; echo 2 >etc/conf.d/b; cp /bin/true usr/bin/app;"
        " chmod 4755 usr/bin/app; ln etc/conf.d/a etc/a; echo c >var/cache/c; chown 7:8 var/cache",
        "rm -r etc/conf.d; mkdir etc/conf.d; echo 3 >etc/conf.d/c; rm var/cache/c; ln usr/bin/app usr/bin/again; rm etc/a; mkdir etc/a; echo x >etc/a/x",
        "rm -r etc/a; echo file >etc/a; rm -r var; ln -s usr var; echo y >usr/y; rm usr/bin/again",
    ]  # fmt: skip
    for command in (["init", "--layout", image], ["new", "--image", f"{image}:app"]):
        subprocess.run(["umoci", *command], check=True, capture_output=True)
    for edit in edits:
        subprocess.run(["umoci", "unpack", "--image", f"{image}:app", bundle], check=True, capture_output=True)
        subprocess.run(["sh", "-ec", edit], cwd=bundle / "rootfs", check=True)
        subprocess.run(["umoci", "repack", "--image", f"{image}:app", bundle], check=True, capture_output=True)
        shutil.rmtree(bundle)
    theirs = umoci_unpack(image, "app", tmp_path / "umoci")
    oci, saved = tmp_path / "oci.tar", tmp_path / "saved.tar.gz"
    subprocess.run(["tar", "-C", image, "-cf", oci, "."], check=True)
    plain = tmp_path / "saved.tar"
    subprocess.run(
        ["skopeo", "--insecure-policy", "copy", "-q", f"oci:{image}:app", f"docker-archive:{plain}:app:1"], check=True
    )
    saved.write_bytes(gzip.compress(plain.read_bytes()))
    manifest = json.loads((image / "index.json").read_text())["manifests"][0]["digest"]
    config = json.loads((image / "blobs" / manifest.replace(":", "/")).read_text())["config"]["digest"]
    for name, source, digest in (
        ("a", {"oci_layout": {"path": str(image)}}, manifest),
        ("b", {"oci_layout": {"path": str(oci), "reference": "app"}}, manifest),
        ("c", {"docker_archive": {"path": str(plain), "reference": "app:1"}}, config),
        ("d", {"docker_archive": {"path": str(saved)}}, config),
    ):
        result = world.apply("rootfs_prepare", name=name, source=source, prune_images=True)["rootfs"]
        assert result["digest"] == digest
        assert result["cached"] == (name in "bd")
        assert compare(inside(world, f"{result['image']}/rootfs"), theirs) == 10
        again = world.apply("rootfs_prepare", name=name, source=source)
        assert not again["changed"]
    shutil.rmtree(image)
    pinned = {"oci_layout": {"path": str(image), "reference": manifest}}
    assert world.apply("rootfs_prepare", name="a", source=pinned)["rootfs"]["cached"]
    plain.unlink()
    pinned = {"docker_archive": {"path": str(plain), "reference": config}}
    assert world.apply("rootfs_prepare", name="c", source=pinned)["rootfs"]["cached"]
