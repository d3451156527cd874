# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Root filesystems of instances: the mount, the files that are laid in, the directory that holds both."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import stat
import typing as t
from dataclasses import dataclass

from .. import _paths
from .._errors import IsolationError
from .files import make_directories
from .helpers import rootfs as _helper
from .helpers.rootfs import Layout
from .inroot import open_in_root, resolve
from .mounts import Mount, Resident, residents

_DIRECTORIES = ("dev", "etc", "proc", "run", "sys")
_FILES = ("etc/hostname", "etc/hosts", "etc/resolv.conf")
"""What a runtime mounts on. They are real entries, whatever the image has there: a link would lead the mount astray."""


class InstanceError(IsolationError):
    """The root filesystem of an instance can't be made, changed or removed."""


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


@dataclass(frozen=True)
class Seen:
    """What the kernel has of an instance: the mount, its size in bytes, the id of its root, whether the image's files are shifted."""

    exists: bool
    mount: Mount | None = None
    size: int | None = None
    id_base: int | None = None
    shifted: bool = True
    files: t.Mapping[str, SeenFile] | None = None


def content_digest(content: bytes) -> str:
    """The sha256 of a file's content, in hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def directory(name: str) -> str:
    """The directory of an instance."""
    return os.path.join(_paths.INSTANCES, name)


def mount_point(name: str) -> str:
    """Where the root filesystem of an instance is mounted."""
    return os.path.join(directory(name), "rootfs")


def upper(name: str) -> str:
    """The instance's own layer."""
    return os.path.join(directory(name), "layers", "upper")


def users(name: str, among: t.Iterable[Resident]) -> tuple[Resident, ...]:
    """The processes that have an instance's root filesystem as their root directory, mounted on the host or not."""
    return tuple(resident for resident in among if upper(name) in resident.layers)


def all_residents() -> list[Resident]:
    """The processes whose root directory is an overlay."""
    return residents()


def _see_file(root: int, path: str, id_base: int) -> SeenFile | None:
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


def _is_shifted(layout: Layout) -> bool:
    """Whether an entry that comes from the image has its owner there plus the base. Entries of the own layer prove nothing."""
    for entry in sorted(os.listdir(layout.image)):
        if os.path.lexists(os.path.join(layout.upper, entry)):
            continue
        with contextlib.suppress(FileNotFoundError):
            shown = os.lstat(os.path.join(layout.target, entry)).st_uid
            return shown == os.lstat(os.path.join(layout.image, entry)).st_uid + layout.id_base
    return True


def see(layout: Layout, among: t.Sequence[Mount], paths: t.Sequence[str]) -> Seen:
    """What is there of an instance. `paths` are the files to look at."""
    exists = os.path.lexists(layout.layers) or os.path.lexists(layout.target)
    mount = _helper.find(layout.target, among)
    if mount is None:
        return Seen(exists)
    filesystem = os.statvfs(layout.target)
    root = os.open(layout.target, os.O_RDONLY | os.O_DIRECTORY)
    try:
        there = os.path.isdir(layout.image)
        base = os.fstat(root).st_uid - (os.stat(layout.image).st_uid if there else 0)
        seen = {path: _see_file(root, path, layout.id_base) for path in paths}
    finally:
        os.close(root)
    shifted = there and _is_shifted(layout)
    files = {path: found for path, found in seen.items() if found is not None}
    return Seen(exists, mount, filesystem.f_blocks * filesystem.f_frsize, base, shifted, files)


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


def _lay(root: int, file: LaidFile, id_base: int) -> None:
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
        if _see_file(root, file.path, id_base) == wanted:
            return
        parent = _directory(root, os.path.dirname(file.path), (id_base, id_base))
        try:
            _write(parent, os.path.basename(file.path), file.content, owner, file.mode)
        finally:
            os.close(parent)
    except OSError as error:
        raise InstanceError(f"files: {file.path}: can't be laid into the root filesystem: {error.strerror}") from error


def _frame(root: int, id_base: int) -> None:
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


def _make_layers(layout: Layout) -> None:
    make_directories(layout.instance, 0o711)
    make_directories(layout.layers, 0o700)
    work = os.path.join(layout.layers, "work")
    for path in (layout.target, layout.upper, work):
        make_directories(path)
    root = os.stat(layout.image)
    os.chmod(layout.upper, stat.S_IMODE(root.st_mode))
    os.chown(layout.upper, layout.id_base + root.st_uid, layout.id_base + root.st_gid)


def _forget(layout: Layout, paths: t.Sequence[str]) -> None:
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


@dataclass(frozen=True)
class MountInstance:
    """Step: bring a root filesystem that nobody uses to its layout and its files, and mount it.

    `fresh` begins with an empty layer of its own. `forget` are files that were laid in and no longer are.
    """

    layout: Layout
    files: tuple[LaidFile, ...] = ()
    fresh: bool = False
    forget: tuple[str, ...] = ()

    def run(self) -> None:
        """Unmount it, lay the files into its own layer through a mount that nobody else sees, mount it.

        :raises InstanceError: the kernel refused, or a process has begun to use it.
        """
        layout = self.layout
        inside = users(layout.name, residents())
        if inside:
            raise InstanceError(
                f"rootfs {layout.name}: process {inside[0].pid} ({inside[0].command}) has begun to use it: stop the service first"
            )
        try:
            _helper.detach(layout.target)
            if self.fresh:
                _remove_layers(layout.name)
            _make_layers(layout)
            if self.forget:
                _forget(layout, self.forget)
            descriptor = _helper.build(layout, writable=True)
            try:
                _frame(descriptor, layout.id_base)
                for file in self.files:
                    _lay(descriptor, file, layout.id_base)
                if layout.mode == "overlay":
                    _helper.attach(descriptor, layout.target)
            finally:
                os.close(descriptor)
            _helper.mount(layout)
        except _helper.MountError as error:
            raise InstanceError(str(error)) from error


@dataclass(frozen=True)
class UnmountInstance:
    """Step: unmount a root filesystem; `lazy` although processes use it."""

    name: str
    lazy: bool = False

    def run(self) -> None:
        """Unmount it.

        :raises InstanceError: something uses it.
        """
        try:
            _helper.detach(mount_point(self.name), self.lazy)
        except _helper.MountError as error:
            raise InstanceError(str(error)) from error


def _remove_layers(name: str) -> None:
    layers = os.path.join(directory(name), "layers")
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(layers)


@dataclass(frozen=True)
class RemoveInstance:
    """Step: remove the own layer and the mount point of an instance; its directory too, unless a service has files in it."""

    name: str

    def run(self) -> None:
        """Remove them.

        :raises InstanceError: it is still mounted.
        """
        if _helper.find(mount_point(self.name), _helper.mounts()) is not None:
            raise InstanceError(f"rootfs {self.name}: {mount_point(self.name)} is still mounted")
        _remove_layers(self.name)
        for path in (mount_point(self.name), directory(self.name)):
            with contextlib.suppress(FileNotFoundError, OSError):
                os.rmdir(path)
