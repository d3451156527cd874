# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Layers of an image on top of each other, by the image layer filesystem changeset of OCI's image specification."""

from __future__ import annotations

import contextlib
import os
import stat
import tarfile
import typing as t

from .archive import Refused
from .tree import DEPTH, Tree, kept, split

_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"
_RESERVED = ".wh..wh."
"""Other names of aufs that mean nothing to anybody else (`.wh..wh.plnk`)."""
_LINKS = 40
"""Links that the kernel follows in one path, too (path_resolution(7))."""


class Layers(Tree):
    """A tree that layers are unpacked into, lower ones first.

    Unlike an archive's, an entry's directory may be reached by symbolic links, such as those of a merged /usr in a lower
    layer: they are followed inside the root, to directories that are there.
    """

    def __init__(self, root: int, max_size: int, max_entries: int) -> None:
        super().__init__(root, max_size, max_entries)
        self._touched: set[tuple[str, ...]] = set()

    def begin(self) -> None:
        """Begin the next layer: what is there is what whiteouts of it hide."""
        self._touched.clear()

    def _parent(self, parts: t.Sequence[str], entry: str, make: bool = True) -> tuple[int, list[str]]:
        """As in an archive, but through symbolic links, which mean paths of the root."""
        opened = [os.dup(self.root)]
        done: list[str] = []
        todo = [(part, True) for part in reversed(parts[:-1])]
        links = 0
        try:
            while todo:
                part, own = todo.pop()
                if part == "..":
                    if not done:
                        raise Refused("a symbolic link in its path leads out of the root", entry)
                    os.close(opened.pop())
                    done.pop()
                    continue
                below = self._enter(opened[-1], part, entry, make and own)
                if isinstance(below, int):
                    opened.append(below)
                    done.append(part)
                    if len(done) > DEPTH:
                        raise Refused(f"its path has more than {DEPTH} directories", entry)
                    continue
                links += 1
                if links > _LINKS:
                    raise Refused(f"its path leads through more than {_LINKS} symbolic links", entry)
                if below.startswith("/"):
                    while done:
                        os.close(opened.pop())
                        done.pop()
                todo += [(step, False) for step in reversed(below.split("/")) if step not in ("", ".")]
            return os.dup(opened[-1]), done
        finally:
            for descriptor in opened:
                os.close(descriptor)

    @staticmethod
    def _enter(here: int, part: str, entry: str, make: bool) -> int | str:
        """A descriptor of a directory, or what the symbolic link in its place holds."""
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
        try:
            return os.open(part, flags, dir_fd=here)
        except FileNotFoundError:
            if not make:
                raise Refused(
                    f"{part} is not in the image before it, where its path or the target of a link leads", entry
                ) from None
            os.mkdir(part, 0o755, dir_fd=here)
            return os.open(part, flags, dir_fd=here)
        except OSError as error:
            with contextlib.suppress(OSError):
                return os.readlink(part, dir_fd=here)
            raise Refused(f"{part} in its path is no directory ({error.strerror})", entry) from error

    def add(self, archive: tarfile.TarFile, info: tarfile.TarInfo) -> None:
        """Make one entry, or remove what a whiteout hides.

        :raises Refused: it is not made by policy.
        """
        base = info.name.rstrip("/").rpartition("/")[2]
        if not base.startswith(_WHITEOUT):
            super().add(archive, info)
            return
        self.count(info.name)
        parts = split(info.name, "its name", info.name)
        if base == _OPAQUE:
            self._hide(parts[:-1], None, info.name)
        elif not base.startswith(_RESERVED):
            hidden = base[len(_WHITEOUT) :]
            if hidden in ("", ".", ".."):
                raise Refused(f"it is a whiteout of {hidden!r}, which is no entry", info.name)
            self._hide(parts[:-1], hidden, info.name)

    def _hide(self, parts: list[str], name: str | None, entry: str) -> None:
        """Remove a name of a directory, or all of them, as far as lower layers have it. No symbolic link is followed."""
        holder = self._lower(parts, entry)
        if holder is None:
            return
        try:
            for found in os.listdir(holder) if name is None else [name]:
                with contextlib.suppress(FileNotFoundError):
                    self._remove(holder, (*parts, found))
        finally:
            os.close(holder)

    def _lower(self, parts: list[str], entry: str) -> int | None:
        """A descriptor of a directory; None if nothing is hidden in it: it is missing, no directory, or a link in its place is this layer's.

        :raises Refused: a lower layer has a symbolic link in its path.
        """
        here = os.dup(self.root)
        for length, part in enumerate(parts, 1):
            try:
                below = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=here)
            except FileNotFoundError:
                os.close(here)
                return None
            except OSError as error:
                found = os.stat(part, dir_fd=here, follow_symlinks=False)
                os.close(here)
                if stat.S_ISLNK(found.st_mode) and tuple(parts[:length]) not in self._touched:
                    raise Refused(f"{part} in its path is a symbolic link", entry) from error
                if stat.S_ISDIR(found.st_mode):
                    raise
                return None
            os.close(here)
            here = below
        return here

    def _remove(self, holder: int, path: tuple[str, ...]) -> bool:
        """Remove what this layer has not made; whether all is gone."""
        if not stat.S_ISDIR(os.stat(path[-1], dir_fd=holder, follow_symlinks=False).st_mode):
            if path in self._touched:
                return False
            os.unlink(path[-1], dir_fd=holder)
            return True
        here = os.open(path[-1], os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=holder)
        try:
            gone = [self._remove(here, (*path, name)) for name in os.listdir(here)]
        finally:
            os.close(here)
        if path in self._touched or not all(gone):
            return False
        os.rmdir(path[-1], dir_fd=holder)
        self.times.pop(path, None)
        return True

    def _clear(self, parent: int, parts: t.Sequence[str], directory: bool, entry: str) -> None:
        """Something else in place of a lower layer's directory removes all of that."""
        if not directory:
            with contextlib.suppress(FileNotFoundError):
                self._remove(parent, tuple(parts))
        super()._clear(parent, parts, directory, entry)

    def _make(self, archive: tarfile.TarFile, info: tarfile.TarInfo, parent: int, parts: list[str]) -> None:
        super()._make(archive, info, parent, parts)
        self._touched.update(tuple(parts[:length]) for length in range(1, len(parts) + 1))

    def _finish(self, descriptor: int, info: tarfile.TarInfo, parts: list[str]) -> None:
        """A directory of a lower layer keeps none of the attributes that it had there."""
        if info.isdir():
            for name in os.listxattr(descriptor):
                if kept(name):
                    os.removexattr(descriptor, name)
        super()._finish(descriptor, info, parts)
