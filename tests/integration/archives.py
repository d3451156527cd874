# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Archives and images that tests make: ordinary ones, and those that nobody should."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import pathlib
import stat
import subprocess
import tarfile
import typing as t

Entry = tuple[tarfile.TarInfo, bytes]

TAR = "application/vnd.oci.image.layer.v1.tar"
MANIFEST, INDEX = "application/vnd.oci.image.manifest.v1+json", "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
REF_NAME = "org.opencontainers.image.ref.name"


def entry(name: str, content: bytes = b"evil", **fields: t.Any) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for key, value in fields.items():
        setattr(info, key, value)
    if info.type != tarfile.REGTYPE:
        info.size, content = 0, b""
    return info, content


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tuple[tarfile.TarInfo, bytes]:
    return entry(name, type=kind, linkname=target)


def hard(name: str, target: str) -> tuple[tarfile.TarInfo, bytes]:
    return link(name, target, tarfile.LNKTYPE)


def folder(name: str, **fields: t.Any) -> tuple[tarfile.TarInfo, bytes]:
    return entry(name, type=tarfile.DIRTYPE, **{"mode": 0o755, **fields})


def archive(*entries: tuple[tarfile.TarInfo, bytes], form: int = tarfile.GNU_FORMAT) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=form) as made:
        for info, content in entries:
            made.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def sparse(name: str, size: int) -> bytes:
    """A sparse file of GNU tar that claims a size, and has no content."""
    info = tarfile.TarInfo(name)
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[156:157] = tarfile.GNUTYPE_SPARSE
    header[386:410] = b"00000000000\0" + b"00000000000\0"
    header[483:495] = b"\x80\0\0\0" + size.to_bytes(8, "big")
    header[148:156] = b"        "
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + bytes(1024)


def listing(top: pathlib.Path) -> list[tuple[t.Any, ...]]:
    """All of a tree, byte by byte."""
    found = []
    for path in sorted([top, *top.rglob("*")]):
        status = path.lstat()
        content = path.read_bytes() if stat.S_ISREG(status.st_mode) else os.readlink(path) if path.is_symlink() else b""
        found.append(
            (str(path), status.st_mode, status.st_uid, status.st_gid, status.st_nlink, status.st_mtime_ns, content)
        )
    return found


def zstd(data: bytes) -> bytes:
    return subprocess.run(["zstd", "-qc"], input=data, stdout=subprocess.PIPE, check=True).stdout


def sha256(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


class Layout:
    """An image layout of OCI that is written by hand, so that it can be wrong in any way."""

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path
        self.entries: list[dict[str, t.Any]] = []
        (path / "blobs/sha256").mkdir(parents=True)
        (path / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
        self.write()

    def write(self) -> None:
        (self.path / "index.json").write_text(
            json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": self.entries})
        )

    def file(self, digest: str) -> pathlib.Path:
        return self.path / "blobs" / digest.replace(":", "/")

    def blob(self, data: bytes, kind: str) -> dict[str, t.Any]:
        self.file(sha256(data)).write_bytes(data)
        return {"mediaType": kind, "digest": sha256(data), "size": len(data)}

    def manifest(
        self,
        *layers: bytes,
        pack: str = "gzip",
        kind: str | None = None,
        diff_ids: list[str] | None = None,
        **config: t.Any,
    ) -> dict[str, t.Any]:
        """An image of uncompressed layers, which it packs; a descriptor of its manifest."""
        packers: dict[str, t.Callable[[bytes], bytes]] = {"gzip": gzip.compress, "zstd": zstd, "tar": bytes}
        media = kind or (TAR if pack == "tar" else f"{TAR}+{pack}")
        document = {
            "os": "linux",
            "architecture": "amd64",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": diff_ids or [sha256(layer) for layer in layers]},
            **config,
        }
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": self.blob(json.dumps(document).encode(), CONFIG),
            "layers": [self.blob(packers[pack](layer), media) for layer in layers],
        }
        return self.blob(json.dumps(manifest).encode(), MANIFEST)

    def index(self, *entries: tuple[str, dict[str, t.Any]]) -> dict[str, t.Any]:
        """An index of images by architecture."""
        manifests = [{**entry, "platform": {"os": "linux", "architecture": name}} for name, entry in entries]
        document = {"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests}
        return self.blob(json.dumps(document).encode(), INDEX)

    def add(self, entry: dict[str, t.Any], name: str | None = None) -> str:
        """Name an image in the layout's index; its digest."""
        self.entries.append({**entry, "annotations": {REF_NAME: name}} if name else entry)
        self.write()
        return str(entry["digest"])

    def image(self, *layers: bytes, name: str | None = None, **options: t.Any) -> str:
        return self.add(self.manifest(*layers, **options), name)
