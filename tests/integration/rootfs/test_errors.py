# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Images that can't be had: the error tells what to do, and nothing is left of the attempt."""

from __future__ import annotations

import json
import os
import pathlib
import re
import typing as t

import pytest
from archives import TAR, Layout, archive, entry, folder, link, sha256
from registries import Registry
from world import World, difference

NOWHERE = "sha256:" + "0" * 64


@pytest.fixture(autouse=True)
def unchanged(world: World) -> t.Iterator[None]:
    """What all the attempts of a test leave of the host: as it was before."""
    before = world.snapshot()
    yield
    assert difference(before, world.snapshot()) == {}


def attempt(world: World, message: str, source: dict[str, t.Any], late: bool = False) -> str:
    """An attempt that fails: in check mode too, unless it is `late`, for it takes more than looking. Returns the message."""
    for check in [False] if late else [True, False]:
        result = world.module("rootfs_prepare", check=check, name="web", source=source)
        assert result.get("failed"), result
        assert re.search(message, result["msg"]), result["msg"]
    assert world.sh("find /var/lib/isolation -mindepth 2") == ""
    return str(result["msg"])


def content(layout: Layout) -> tuple[str, str]:
    """The digests of the one image's manifest and of its last layer."""
    digest = layout.entries[0]["digest"]
    return digest, json.loads(layout.file(digest).read_bytes())["layers"][-1]["digest"]


@pytest.fixture
def layout(tmp_path: pathlib.Path) -> Layout:
    made = Layout(tmp_path / "layout")
    made.image(archive(folder("etc"), entry("etc/a")), archive(entry("b", os.urandom(100_000))), name="app")
    return made


def of(layout: Layout, reference: str | None = None) -> dict[str, t.Any]:
    given = {"path": str(layout.path), **({"reference": reference} if reference else {})}
    return {"oci_layout": given}


def test_layouts(world: World, layout: Layout, tmp_path: pathlib.Path) -> None:
    """What only unpacking finds out fails then; the rest in check mode."""
    label = f"source.oci_layout: {layout.path}"
    attempt(world, f"{label}: no image 'other': there are app", of(layout, "other"))
    attempt(world, f"{label}: no image '{NOWHERE}': there are app", of(layout, NOWHERE))
    _manifest, layer = content(layout)
    whole = layout.file(layer).read_bytes()
    layout.file(layer).write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    attempt(
        world, f"{label}: layer 2 of 2, {layer}: damaged or cut off.*copy the image here again", of(layout), late=True
    )
    layout.file(layer).write_bytes(whole[:5000])
    attempt(
        world, f"cut off: expected {layer} of {len(whole)} bytes, found a file of 5000 bytes", of(layout), late=True
    )
    layout.file(layer).unlink()
    attempt(world, f"{layer.replace(':', '/')}: No such file.*copy the image here as a whole", of(layout), late=True)
    (layout.path / "oci-layout").unlink()
    attempt(world, "oci-layout: No such file", of(layout))


def test_what_no_host_can_run(world: World, tmp_path: pathlib.Path) -> None:
    layout = Layout(tmp_path / "other")
    layout.image(archive(entry("a")), architecture="arm64", variant="v8", name="arm")
    layout.image(archive(entry("b")), kind=f"{TAR}+lz4", name="lz4")
    layout.add(
        layout.index(
            ("arm64", layout.manifest(archive(entry("a")), architecture="arm64")), ("s390x", layout.entries[0])
        ),
        "many",
    )
    attempt(world, "the image is for linux/arm64/v8, but this host is linux/amd64", of(layout, "arm"))
    attempt(world, "no image for linux/amd64.*there are linux/arm64, linux/s390x", of(layout, "many"))
    attempt(world, "unknown media type.*lz4.*known are", of(layout, "lz4"))
    attempt(world, "which image is meant. give reference: there are arm .*lz4 .*many", of(layout))


def test_archives(world: World, layout: Layout, tmp_path: pathlib.Path) -> None:
    """Archives of layouts and of docker save that are cut off, or something else."""
    whole = tmp_path / "oci.tar"
    world.sh(f"tar -C {layout.path} -cf {whole} .")
    whole.write_bytes(whole.read_bytes()[:-80_000])
    attempt(world, f"source.oci_layout: {whole}: .*cut off", {"oci_layout": {"path": str(whole)}})
    attempt(world, "No such file.*copy the archive to this host first", {"docker_archive": {"path": "/nowhere.tar"}})
    plain = tmp_path / "plain.tar"
    plain.write_bytes(archive(entry("a")))
    attempt(world, "manifest.json: not in the archive", {"docker_archive": {"path": str(plain)}})
    attempt(world, "oci-layout: not in the archive", {"oci_layout": {"path": str(plain)}})
    saved = tmp_path / "saved.tar"
    layer = archive(entry("a"))
    config = json.dumps({"os": "linux", "architecture": "amd64", "rootfs": {"diff_ids": [sha256(layer)]}}).encode()
    manifest = json.dumps([{"Config": "config.json", "RepoTags": ["app:1"], "Layers": ["l.tar"]}]).encode()
    saved.write_bytes(
        archive(entry("manifest.json", manifest), entry("config.json", config), entry("l.tar", layer[:-1] + b"x"))
    )
    attempt(world, "layer 1 of 1, l.tar: damaged or cut off", {"docker_archive": {"path": str(saved)}}, late=True)
    attempt(world, "no image 'app:2': there are app:1", {"docker_archive": {"path": str(saved), "reference": "app:2"}})


def test_archives_that_lead_out(world: World, tmp_path: pathlib.Path) -> None:
    """Names and links of an archive mean what is in it."""
    out = tmp_path / "secret"
    out.write_bytes(archive(entry("stolen")))
    config = json.dumps({"os": "linux", "architecture": "amd64", "rootfs": {"diff_ids": [sha256(out.read_bytes())]}})
    for number, (name, extra, message) in enumerate(
        (
            (f"..{out}", [], "No such file"),
            (str(out), [], "No such file"),
            ("l.tar", [link("l.tar", str(out))], "l.tar: No such file"),
            ("d/l.tar", [link("d", f"../../../../../..{tmp_path}"), link("l.tar", "d/secret")], "No such file"),
        )
    ):
        saved = tmp_path / f"{number}.tar"
        manifest = json.dumps([{"Config": "c.json", "RepoTags": ["app:1"], "Layers": [name]}]).encode()
        saved.write_bytes(archive(*extra, entry("manifest.json", manifest), entry("c.json", config.encode())))
        attempt(world, message, {"docker_archive": {"path": str(saved)}}, late=True)
    linked = tmp_path / "linked.tar"
    manifest = json.dumps([{"Config": "c.json", "RepoTags": [], "Layers": []}]).encode()
    linked.write_bytes(archive(entry("manifest.json", manifest), link("c.json", "/etc/passwd")))
    attempt(world, "c.json: not in the archive", {"docker_archive": {"path": str(linked)}})


def test_registries(world: World, layout: Layout, tmp_path: pathlib.Path) -> None:
    registry = Registry(world, tmp_path)
    registry.push(layout.path, "app:1")
    source = registry.source
    attempt(world, r"app:2: skopeo inspect failed: .*manifest unknown.*has it been pushed", source("app:2"))
    attempt(world, "skopeo inspect failed: .*unknown.*has it been pushed", source(f"app@{NOWHERE}"))
    attempt(world, "plain HTTP: set tls_verify: false", source("app:1", tls_verify=True))
    _manifest, layer = content(layout)
    stored = registry.folder / f"data/docker/registry/v2/blobs/sha256/{layer[7:9]}/{layer[7:]}/data"
    data = stored.read_bytes()
    stored.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    attempt(world, "skopeo copy failed: .*Digest did not match.*push the image again", source("app:1"), late=True)
    stored.write_bytes(data[:5000])
    attempt(world, "skopeo copy failed: ", source("app:1"), late=True)
    registry.stop()
    attempt(world, "skopeo inspect failed: .*connection refused: is the registry up", source("app:1"))


def test_a_full_disk(world: World, layout: Layout, tmp_path: pathlib.Path) -> None:
    """A disk that holds the image, but not its layers beside it, and one that doesn't hold the image."""
    registry = Registry(world, tmp_path)
    big = Layout(tmp_path / "big")
    big.image(archive(entry("big", os.urandom(3 << 20))))
    registry.push(big.path, "big:1")
    world.sh("mount -t tmpfs -o size=2M,mode=0755 tmpfs /var/lib/isolation")
    tarball = tmp_path / "big.tar"
    tarball.write_bytes(archive(entry("big", os.urandom(3 << 20))))
    attempt(world, "entry 'big': .*No space left", {"tar": {"path": str(tarball)}}, late=True)
    attempt(world, "layer 1 of 1.*entry 'big': .*No space left", of(big), late=True)
    attempt(world, "(?i)skopeo copy failed: .*no space left.*make room", registry.source("big:1"), late=True)
    outer = tmp_path / "outer.tar"
    world.sh(f"tar -C {big.path} -cf {outer} .")
    attempt(world, "entry '.*blobs/sha256/.*No space left", {"oci_layout": {"path": str(outer)}}, late=True)
    assert not world.apply("rootfs_prepare", name="web", source=of(layout))["rootfs"]["cached"]
    world.apply("rootfs_prepare", name="web", state="absent", prune_images=True)
    world.sh("umount /var/lib/isolation")
