# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Hostile archives: none writes outside, each refusal names the entry, and what real archives hold is kept."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import json
import lzma
import os
import pathlib
import stat
import subprocess
import sys
import tarfile
import typing as t

import pytest
from archives import archive, entry, folder, hard, link, listing, sparse, zstd

from ansible_collections.daemonless.isolation.plugins.module_utils._errors import IsolationError
from ansible_collections.daemonless.isolation.plugins.module_utils._host import tree
from ansible_collections.daemonless.isolation.plugins.module_utils._host.extract import unpack_file, unpack_stream
from ansible_collections.daemonless.isolation.plugins.module_utils._host.helpers import archive as archive_helper
from ansible_collections.daemonless.isolation.plugins.module_utils._host.helpers import confine as confine_helper
from ansible_collections.daemonless.isolation.plugins.module_utils._host.libexec import source
from ansible_collections.daemonless.isolation.plugins.module_utils._host.unpacked import Limits, Unpacked

LIMITS = Limits(1 << 20, 100)


@pytest.fixture
def canary(tmp_path: pathlib.Path) -> t.Iterator[pathlib.Path]:
    """A tree beside the directory that is unpacked into; a test ends with it as it was."""
    outside = tmp_path / "canary"
    (outside / "sub").mkdir(parents=True)
    (outside / "secret").write_text("before")
    (outside / "sub" / "secret").write_text("before")
    before = listing(outside)
    yield outside
    assert listing(outside) == before
    assert sorted(os.listdir(tmp_path)) <= ["archive", "canary", "root"]


def unpack(tmp_path: pathlib.Path, data: bytes, limits: Limits = LIMITS) -> Unpacked:
    (tmp_path / "archive").write_bytes(data)
    (tmp_path / "root").mkdir(exist_ok=True)
    with (tmp_path / "archive").open("rb") as stream:
        return unpack_file(stream.fileno(), "archive", str(tmp_path / "root"), limits)


REFUSED: dict[str, tuple[t.Callable[[str], bytes], str]] = {
    "dotdot": (lambda out: archive(entry("a/../../canary/secret")), r"entry 'a/\.\./\.\./canary/secret'.*\.\."),
    "absolute": (lambda out: archive(entry(f"{out}/secret")), "entry '.*/canary/secret'.*absolute"),
    "absolute link as parent": (
        lambda out: archive(link("a", out), entry("a/secret")),
        "entry 'a/secret'.*symbolic link",
    ),
    "relative link as parent": (
        lambda out: archive(link("a", "../canary"), entry("a/secret")),
        "entry 'a/secret'.*symbolic link",
    ),
    "chain of links as parent": (
        lambda out: archive(link("a", "b"), link("b", out), entry("a/sub/secret")),
        "entry 'a/sub/secret'.*symbolic link",
    ),
    "directory below a link": (lambda out: archive(link("a", out), folder("a/new")), "entry 'a/new'.*symbolic link"),
    "hard link to an absolute name": (lambda out: archive(hard("a", f"{out}/secret")), "entry 'a'.*absolute"),
    "hard link out by dotdot": (lambda out: archive(hard("a", "../canary/secret")), r"entry 'a'.*\.\."),
    "hard link through a link": (
        lambda out: archive(link("d", out), hard("a", "d/secret"), entry("a")),
        "entry 'a'.*symbolic link",
    ),
    "hard link to nothing": (lambda out: archive(hard("a", "canary/secret")), "entry 'a'.*not in the archive"),
    "hard link to a directory": (lambda out: archive(folder("d"), hard("a", "d")), "entry 'a'.*directory"),
    "character device": (lambda out: archive(entry("sda", type=tarfile.CHRTYPE, devmajor=8)), "entry 'sda'.*device"),
    "block device": (
        lambda out: archive(entry("etc/sda", type=tarfile.BLKTYPE, devmajor=8)),
        "entry 'etc/sda'.*device",
    ),
    "whiteout": (lambda out: archive(entry("etc/passwd", type=tarfile.CHRTYPE)), "entry 'etc/passwd'.*device"),
    "named pipe": (lambda out: archive(entry("etc/pipe", type=tarfile.FIFOTYPE)), "entry 'etc/pipe'.*named pipe"),
    "unknown type": (lambda out: archive(entry("a", b"", type=b"V")), "entry 'a'.*"),
    "owner": (lambda out: archive(entry("a", uid=65536)), "entry 'a'.*owner"),
    "group": (lambda out: archive(entry("a", gid=70000)), "entry 'a'.*owner"),
    "too large": (lambda out: archive(entry("a"), entry("b", bytes(1 << 20))), "entry 'b'.*max_size"),
    "too many": (lambda out: archive(*(entry(str(number)) for number in range(101))), "entry '100'.*max_entries"),
    "one name too often": (lambda out: archive(*(entry("a") for _number in range(101))), "entry 'a'.*max_entries"),
    "too deep": (lambda out: archive(entry("d/" * 300 + "a")), "entry 'd/d/.*300|entry 'd/d/.*256"),
    "file over a directory": (lambda out: archive(folder("d"), entry("d/a"), entry("d")), "entry 'd'.*not empty"),
    "root is a link": (lambda out: archive(link("./", out), entry("secret")), "entry '.*root is not a directory"),
    "long name": (lambda out: archive(entry("n" * 300)), "entry 'nnn.*File name too long"),
    "bomb": (lambda out: gzip.compress(archive(entry("a", bytes(50 << 20)))), "entry 'a'.*max_size"),
    "bomb behind the end": (lambda out: gzip.compress(archive(entry("a")) + bytes(50 << 20)), "max_size"),
    "memory in a header": (lambda out: header_of(8 << 30), "header of 8589934592 bytes"),
    "sparse bomb": (lambda out: sparse("s", 1 << 50), "entry 's'.*max_size"),
    "no archive": (lambda out: b"<html>not found</html>" * 100, "no tar archive"),
    "empty": (lambda out: b"", "no tar archive"),
    "cut off in a file": (lambda out: archive(entry("a", bytes(9000)))[:5000], "cut off.*after a: "),
    "cut off between files": (lambda out: archive(entry("a"), entry("b"))[:1024], "cut off.*after a: "),
    "damaged header": (lambda out: archive(entry("a"))[:1024] + b"x" * 10240, "damaged.*after a: "),
    "cut off gzip": (lambda out: gzip.compress(archive(entry("a", os.urandom(9000))))[:-900], "cut off"),
    "damaged gzip": (
        lambda out: damage(gzip.compress(archive(entry("a", os.urandom(9000))))),
        "damaged|CRC|BadGzipFile",
    ),
    "cut off xz": (lambda out: lzma.compress(archive(entry("a", os.urandom(9000))))[:-900], "cut off"),
    "cut off bzip2": (lambda out: bz2.compress(archive(entry("a", os.urandom(9000))))[:-900], "cut off"),
    "cut off zstd": (lambda out: zstd(archive(entry("a", os.urandom(9000))))[:-900], "zstd"),
}


def header_of(size: int) -> bytes:
    """A pax header that claims to be gigabytes long, with zeros enough to make a reader ask for memory, compressed."""
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, size
    return gzip.compress(info.tobuf(tarfile.GNU_FORMAT) + bytes(1 << 20))


def damage(data: bytes) -> bytes:
    return data[:4000] + bytes([data[4000] ^ 0xFF]) + data[4001:]


@pytest.mark.parametrize("case", REFUSED)
def test_refused(tmp_path: pathlib.Path, canary: pathlib.Path, case: str) -> None:
    make, message = REFUSED[case]
    with pytest.raises(IsolationError, match=message):
        unpack(tmp_path, make(str(canary)))


def test_what_looks_evil_and_is_replaced(tmp_path: pathlib.Path, canary: pathlib.Path) -> None:
    """A later entry takes the place of an earlier one; it is never written through it."""
    unpack(
        tmp_path,
        archive(
            link("file", f"{canary}/secret"),
            entry("file"),
            link("d", str(canary)),
            folder("d"),
            entry("d/secret"),
            link("s", f"{canary}/secret"),
            hard("h", "s"),
            entry("h"),
            entry("twice", b"one"),
            hard("other", "twice"),
            entry("twice", b"two"),
            hard("twice", "twice"),
        ),
    )
    root = tmp_path / "root"
    assert (root / "file").read_bytes() == b"evil"
    assert not (root / "file").is_symlink()
    assert not (root / "d").is_symlink()
    assert (root / "d/secret").read_bytes() == b"evil"
    assert os.readlink(root / "s") == f"{canary}/secret"
    assert (root / "h").read_bytes() == b"evil"
    assert ((root / "twice").read_bytes(), (root / "other").read_bytes()) == (b"two", b"one")


def test_what_is_kept(tmp_path: pathlib.Path, canary: pathlib.Path) -> None:
    info, content = entry("bin/su", mode=0o4755, uid=7, gid=65535, mtime=1_500_000_000.25)
    info.pax_headers = {
        "SCHILY.xattr.security.capability": "\x01\x00\x00\x02\x00 \x00\x00" + "\x00" * 12,
        "SCHILY.xattr.user.note": "kept",
        "SCHILY.xattr.trusted.overlay.redirect": "/evil",
        "SCHILY.xattr.trusted.overlay.opaque": "y",
    }
    made = unpack(
        tmp_path,
        archive(
            folder("./", uid=3, mtime=1_400_000_000),
            folder("bin", mtime=1_300_000_000),
            (info, content),
            hard("bin/sudo", "bin/su"),
            link("sh", "/bin/su"),
            entry("dev/null", type=tarfile.CHRTYPE, devmajor=1, devminor=3),
            entry("no/parent/given", uid=5),
            form=tarfile.PAX_FORMAT,
        ),
    )
    root = tmp_path / "root"
    assert (made.size, made.entries, made.devices) == (8, 7, 1)
    status = (root / "bin/su").stat()
    assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid) == (0o4755, 7, 65535)
    assert status.st_mtime_ns == 1_500_000_000_250_000_000
    assert status.st_ino == (root / "bin/sudo").stat().st_ino
    assert ((root / "bin").stat().st_mtime, root.stat().st_mtime, root.stat().st_uid) == (
        1_300_000_000,
        1_400_000_000,
        3,
    )
    assert os.readlink(root / "sh") == "/bin/su"
    assert not (root / "dev/null").exists()
    assert sorted(os.listxattr(root / "bin/su")) == ["security.capability", "user.note"]


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress, bz2.compress, zstd, bytes])
def test_compression(tmp_path: pathlib.Path, canary: pathlib.Path, pack: t.Callable[[bytes], bytes]) -> None:
    assert unpack(tmp_path, pack(archive(entry("a", b"x" * 5000)))) == Unpacked(5000, 1, 0, 0)
    assert (tmp_path / "root/a").read_bytes() == b"x" * 5000


PROBE = """
import ctypes, json, os, sys, types
sys.modules["helpers"] = types.ModuleType("helpers")
for name in ("archive", "confine"):
    module = sys.modules["helpers." + name] = types.ModuleType("helpers." + name)
    module.__package__ = "helpers"
    exec(compile(SOURCES[name], name, "exec"), module.__dict__)
scope = module.__dict__
libc = ctypes.CDLL(None, use_errno=True)
assert libc.unshare(scope["_NEWNS"] | scope["_NEWNET"]) == 0
scope["confine"](libc, sys.argv[1])
found = {"files": sorted(os.listdir("/")), "up": sorted(os.listdir("/../.."))}
def attempt(name, action):
    try:
        action()
        found[name] = "done"
    except OSError as error:
        found[name] = error.strerror
def call(result):
    if result != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
attempt("device", lambda: os.mknod("/device", 0o020666, os.makedev(1, 3)))
attempt("mount", lambda: call(libc.mount(b"t", b"/", b"tmpfs", 0, None)))
attempt("chroot", lambda: os.chroot("/"))
attempt("setuid", lambda: os.setuid(1))
attempt("chown", lambda: os.chown("/file", 5, 5))
print(json.dumps(found))
"""


def test_the_process_that_unpacks_is_confined(tmp_path: pathlib.Path) -> None:
    """What it could do if its reader were taken over."""
    (tmp_path / "file").write_text("x")
    sources = {"archive": source(archive_helper), "confine": source(confine_helper)}
    script = f"SOURCES = {sources!r}\n{PROBE}"
    done = subprocess.run(
        [sys.executable, "-I", "-c", script, str(tmp_path)], capture_output=True, text=True, check=True
    )
    found = json.loads(done.stdout)
    assert found["files"] == found["up"] == ["file"]
    for action in ("device", "mount", "chroot", "setuid"):
        assert found[action] == "Operation not permitted"
    assert found["chown"] == "done"


def test_a_directory_becomes_the_same_tree(tmp_path: pathlib.Path) -> None:
    original = tmp_path / "original"
    (original / "a b/ü").mkdir(parents=True)
    (original / "a b/ü/file").write_bytes(b"x" * 100_000)
    (original / os.fsdecode(b"\xff")).write_text("not utf-8")
    os.link(original / "a b/ü/file", original / "hard")
    (original / "link").symlink_to("/etc/passwd")
    (original / "a b").chmod(0o1777)
    os.chown(original / "hard", 12, 34)
    os.setxattr(original / "hard", "user.note", b"\x00\xff")
    (tmp_path / "root").mkdir()
    unpack_stream(lambda stream: tree.write_tar(str(original), stream), "original", str(tmp_path / "root"), LIMITS)

    def relative(top: pathlib.Path) -> list[tuple[t.Any, ...]]:
        return [(name[len(str(top)) :], *rest) for name, *rest in listing(top)]

    assert relative(tmp_path / "root") == relative(original)
    assert os.getxattr(tmp_path / "root/hard", "user.note") == b"\x00\xff"


def test_a_directory_that_holds_what_is_refused(tmp_path: pathlib.Path) -> None:
    (tmp_path / "original").mkdir()
    os.mkfifo(tmp_path / "original/pipe")
    (tmp_path / "root").mkdir()
    with pytest.raises(IsolationError, match="entry 'pipe'"):
        unpack_stream(
            lambda stream: tree.write_tar(str(tmp_path / "original"), stream),
            "original",
            str(tmp_path / "root"),
            LIMITS,
        )


def test_against_tar(tmp_path: pathlib.Path) -> None:
    """A tree of this machine, packed by GNU tar, comes out as GNU tar unpacks it."""
    packed = tmp_path / "archive.tar"
    subprocess.run(
        [
            "tar",
            "-C",
            "/usr/lib",
            "--xattrs",
            "-cf",
            packed,
            "python3/dist-packages",
            "systemd",
            "x86_64-linux-gnu/perl",
        ],
        check=False,
    )
    reference, root = tmp_path / "reference", tmp_path / "root"
    for path in (reference, root):
        path.mkdir()
        path.chmod(0o755)
    subprocess.run(["tar", "-C", reference, "--xattrs", "-xpf", packed], check=True)
    with packed.open("rb") as stream:
        made = unpack_file(stream.fileno(), "archive", str(root), Limits(1 << 30, 100_000))
    assert made.entries > 100

    def seen(top: pathlib.Path) -> str:
        lines = []
        for name, mode, uid, gid, links, mtime, content in listing(top):
            if name != str(top) and not name.endswith("x86_64-linux-gnu") and not name.endswith("/python3"):
                data = content if isinstance(content, bytes) else os.fsencode(content)
                lines.append(
                    (
                        name[len(str(top)) :],
                        mode,
                        uid,
                        gid,
                        links if stat.S_ISREG(mode) else 0,
                        mtime,
                        hashlib.sha256(data).hexdigest(),
                    )
                )
        return "\n".join(map(str, lines))

    assert seen(root) == seen(reference)
