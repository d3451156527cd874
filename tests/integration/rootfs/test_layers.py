# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Layers on top of each other: what whiteouts and replacements do, and hostile layers, of which none writes outside."""

from __future__ import annotations

import gzip
import json
import os
import pathlib
import tarfile
import typing as t

import pytest
from archives import CONFIG, TAR, Layout, archive, entry, folder, hard, link, listing, sha256, sparse, zstd

from ansible_collections.daemonless.isolation.plugins.module_utils._errors import IsolationError
from ansible_collections.daemonless.isolation.plugins.module_utils._host import oci_image
from ansible_collections.daemonless.isolation.plugins.module_utils._host.unpacked import Limits, Unpacked

LIMITS = Limits(1 << 20, 100)
MACHINE = "x86_64"


def unpack(tmp_path: pathlib.Path, *layers: bytes, limits: Limits = LIMITS, **options: t.Any) -> Unpacked:
    """Unpack an image of layers into `root`."""
    layout = Layout(tmp_path / "layout")
    layout.image(*layers, **options)
    (tmp_path / "root").mkdir()
    files = oci_image.Folder(str(layout.path), "image")
    return oci_image.unpack(files, oci_image.layout_image(files, None, MACHINE), str(tmp_path / "root"), limits)


def names(root: pathlib.Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*"))


@pytest.fixture
def canary(tmp_path: pathlib.Path) -> t.Iterator[pathlib.Path]:
    """A tree beside the directory that is unpacked into; a test ends with it as it was."""
    outside = tmp_path / "canary"
    (outside / "sub").mkdir(parents=True)
    (outside / "secret").write_text("before")
    (outside / "sub/secret").write_text("before")
    (outside / "link").symlink_to("secret")
    os.setxattr(outside / "secret", "user.note", b"kept")
    before = listing(outside)
    yield outside
    assert listing(outside) == before
    assert os.getxattr(outside / "secret", "user.note") == b"kept"
    assert set(os.listdir(tmp_path)) <= {"canary", "layout", "root"}


LOWER = archive(
    folder("etc"), entry("etc/a", b"1"), entry("etc/b", b"1"), folder("etc/sub"), entry("etc/sub/c", b"1"), entry("top")
)

SEMANTICS: dict[str, tuple[list[bytes], list[str]]] = {
    "a whiteout": ([LOWER, archive(entry("etc/.wh.a", b""))], ["etc", "etc/b", "etc/sub", "etc/sub/c", "top"]),
    "a whiteout of a directory": ([LOWER, archive(entry("etc/.wh.sub", b""))], ["etc", "etc/a", "etc/b", "top"]),
    "a whiteout of the top": ([LOWER, archive(entry(".wh.etc", b""))], ["top"]),
    "a whiteout of nothing": ([LOWER, archive(entry("no/.wh.a", b""), entry(".wh.no", b""))], ["etc", "etc/a", "etc/b", "etc/sub", "etc/sub/c", "top"]),
    "a whiteout before what replaces it": (
        [LOWER, archive(entry(".wh.etc", b""), folder("etc"), entry("etc/new"))],
        ["etc", "etc/new", "top"],
    ),
    "a whiteout after what replaces it": (
        [LOWER, archive(folder("etc"), entry("etc/new"), entry(".wh.etc", b""))],
        ["etc", "etc/new", "top"],
    ),
    "a whiteout of a file that this layer has": (
        [LOWER, archive(entry("top", b"2"), entry(".wh.top", b""))],
        ["etc", "etc/a", "etc/b", "etc/sub", "etc/sub/c", "top"],
    ),
    "an opaque directory": (
        [LOWER, archive(folder("etc"), entry("etc/.wh..wh..opq", b""), entry("etc/new"))],
        ["etc", "etc/new", "top"],
    ),
    "an opaque directory, said last": (
        [LOWER, archive(folder("etc"), folder("etc/sub"), entry("etc/sub/d"), entry("etc/.wh..wh..opq", b""))],
        ["etc", "etc/sub", "etc/sub/d", "top"],
    ),
    "an opaque root": ([LOWER, archive(entry(".wh..wh..opq", b""), entry("new"))], ["new"]),
    "a whiteout below what this layer made a link": (
        [archive(folder("d"), entry("d/x"), folder("e"), entry("e/x")), archive(link("d", "e"), entry("d/.wh.x", b""))],
        ["d", "e", "e/x"],
    ),
    "a whiteout below what this layer made a file": (
        [archive(folder("d"), entry("d/x")), archive(entry("d"), entry("d/.wh.x", b""), entry("d/.wh..wh..opq", b""))],
        ["d"],
    ),
    "other names of aufs": (
        [archive(entry("a")), archive(entry(".wh..wh.plnk", b""), folder(".wh..wh.aufs"))],
        ["a"],
    ),
    "a file in place of a directory": ([LOWER, archive(entry("etc"))], ["etc", "top"]),
    "a link in place of a directory": ([LOWER, archive(link("etc", "top"))], ["etc", "top"]),
    "a hard link in place of a directory": ([LOWER, archive(hard("etc", "top"))], ["etc", "top"]),
    "a directory in place of a file": ([LOWER, archive(folder("top"), entry("top/x"))], ["etc", "etc/a", "etc/b", "etc/sub", "etc/sub/c", "top", "top/x"]),
    "a directory in place of a link": (
        [archive(folder("d"), entry("d/a"), link("l", "d")), archive(folder("l"), entry("l/b"))],
        ["d", "d/a", "l", "l/b"],
    ),
    "through a merged /usr": (
        [archive(folder("usr"), folder("usr/lib"), link("lib", "usr/lib")), archive(entry("lib/x"), folder("lib/d"), entry("lib/d/y"))],
        ["lib", "usr", "usr/lib", "usr/lib/d", "usr/lib/d/y", "usr/lib/x"],
    ),
    "through an absolute link": (
        [archive(folder("run"), folder("var"), link("var/run", "/run")), archive(entry("var/run/x"))],
        ["run", "run/x", "var", "var/run"],
    ),
    "through a link upwards": (
        [archive(folder("a"), folder("a/b"), folder("c"), link("a/b/l", "../../c")), archive(entry("a/b/l/x"))],
        ["a", "a/b", "a/b/l", "c", "c/x"],
    ),
    "three layers": (
        [LOWER, archive(entry("etc/.wh.a", b""), entry(".wh.top", b"")), archive(entry("etc/a", b"3"))],
        ["etc", "etc/a", "etc/b", "etc/sub", "etc/sub/c"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", SEMANTICS)
def test_semantics(tmp_path: pathlib.Path, canary: pathlib.Path, case: str) -> None:
    layers, expected = SEMANTICS[case]
    unpack(tmp_path, *layers)
    assert names(tmp_path / "root") == expected


def test_what_upper_layers_say_wins(tmp_path: pathlib.Path, canary: pathlib.Path) -> None:
    low = folder("d", mtime=1_000_000_000)
    low[0].pax_headers = {"SCHILY.xattr.user.low": "x"}
    unpack(
        tmp_path,
        archive(low, entry("d/f", b"1", mtime=1), folder("gone", mtime=5), form=tarfile.PAX_FORMAT),
        archive(folder("d", mtime=1_100_000_000, uid=5), hard("d/g", "d/f"), entry(".wh.gone", b""), entry("gone/x")),
        archive(entry("d/f", b"3", mtime=3)),
    )
    root = tmp_path / "root"
    assert ((root / "d/f").read_bytes(), (root / "d/g").read_bytes()) == (b"3", b"1")
    assert ((root / "d").stat().st_uid, (root / "d").stat().st_mtime) == (5, 1_100_000_000)
    assert os.listxattr(root / "d") == []
    assert (root / "gone").stat().st_mtime > 1_500_000_000


@pytest.mark.parametrize("pack", ["gzip", "zstd", "tar"])
def test_compression(tmp_path: pathlib.Path, canary: pathlib.Path, pack: str) -> None:
    made = unpack(tmp_path, archive(entry("a", b"x" * 5000)), archive(entry("b")), pack=pack)
    assert made == Unpacked(5004, 2, 0, 0)


Hostile = tuple[t.Callable[[str], list[bytes]], str]

REFUSED: dict[str, Hostile] = {
    "dotdot": (lambda out: [archive(folder("a")), archive(entry("a/../../canary/secret"))], r"entry 'a/\.\./\.\./canary/secret'.*\.\."),
    "absolute": (lambda out: [archive(folder("a")), archive(entry(f"{out}/secret"))], "entry '.*/canary/secret'.*absolute"),
    "absolute link as parent": (lambda out: [archive(link("a", out)), archive(entry("a/secret"))], "entry 'a/secret'.*not in the image"),
    "relative link as parent": (lambda out: [archive(link("a", "../canary")), archive(entry("a/secret"))], "entry 'a/secret'.*leads out of the root"),
    "chain of links as parent": (
        lambda out: [archive(link("a", "b")), archive(link("b", out)), archive(entry("a/sub/secret"))],
        "entry 'a/sub/secret'.*not in the image",
    ),
    "links in a circle": (lambda out: [archive(link("a", "b"), link("b", "a")), archive(entry("a/x"))], "entry 'a/x'.*40 symbolic links"),
    "directory below a link": (lambda out: [archive(link("a", out)), archive(folder("a/new"))], "entry 'a/new'.*not in the image"),
    "file as parent": (lambda out: [archive(entry("a")), archive(entry("a/b"))], "entry 'a/b'.*no directory"),
    "hard link to an absolute name": (lambda out: [archive(folder("a")), archive(hard("b", f"{out}/secret"))], "entry 'b'.*absolute"),
    "hard link out by dotdot": (lambda out: [archive(folder("a")), archive(hard("b", "../canary/secret"))], r"entry 'b'.*\.\."),
    "hard link through a link": (lambda out: [archive(link("d", out)), archive(hard("a", "d/secret"), entry("a"))], "entry 'a'.*not in the image"),
    "hard link out through a link": (lambda out: [archive(link("d", "..")), archive(hard("a", "d/canary/secret"))], "entry 'a'.*leads out"),
    "hard link to what a whiteout took": (
        lambda out: [archive(entry("x")), archive(entry(".wh.x", b""), hard("a", "x"))],
        "entry 'a'.*not in the archive",
    ),
    "whiteout through a link": (lambda out: [archive(link("a", out)), archive(entry("a/.wh.secret", b""))], "entry 'a/.wh.secret'.*symbolic link"),
    "whiteout through a relative link": (lambda out: [archive(link("a", "../canary")), archive(entry("a/.wh.sub", b""))], "entry 'a/.wh.sub'.*symbolic link"),
    "whiteout through a link inside": (
        lambda out: [archive(folder("d"), entry("d/x"), link("a", "d")), archive(entry("a/.wh.x", b""))],
        "entry 'a/.wh.x'.*symbolic link",
    ),
    "whiteout of dotdot": (lambda out: [archive(folder("a")), archive(entry("a/.wh...", b""))], r"entry 'a/\.wh\.\.\.'.*'\.\.'"),
    "whiteout of dot": (lambda out: [archive(folder("a")), archive(entry("a/.wh..", b""))], r"entry 'a/\.wh\.\.'.*whiteout of '\.'"),
    "whiteout of nothing": (lambda out: [archive(folder("a")), archive(entry("a/.wh.", b""))], r"entry 'a/\.wh\.'.*whiteout of ''"),
    "whiteout above by dotdot": (lambda out: [archive(folder("a")), archive(entry("../canary/.wh.secret", b""))], r"entry '\.\./canary/\.wh\.secret'.*\.\."),
    "absolute whiteout": (lambda out: [archive(folder("a")), archive(entry(f"{out}/.wh.secret", b""))], "entry '.*secret'.*absolute"),
    "opaque through a link": (lambda out: [archive(link("a", out)), archive(entry("a/.wh..wh..opq", b""))], r"entry 'a/\.wh\.\.wh\.\.opq'.*symbolic link"),
    "opaque through a chain": (
        lambda out: [archive(link("a", "../canary")), archive(link("b", "a")), archive(entry("b/sub/.wh..wh..opq", b""))],
        "entry 'b/sub/.*symbolic link",
    ),
    "device as whiteout": (lambda out: [archive(entry("a")), archive(entry("a", type=tarfile.CHRTYPE))], "entry 'a'.*device"),
    "block device": (lambda out: [archive(folder("etc")), archive(entry("etc/sda", type=tarfile.BLKTYPE, devmajor=8))], "entry 'etc/sda'.*device"),
    "named pipe": (lambda out: [archive(folder("etc")), archive(entry("etc/pipe", type=tarfile.FIFOTYPE))], "entry 'etc/pipe'.*named pipe"),
    "owner": (lambda out: [archive(entry("a")), archive(entry("a", uid=65536))], "entry 'a'.*owner"),
    "group": (lambda out: [archive(entry("a")), archive(entry("b", gid=1 << 31))], "entry 'b'.*owner"),
    "size over all layers": (lambda out: [archive(entry("a", bytes(700_000))), archive(entry("b", bytes(700_000)))], "entry 'b'.*max_size"),
    "entries over all layers": (
        lambda out: [archive(*(entry(f"{layer}-{number}") for number in range(40))) for layer in range(3)],
        "entry '2-20'.*max_entries",
    ),
    "whiteouts count": (lambda out: [archive(*(entry(f".wh.{number}", b"") for number in range(101)))], "entry '.wh.100'.*max_entries"),
    "compression bomb": (lambda out: [archive(entry("a")), archive(entry("b", bytes(50 << 20)))], "entry 'b'.*max_size"),
    "bomb behind the end": (lambda out: [archive(entry("a")), archive(entry("b")) + bytes(50 << 20)], "max_size"),
    "sparse bomb": (lambda out: [archive(entry("a")), sparse("s", 1 << 50)], "entry 's'.*max_size"),
    "huge header": (lambda out: [archive(entry("a")), huge_header(8 << 30)], "header of 8589934592 bytes"),
    "too deep": (lambda out: [archive(folder("d")), archive(entry("d/" * 300 + "a"))], "entry 'd/d/.*256"),
    "deeper by links": (
        lambda out: [archive(entry("d/" * 200 + "x"), link("l", "d/" * 200)), archive(entry("l/" + "e/" * 100 + "y"))],
        "entry 'l/e/.*256",
    ),
    "root is a link": (lambda out: [archive(folder("a")), archive(link("./", out), entry("secret"))], "entry '.*root is not a directory"),
    "unknown type": (lambda out: [archive(entry("a")), archive(entry("v", b"", type=b"V"))], "entry 'v'.*"),
    "long name": (lambda out: [archive(entry("a")), archive(entry("n" * 300))], "entry 'nnn.*File name too long"),
}  # fmt: skip


def huge_header(size: int) -> bytes:
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, size
    return info.tobuf(tarfile.GNU_FORMAT) + bytes(1 << 20)


@pytest.mark.parametrize("case", REFUSED)
def test_refused(tmp_path: pathlib.Path, canary: pathlib.Path, case: str) -> None:
    make, message = REFUSED[case]
    with pytest.raises(IsolationError, match=message) as caught:
        unpack(tmp_path, *make(str(canary)))
    assert "layer " in str(caught.value)


DAMAGED: dict[str, tuple[t.Callable[[Layout], object], str]] = {
    "another content": (lambda layout: damage(layout, last(layout), flip), "damaged or cut off: expected sha256:.* found sha256:"),
    "cut off": (lambda layout: damage(layout, last(layout), lambda data: data[:-100]), "cut off: expected .* bytes, found a file of"),
    "a document of another content": (lambda layout: damage(layout, layout.entries[0]["digest"], flip), "damaged"),
    "a blob that is missing": (lambda layout: layout.file(last(layout)).unlink(), "No such file.*as a whole"),
    "a blob that is a link out": (lambda layout: lead_out(layout, last(layout)), "No such file"),
}  # fmt: skip


def last(layout: Layout) -> str:
    manifest = json.loads(layout.file(layout.entries[0]["digest"]).read_bytes())
    return str(manifest["layers"][-1]["digest"])


def flip(data: bytes) -> bytes:
    return data[:-20] + bytes([data[-20] ^ 1]) + data[-19:]


def damage(layout: Layout, digest: str, change: t.Callable[[bytes], bytes]) -> None:
    layout.file(digest).write_bytes(change(layout.file(digest).read_bytes()))


def lead_out(layout: Layout, digest: str) -> None:
    """The very blob, but outside of the layout."""
    outside = layout.path.parent / "root"
    layout.file(digest).rename(outside.with_name("canary-blob"))
    layout.file(digest).symlink_to("../../../canary-blob")


@pytest.mark.parametrize("case", DAMAGED)
def test_damaged(tmp_path: pathlib.Path, case: str) -> None:
    change, message = DAMAGED[case]
    layout = Layout(tmp_path / "layout")
    layout.image(archive(entry("a")), archive(entry("b", os.urandom(3000))))
    change(layout)
    (tmp_path / "root").mkdir()
    files = oci_image.Folder(str(layout.path), "image")
    with pytest.raises(IsolationError, match=message):
        oci_image.unpack(files, oci_image.layout_image(files, None, MACHINE), str(tmp_path / "root"), LIMITS)


WRONG: dict[str, tuple[dict[str, t.Any], str]] = {
    "of another content than promised": ({"diff_ids": [sha256(b"x")]}, "unpacks to sha256:.*promises sha256:"),
    "more layers than promised": ({"diff_ids": [sha256(b"x")] * 2}, "1 layers.*tells of 2"),
    "of an unknown media type": ({"kind": f"{TAR}+lz4"}, r"unknown media type 'application/vnd.oci.image.layer.v1.tar\+lz4': known are"),
    "of another compression": ({"kind": f"{TAR}+zstd"}, "media type says zstd, but its content is gzip"),
    "encrypted": ({"kind": f"{TAR}+gzip+encrypted"}, "encrypted"),
    "foreign": ({"kind": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"}, "foreign layer"),
    "nondistributable": ({"kind": "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"}, "foreign layer"),
    "for another architecture": ({"architecture": "arm64"}, "for linux/arm64, but this host is linux/amd64"),
    "for another system": ({"os": "windows"}, "for windows/amd64, but this host is linux/amd64"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_images_that_cannot_be_meant(tmp_path: pathlib.Path, case: str) -> None:
    options, message = WRONG[case]
    with pytest.raises(IsolationError, match=message):
        unpack(tmp_path, archive(entry("a")), **options)


def test_a_compression_that_nobody_knows(tmp_path: pathlib.Path) -> None:
    """Neither tar, gzip nor zstd, though its media type says so."""
    layout = Layout(tmp_path / "layout")
    data = b"\x04\x22\x4d\x18" + os.urandom(500)
    layer = layout.blob(data, f"{TAR}+gzip")
    config = layout.blob(
        b'{"os": "linux", "architecture": "amd64", "rootfs": {"diff_ids": ["%s"]}}' % sha256(data).encode(), CONFIG
    )
    manifest = json.dumps({"schemaVersion": 2, "config": config, "layers": [layer]}).encode()
    layout.add(layout.blob(manifest, "application/vnd.oci.image.manifest.v1+json"))
    (tmp_path / "root").mkdir()
    files = oci_image.Folder(str(layout.path), "image")
    with pytest.raises(IsolationError, match="says gzip, but its content is tar, or something unknown"):
        oci_image.unpack(files, oci_image.layout_image(files, None, MACHINE), str(tmp_path / "root"), LIMITS)


@pytest.mark.parametrize("pack", [gzip.compress, zstd])
def test_damage_inside_a_layer(tmp_path: pathlib.Path, pack: t.Callable[[bytes], bytes]) -> None:
    """A blob whose digest is right, and whose compressed data is not."""
    layout = Layout(tmp_path / "layout")
    inner = archive(entry("a", os.urandom(9000)))
    data = pack(inner)[:-900]
    layer = layout.blob(data, f"{TAR}+{'gzip' if pack is gzip.compress else 'zstd'}")
    document = {"os": "linux", "architecture": "amd64", "rootfs": {"diff_ids": [sha256(inner)]}}
    config = layout.blob(json.dumps(document).encode(), CONFIG)
    manifest = json.dumps({"schemaVersion": 2, "config": config, "layers": [layer]}).encode()
    layout.add(layout.blob(manifest, "application/vnd.oci.image.manifest.v1+json"))
    (tmp_path / "root").mkdir()
    files = oci_image.Folder(str(layout.path), "image")
    with pytest.raises(IsolationError, match=r"layer 1 of 1.*(cut off|zstd: )"):
        oci_image.unpack(files, oci_image.layout_image(files, None, MACHINE), str(tmp_path / "root"), LIMITS)
