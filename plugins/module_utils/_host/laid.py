# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Files that are laid into a root filesystem. Every path is opened inside of it (openat2(2)): its links mean its own files."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import typing as t
from dataclasses import dataclass

from .._errors import IsolationError
from .helpers import rootfs as _helper
from .helpers.rootfs import Layout
from .inroot import open_in_root, resolve

_DIRECTORIES = ("dev", "etc", "proc", "run", "sys")
_FILES = ("etc/hostname", "etc/hosts", "etc/resolv.conf")
"""What a runtime mounts on. They are real entries, whatever the image has there: a link would lead the mount astray."""


class LayingError(IsolationError):
    """A file can't be laid in."""


@dataclass(frozen=True)
class LaidFile:
    """A file (or with `content` None a directory) in a root filesystem; owner and group are ids inside the service."""

    path: str
    content: bytes | None
    mode: int
    owner: int
    group: int


@dataclass(frozen=True)
class SeenFile:
    """What is found of such a file: its sha256 (None for a directory), and its owner and group inside the service."""

    digest: str | None
    mode: int
    owner: int
    group: int


def content_digest(content: bytes) -> str:
    """The sha256 of a file's content, in hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def see_file(root: int, path: str, id_base: int) -> SeenFile | None:
    """A file as it is, without following a link in its place and without waiting for a pipe."""
    try:
        parent = open_in_root(root, os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return None
    try:
        name = os.path.basename(path)
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
        found = os.stat(name, dir_fd=parent, follow_symlinks=False)
        digest = None
        if stat.S_ISREG(found.st_mode):
            with os.fdopen(os.open(name, flags, dir_fd=parent), "rb") as stream:
                digest = content_digest(stream.read())
        elif not stat.S_ISDIR(found.st_mode):
            return None
        return SeenFile(digest, stat.S_IMODE(found.st_mode), found.st_uid - id_base, found.st_gid - id_base)
    except OSError:
        return None
    finally:
        os.close(parent)


def _directory(root: int, path: str, owner: tuple[int, int]) -> int:
    """A descriptor of a directory in a root, made with its parents (0755) where missing."""
    if path in ("", "/"):
        return os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=root)
    with contextlib.suppress(FileNotFoundError):
        return open_in_root(root, path, os.O_RDONLY | os.O_DIRECTORY)
    parent = _directory(root, os.path.dirname(path), owner)
    try:
        os.mkdir(os.path.basename(path), 0o755, dir_fd=parent)
        made = os.open(
            os.path.basename(path), os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent
        )
        os.fchmod(made, 0o755)
        os.fchown(made, *owner)
        return made
    finally:
        os.close(parent)


def _write(parent: int, name: str, content: bytes, owner: tuple[int, int], mode: int) -> None:
    """A file in a directory, by rename: a link or file that has its name is replaced, not followed."""
    staged = ".isolation-staged"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(staged, dir_fd=parent)
    descriptor = os.open(
        staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=parent
    )
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fchown(descriptor, *owner)
        os.fchmod(descriptor, mode)
        os.fsync(descriptor)
    os.rename(staged, name, src_dir_fd=parent, dst_dir_fd=parent)


def lay(root: int, file: LaidFile, id_base: int) -> None:
    """Lay a file into the root of a descriptor, unless it is there.

    :raises LayingError: it can't be, or not there.
    """
    owner = (id_base + file.owner, id_base + file.group)
    try:
        if file.content is None:
            made = _directory(root, file.path, (id_base, id_base))
            try:
                os.fchown(made, *owner)
                os.fchmod(made, file.mode)
            finally:
                os.close(made)
            return
        wanted = SeenFile(content_digest(file.content), file.mode, file.owner, file.group)
        if see_file(root, file.path, id_base) == wanted:
            return
        parent = _directory(root, os.path.dirname(file.path), (id_base, id_base))
        try:
            _write(parent, os.path.basename(file.path), file.content, owner, file.mode)
        finally:
            os.close(parent)
    except OSError as error:
        raise LayingError(f"files: {file.path}: can't be laid into the root filesystem: {error.strerror}") from error


def make_frame(root: int, id_base: int) -> None:
    """Make the mount points of a runtime real."""
    for name in _DIRECTORIES:
        with contextlib.suppress(FileNotFoundError):
            if stat.S_ISDIR(os.stat(name, dir_fd=root, follow_symlinks=False).st_mode):
                continue
            os.unlink(name, dir_fd=root)
        os.close(_directory(root, "/" + name, (id_base, id_base)))
    etc = os.open("etc", os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=root)
    try:
        for path in _FILES:
            name = os.path.basename(path)
            with contextlib.suppress(FileNotFoundError):
                if stat.S_ISREG(os.stat(name, dir_fd=etc, follow_symlinks=False).st_mode):
                    continue
            _write(etc, name, b"", (id_base, id_base), 0o644)
    finally:
        os.close(etc)


def forget(layout: Layout, paths: t.Sequence[str]) -> None:
    """Remove files from the own layer, so that the image's show again. The overlay is not mounted."""
    found = []
    descriptor = _helper.build(layout, writable=True)
    try:
        shown = f"/proc/self/fd/{descriptor}"
        for path in paths:
            parent = resolve(shown, os.path.dirname(path))
            if parent is not None:
                found.append(os.path.join(parent, os.path.basename(path)))
    finally:
        os.close(descriptor)
    own = os.open(layout.upper, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for path in found:
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                parent_fd = open_in_root(own, os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY)
                try:
                    os.unlink(os.path.basename(path), dir_fd=parent_fd)
                finally:
                    os.close(parent_fd)
    finally:
        os.close(own)
