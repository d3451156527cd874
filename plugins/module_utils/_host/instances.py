# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Root filesystems of instances: the mount, the files that are laid in, the directory that holds both."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import typing as t
from dataclasses import dataclass, field

from .. import _paths
from .._errors import IsolationError
from .._plan import Step
from .files import make_directories
from .helpers import rootfs as _helper
from .helpers.rootfs import Layout
from .images import is_leftover, staged_name
from .laid import LaidFile, SeenFile, content_digest, forget, lay, make_frame, see_file
from .mounts import Mount, Resident, residents

__all__ = ["LaidFile", "SeenFile", "content_digest"]


class InstanceError(IsolationError):
    """The root filesystem of an instance can't be made, changed or removed."""


@dataclass(frozen=True)
class Seen:
    """What the kernel has of an instance: the mount, its size in bytes, the id of its root, whether the image's files are shifted."""

    exists: bool
    mount: Mount | None = None
    size: int | None = None
    id_base: int | None = None
    shifted: bool = True
    files: t.Mapping[str, SeenFile] | None = None


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


def leftovers() -> tuple[str, ...]:
    """Layers that killed runs have made aside and left."""
    found = []
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        for name in sorted(os.listdir(_paths.INSTANCES)):
            with contextlib.suppress(OSError):
                entries = os.listdir(directory(name))
                found += [os.path.join(directory(name), entry) for entry in entries if is_leftover(entry)]
    return tuple(found)


def all_residents() -> list[Resident]:
    """The processes whose root directory is an overlay."""
    return residents()


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
        seen = {path: see_file(root, path, layout.id_base) for path in paths}
    finally:
        os.close(root)
    shifted = there and _is_shifted(layout)
    files = {path: found for path, found in seen.items() if found is not None}
    return Seen(exists, mount, filesystem.f_blocks * filesystem.f_frsize, base, shifted, files)


def _make_layers(layout: Layout) -> None:
    make_directories(layout.instance, 0o711)
    make_directories(layout.layers, 0o700)
    work = os.path.join(layout.layers, "work")
    for path in (layout.target, layout.upper, work):
        make_directories(path)
    root = os.stat(layout.image)
    os.chmod(layout.upper, stat.S_IMODE(root.st_mode))
    os.chown(layout.upper, layout.id_base + root.st_uid, layout.id_base + root.st_gid)


@dataclass(frozen=True)
class _Aside(Layout):
    """A layout whose own layer is made aside: what is there is not touched before the new one is whole.

    `held` is the name of what holds the new layers, and at last the old ones: that of this process, also in its children.
    """

    held: str = field(default_factory=staged_name)

    @property
    def aside(self) -> str:
        """Where that is."""
        return os.path.join(self.instance, self.held)

    @property
    def layers(self) -> str:
        """Where the new layers are made."""
        return os.path.join(self.aside, "layers")


def _lay_all(layout: Layout, files: t.Iterable[LaidFile]) -> int:
    """Lay files into a layout's own layer, through a mount that nobody else sees; return its descriptor."""
    descriptor = _helper.build(layout, writable=True)
    try:
        make_frame(descriptor, layout.id_base)
        for file in files:
            lay(descriptor, file, layout.id_base)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


_DESCRIPTORS = 24
"""More than mounting and laying in have open at one time."""


def _reserve() -> None:
    """Insist on the descriptors that it takes, before anything is taken down.

    :raises OSError: the process or the host has no more (EMFILE, ENFILE).
    """
    taken: list[int] = []
    try:
        taken.extend(os.open("/", os.O_RDONLY | os.O_CLOEXEC) for _number in range(_DESCRIPTORS))
    finally:
        for descriptor in taken:
            os.close(descriptor)


def _mount_again(layout: Layout | None) -> None:
    """After a failure: what was there before, as far as that goes."""
    if layout is not None:
        with contextlib.suppress(_helper.MountError, OSError):
            _helper.mount(layout)


@dataclass(frozen=True)
class MountInstance:
    """Step: bring a root filesystem that nobody uses to its layout and its files, and mount it.

    `fresh` begins with an empty layer of its own. `forget` are files that were laid in and no longer are. `before`
    is the layout that it has had, which comes back if something fails.
    """

    layout: Layout
    files: tuple[LaidFile, ...] = ()
    fresh: bool = False
    forget: tuple[str, ...] = ()
    before: Layout | None = None

    def run(self) -> None:
        """Unmount it, lay the files into its own layer, mount it. A layer that is replaced goes after the new one is whole.

        :raises InstanceError: the kernel refused, the disk is full, or a process has begun to use it.
        """
        refuse_users(self.layout.name)
        try:
            _reserve()
            if self.fresh and self.before is not None:
                self._replace()
            else:
                self._change()
        except _helper.MountError as error:
            raise InstanceError(str(error)) from error
        except OSError as error:
            where = error.filename or self.layout.instance
            raise InstanceError(f"rootfs {self.layout.name}: {where}: {error.strerror}") from error

    def _change(self) -> None:
        layout = self.layout
        _helper.detach(layout.target)
        try:
            if self.fresh:
                _remove_layers(layout.name)
            _make_layers(layout)
            if self.forget:
                forget(layout, self.forget)
            descriptor = _lay_all(layout, self.files)
            try:
                if layout.mode == "overlay":
                    _helper.attach(descriptor, layout.target)
            finally:
                os.close(descriptor)
            _helper.mount(layout)
        except BaseException:
            _mount_again(self.before)
            raise

    def _replace(self) -> None:
        layout = self.layout
        new = _Aside(layout.name, layout.image, layout.id_base, layout.mode, layout.size)
        try:
            _make_layers(new)
            os.close(_lay_all(new, self.files))
            _helper.detach(layout.target)
            self._exchange(new)
        finally:
            shutil.rmtree(new.aside, ignore_errors=True)

    def _exchange(self, new: _Aside) -> None:
        layout, old = self.layout, os.path.join(new.aside, "old")
        if os.path.lexists(layout.layers):
            os.rename(layout.layers, old)
        os.rename(new.layers, layout.layers)
        try:
            _helper.mount(layout)
        except BaseException:
            os.rename(layout.layers, new.layers)
            if os.path.lexists(old):
                os.rename(old, layout.layers)
            _mount_again(self.before)
            raise


@dataclass(frozen=True)
class Remount:
    """Step: take the mounts of layouts away that nobody uses, take other steps, and mount them again whatever came of those."""

    layouts: tuple[Layout, ...]
    steps: tuple[Step, ...]

    def run(self) -> None:
        """Do so.

        :raises InstanceError: a process has begun to use one of them.
        """
        for layout in self.layouts:
            refuse_users(layout.name)
        try:
            for layout in self.layouts:
                _helper.detach(layout.target)
            for step in self.steps:
                step.run()
        except _helper.MountError as error:
            raise InstanceError(str(error)) from error
        finally:
            for layout in self.layouts:
                _mount_again(layout)


@dataclass(frozen=True)
class RefuseUsers:
    """Step: insist that no process uses a root filesystem."""

    name: str

    def run(self) -> None:
        """Look once more, now that the host is locked.

        :raises InstanceError: one does.
        """
        refuse_users(self.name)


def refuse_users(name: str) -> None:
    """Insist that no process uses a root filesystem.

    :raises InstanceError: one does.
    """
    inside = users(name, residents())
    if inside:
        raise InstanceError(
            f"rootfs {name}: process {inside[0].pid} ({inside[0].command}) has begun to use it: stop the service first"
        )


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
    """The own layer, and what killed runs have made aside. The caller holds the host's lock."""
    with contextlib.suppress(FileNotFoundError):
        for entry in os.listdir(directory(name)):
            if entry == "layers" or is_leftover(entry):
                shutil.rmtree(os.path.join(directory(name), entry))


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
