# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Directory trees of the host: a digest of what is there, and the tree as a tar stream. No symbolic link is followed."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import tarfile
import typing as t
from dataclasses import dataclass

from .._errors import IsolationError


class TreeError(IsolationError):
    """A directory can't be read."""


@dataclass(frozen=True)
class _Entry:
    """One name of a tree. `holder` is a descriptor of its directory, valid until the walk goes on."""

    path: str
    name: str
    holder: int
    status: os.stat_result
    target: str | None


def _walk(holder: int, prefix: str) -> t.Iterator[_Entry]:
    for name in sorted(os.listdir(holder)):
        status = os.stat(name, dir_fd=holder, follow_symlinks=False)
        target = os.readlink(name, dir_fd=holder) if stat.S_ISLNK(status.st_mode) else None
        path = prefix + name
        yield _Entry(path, name, holder, status, target)
        if stat.S_ISDIR(status.st_mode):
            below = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=holder)
            try:
                yield from _walk(below, path + "/")
            finally:
                os.close(below)


def _open(path: str) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise TreeError(f"{path}: not a directory that can be read: {error.strerror}") from error


def manifest_digest(path: str) -> str:
    """A sha256 (hexadecimal) over names, kinds, modes, owners, sizes, modification times and link targets of a tree.

    :raises TreeError: it can't be read.
    """
    root = _open(path)
    digest = hashlib.sha256()
    try:
        top = os.fstat(root)
        digest.update(json.dumps([top.st_mode, top.st_uid, top.st_gid]).encode())
        for entry in _walk(root, ""):
            seen = entry.status
            size, moment = (0, 0) if stat.S_ISDIR(seen.st_mode) else (seen.st_size, seen.st_mtime_ns)
            line = [entry.path, seen.st_mode, seen.st_uid, seen.st_gid, size, moment, entry.target]
            digest.update(json.dumps(line).encode())
    except OSError as error:
        raise TreeError(
            f"{path}: {error.filename or ''}: {error.strerror}: it changed while it was read; run again"
        ) from error
    finally:
        os.close(root)
    return digest.hexdigest()


def _information(entry: _Entry) -> tarfile.TarInfo:
    status = entry.status
    info = tarfile.TarInfo(entry.path)
    info.mode, info.uid, info.gid = stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid
    info.pax_headers = {"mtime": f"{status.st_mtime_ns // 10**9}.{status.st_mtime_ns % 10**9:09}"}
    kinds = {
        stat.S_IFREG: tarfile.REGTYPE,
        stat.S_IFDIR: tarfile.DIRTYPE,
        stat.S_IFLNK: tarfile.SYMTYPE,
        stat.S_IFIFO: tarfile.FIFOTYPE,
        stat.S_IFCHR: tarfile.CHRTYPE,
        stat.S_IFBLK: tarfile.BLKTYPE,
    }
    info.type = kinds[stat.S_IFMT(status.st_mode)]
    info.linkname = entry.target or ""
    return info


def _attributes(descriptor: int) -> dict[str, str]:
    """Extended attributes in the form of pax headers."""
    try:
        names = os.listxattr(descriptor)
        return {
            f"SCHILY.xattr.{name}": os.getxattr(descriptor, name).decode("utf-8", "surrogateescape") for name in names
        }
    except OSError:  # this file system has none
        return {}


def write_tar(path: str, stream: t.IO[bytes]) -> None:
    """Write a tree as a tar archive in pax format, hard links kept. Sockets are left out.

    :raises TreeError: it can't be read, or changes meanwhile.
    """
    root = _open(path)
    links: dict[tuple[int, int], str] = {}
    try:
        with tarfile.open(
            fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT, encoding="utf-8", errors="surrogateescape"
        ) as archive:
            archive.addfile(_information(_Entry(".", ".", root, os.fstat(root), None)))
            for entry in _walk(root, ""):
                if not stat.S_ISSOCK(entry.status.st_mode):
                    _add(archive, entry, links)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise TreeError(
            f"{path}: {error.filename or ''}: {error.strerror}: it changed while it was read; run again"
        ) from error
    finally:
        os.close(root)


def _add(archive: tarfile.TarFile, entry: _Entry, links: dict[tuple[int, int], str]) -> None:
    info = _information(entry)
    identity = (entry.status.st_dev, entry.status.st_ino)
    if identity in links:
        info.type, info.linkname = tarfile.LNKTYPE, links[identity]
    elif info.isreg():
        descriptor = os.open(entry.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=entry.holder)
        with os.fdopen(descriptor, "rb") as content:
            info.size = os.fstat(descriptor).st_size
            info.pax_headers = {**info.pax_headers, **_attributes(descriptor)}
            archive.addfile(info, content)
    if not info.isreg():
        archive.addfile(info)
    if entry.status.st_nlink > 1 and not info.isdir():
        links.setdefault(identity, entry.path)
