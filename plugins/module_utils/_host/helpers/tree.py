# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The directory that is unpacked into, walked by descriptors that follow no symbolic link."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
import tarfile
import typing as t

from .archive import CHUNK, Refused

IDS = 65536
DEPTH = 256
_XATTR = "SCHILY.xattr."


def split(name: str, what: str, entry: str) -> list[str]:
    """The parts of a path of the archive.

    :raises Refused: it leaves the root, or nobody could use it.
    """
    if name.startswith("/"):
        raise Refused(f"{what} is an absolute path", entry)
    if "\0" in name:
        raise Refused(f"{what} contains a NUL character", entry)
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise Refused(f"{what} contains ..", entry)
    if len(parts) > DEPTH:
        raise Refused(f"{what} has more than {DEPTH} directories", entry)
    return parts


def kept(name: str) -> bool:
    """Whether an extended attribute is kept: none that means something to the host's kernel, but capabilities of files."""
    return name == "security.capability" or name.startswith("user.")


class Tree:
    """The directory that is unpacked into. Owners, modes, times, links, extended attributes as the archive has them; no devices."""

    def __init__(self, root: int, max_size: int, max_entries: int) -> None:
        self.root = root
        self.max_size = max_size
        self.max_entries = max_entries
        self.size = 0
        self.entries = 0
        self.devices = 0
        self.unlabelled = 0
        self.times: dict[tuple[str, ...], tuple[int, int]] = {}

    def _descend(self, parts: t.Sequence[str], entry: str, make: bool) -> int | None:
        """A descriptor of the directory `parts`; None if it is missing and not made. No symbolic link is followed."""
        here = os.dup(self.root)
        for part in parts:
            try:
                below = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=here)
            except FileNotFoundError:
                if not make:
                    os.close(here)
                    return None
                os.mkdir(part, 0o755, dir_fd=here)
                below = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=here)
            except OSError as error:
                os.close(here)
                raise Refused(
                    f"{part} in its path is a symbolic link or no directory ({error.strerror})", entry
                ) from error
            os.close(here)
            here = below
        return here

    def _parent(self, parts: t.Sequence[str], entry: str, make: bool = True) -> tuple[int, list[str]]:
        """A descriptor of the directory that holds `parts`, and its path; missing ones are made, or are what is refused.

        :raises Refused: there is something else in the way.
        """
        holder = self._descend(parts[:-1], entry, make)
        if holder is None:
            raise Refused("the target of the link is not in the archive before it", entry)
        return holder, list(parts[:-1])

    def _clear(self, parent: int, parts: t.Sequence[str], directory: bool, entry: str) -> None:
        """Make room for an entry: a later entry of a name replaces the earlier one, as tar has it."""
        base = parts[-1]
        try:
            found = os.stat(base, dir_fd=parent, follow_symlinks=False)
        except FileNotFoundError:
            return
        if not stat.S_ISDIR(found.st_mode):
            os.unlink(base, dir_fd=parent)
        elif not directory:
            try:
                os.rmdir(base, dir_fd=parent)
            except OSError:
                raise Refused("it would replace a directory that is not empty", entry) from None

    def count(self, entry: str) -> None:
        """Count an entry.

        :raises Refused: there are more than are allowed.
        """
        self.entries += 1
        if self.entries > self.max_entries:
            raise Refused(
                f"the archive has more than {self.max_entries} entries: raise max_entries if that is meant", entry
            )

    def add(self, archive: tarfile.TarFile, info: tarfile.TarInfo) -> None:
        """Make one entry.

        :raises Refused: it is not made by policy.
        """
        entry = info.name
        self.count(entry)
        parts = split(entry, "its name", entry)
        if info.ischr() or info.isblk() or info.isfifo():
            if parts[:1] != ["dev"]:
                raise Refused("it is a device or a named pipe, which a root filesystem has only under /dev", entry)
            self.devices += 1
            return
        if not (0 <= info.uid < IDS and 0 <= info.gid < IDS):
            raise Refused(f"its owner {info.uid}:{info.gid} is outside of the {IDS} ids of a service", entry)
        if not parts:
            if not info.isdir():
                raise Refused("the root is not a directory", entry)
            self._finish(self.root, info, parts)
            return
        parent, path = self._parent(parts, entry)
        try:
            self._make(archive, info, parent, [*path, parts[-1]])
        finally:
            os.close(parent)

    def _make(self, archive: tarfile.TarFile, info: tarfile.TarInfo, parent: int, parts: list[str]) -> None:
        base = parts[-1]
        if info.islnk():
            self._link(info, parent, parts)
            return
        self._clear(parent, parts, info.isdir(), info.name)
        if info.isdir():
            with contextlib.suppress(FileExistsError):
                os.mkdir(base, 0o700, dir_fd=parent)
            descriptor = os.open(base, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
        elif info.issym():
            os.symlink(info.linkname, base, dir_fd=parent)
            os.chown(base, info.uid, info.gid, dir_fd=parent, follow_symlinks=False)
            os.utime(base, ns=_times(info), dir_fd=parent, follow_symlinks=False)
            return
        elif info.isreg():
            descriptor = os.open(base, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600, dir_fd=parent)
        else:
            raise Refused(f"it is of the unknown type {info.type!r}", info.name)
        try:
            if info.isreg():
                self._fill(archive, info, descriptor)
            self._finish(descriptor, info, parts)
        finally:
            os.close(descriptor)

    def _link(self, info: tarfile.TarInfo, parent: int, parts: list[str]) -> None:
        base = parts[-1]
        target = split(info.linkname, "the target of the link", info.name)
        if not target:
            raise Refused("the target of the link is the root", info.name)
        holder, _path = self._parent(target, info.name, make=False)
        try:
            found = os.stat(target[-1], dir_fd=holder, follow_symlinks=False)
            if stat.S_ISDIR(found.st_mode):
                raise Refused("the target of the link is a directory", info.name)
            with contextlib.suppress(FileNotFoundError):
                own = os.stat(base, dir_fd=parent, follow_symlinks=False)
                if (own.st_dev, own.st_ino) == (found.st_dev, found.st_ino):
                    return
            self._clear(parent, parts, False, info.name)
            os.link(target[-1], base, src_dir_fd=holder, dst_dir_fd=parent, follow_symlinks=False)
        except FileNotFoundError:
            raise Refused("the target of the link is not in the archive before it", info.name) from None
        finally:
            os.close(holder)

    def _fill(self, archive: tarfile.TarFile, info: tarfile.TarInfo, descriptor: int) -> None:
        self.size += info.size
        if info.size < 0 or self.size > self.max_size:
            raise Refused(
                f"with it the archive unpacks to more than {self.max_size} bytes: raise max_size if that is meant",
                info.name,
            )
        content = archive.extractfile(info)
        if content is None:
            raise Refused("it has no content", info.name)
        while True:
            part = content.read(CHUNK)
            if not part:
                return
            view = memoryview(part)
            while view:
                view = view[os.write(descriptor, view) :]

    def _finish(self, descriptor: int, info: tarfile.TarInfo, parts: list[str]) -> None:
        """Owner, then mode (chown(2) clears setuid bits and capabilities), extended attributes, time."""
        os.fchown(descriptor, info.uid, info.gid)
        os.fchmod(descriptor, info.mode & 0o7777)
        for key, value in info.pax_headers.items():
            name = key[len(_XATTR) :]
            if key.startswith(_XATTR) and kept(name):
                self._label(descriptor, name, value.encode("utf-8", "surrogateescape"))
        if info.isdir():
            self.times[tuple(parts)] = _times(info)
        else:
            os.utime(descriptor, ns=_times(info))

    def _label(self, descriptor: int, name: str, value: bytes) -> None:
        """Set an extended attribute; those that this file system doesn't know (tmpfs before Linux 6.6) are counted."""
        try:
            os.setxattr(descriptor, name, value)
        except OSError as error:
            if error.errno != errno.ENOTSUP:
                raise
            self.unlabelled += 1

    def close(self) -> None:
        """Give directories their times, now that nothing is added to them any more."""
        for parts, times in self.times.items():
            with contextlib.suppress(OSError, Refused):  # a later entry has replaced it
                directory = self._descend(parts, "", make=False)
                if directory is not None:
                    os.utime(directory, ns=times)
                    os.close(directory)


def _times(info: tarfile.TarInfo) -> tuple[int, int]:
    """Access and modification time in nanoseconds; times that no file system holds become the epoch.

    A number of the class tarfile is a float, too coarse for nanoseconds, so a pax header is read as text.
    """
    moment = 0
    if 0 <= info.mtime < 1 << 33:
        match = re.fullmatch(r"(\d+)(?:\.(\d*))?", info.pax_headers.get("mtime", ""))
        moment = (
            int(match.group(1)) * 10**9 + int((match.group(2) or "")[:9].ljust(9, "0"))
            if match
            else int(info.mtime) * 10**9
        )
    return (moment, moment)
