# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Unpack an archive from standard input into a directory, confined: `unpack DIRECTORY MAX_SIZE MAX_ENTRIES`.

Managed by daemonless.isolation. Run as a program of its own, which reads hostile data: it has mount, pid, network,
ipc and uts namespaces of its own, the directory is all of its file system (pivot_root(2)), it keeps the few
capabilities that ownership takes, and its memory is limited. Inside, every path is walked by descriptors that follow
no symbolic link. What is refused is named; the answer is one line of JSON on standard output.
"""

from __future__ import annotations

import bz2
import contextlib
import ctypes
import errno
import gzip
import io
import json
import lzma
import os
import re
import resource
import signal
import stat
import sys
import tarfile
import typing as t
import zlib

IDS = 65536
DEPTH = 256
MEMORY = 2 << 30
CHUNK = 1 << 18
_KEEP = ("security.capability",)
_KEEP_PREFIX = "user."
_XATTR = "SCHILY.xattr."

# capabilities(7): CHOWN, DAC_OVERRIDE, FOWNER, FSETID, SETFCAP
_CAPABILITIES = (0, 1, 3, 4, 31)
_NEWNS, _NEWUTS, _NEWIPC, _NEWPID, _NEWNET = 0x20000, 0x4000000, 0x8000000, 0x20000000, 0x40000000
_MS_NOSUID, _MS_NODEV, _MS_NOEXEC, _MS_REMOUNT, _MS_BIND, _MS_REC, _MS_PRIVATE = 2, 4, 8, 32, 4096, 0x4000, 0x40000
_MNT_DETACH = 2
_PR_SET_PDEATHSIG, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS = 1, 24, 38
_CAPABILITY_VERSION_3 = 0x20080522


class Refused(Exception):
    """The archive can't be unpacked; `entry` names the entry that is why."""

    def __init__(self, message: str, entry: str | None = None) -> None:
        super().__init__(message)
        self.entry = entry


class Input(io.RawIOBase):
    """The unpacked byte stream: forward only, counted, and never longer than its limit."""

    def __init__(self, source: t.IO[bytes], limit: int) -> None:
        self._source = source
        self._limit = limit
        self._position = 0

    def readable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """How much has been read."""
        return self._position

    def read(self, size: int = -1) -> bytes:
        """Exactly `size` bytes, fewer only at the end."""
        parts = []
        while size != 0:
            part = self._source.read(min(size, CHUNK) if size > 0 else CHUNK)
            if not part:
                break
            self._position += len(part)
            if self._position > self._limit:
                raise Refused(f"the archive unpacks to more than {self._limit} bytes: raise max_size if that is meant")
            parts.append(part)
            size -= len(part) if size > 0 else 0
        return b"".join(parts)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Skip forward."""
        missing = offset - self._position
        if whence != io.SEEK_SET or missing < 0:
            raise tarfile.ReadError("the archive refers back to what has been read")
        while missing > 0:
            part = self.read(min(missing, CHUNK))
            if not part:
                raise tarfile.ReadError("unexpected end of data")
            missing -= len(part)
        return self._position


class Archive(tarfile.TarFile):
    """A tar archive that is read strictly: what is no header, and a missing end, are errors (the standard class takes both for the end)."""

    firstmember: tarfile.TarInfo | None
    members: list[tarfile.TarInfo]

    def next(self) -> tarfile.TarInfo | None:
        """The next entry, or None at the end-of-archive block (pax(1))."""
        first: tarfile.TarInfo | None = self.firstmember
        self.firstmember = None
        if first is not None:
            return first
        t.cast("Input", self.fileobj).seek(self.offset)
        try:
            return tarfile.TarInfo.fromtarfile(self)
        except tarfile.HeaderError as error:
            if type(error).__name__ == "EOFHeaderError":
                return None
            raise


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
        self._times: list[tuple[list[str], tuple[int, int], str]] = []

    def _parent(self, parts: t.Sequence[str], entry: str, make: bool = True) -> int:
        """A descriptor of the directory that holds `parts`; missing ones are made. No symbolic link is followed."""
        here = os.dup(self.root)
        for part in parts[:-1]:
            try:
                below = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=here)
            except FileNotFoundError:
                if not make:
                    os.close(here)
                    raise Refused("the target of the link is not in the archive before it", entry) from None
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

    def _clear(self, parent: int, base: str, directory: bool, entry: str) -> None:
        """Make room for an entry: a later entry of a name replaces the earlier one, as tar has it."""
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

    def add(self, archive: tarfile.TarFile, info: tarfile.TarInfo) -> None:
        """Make one entry.

        :raises Refused: it is not made by policy.
        """
        entry = info.name
        self.entries += 1
        if self.entries > self.max_entries:
            raise Refused(
                f"the archive has more than {self.max_entries} entries: raise max_entries if that is meant", entry
            )
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
            self._finish(self.root, None, info, parts)
            return
        parent = self._parent(parts, entry)
        try:
            self._make(archive, info, parent, parts)
        finally:
            os.close(parent)

    def _make(self, archive: tarfile.TarFile, info: tarfile.TarInfo, parent: int, parts: list[str]) -> None:
        base = parts[-1]
        if info.islnk():
            self._link(info, parent, base)
            return
        self._clear(parent, base, info.isdir(), info.name)
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
            self._finish(descriptor, base, info, parts)
        finally:
            os.close(descriptor)

    def _link(self, info: tarfile.TarInfo, parent: int, base: str) -> None:
        target = split(info.linkname, "the target of the link", info.name)
        if not target:
            raise Refused("the target of the link is the root", info.name)
        holder = self._parent(target, info.name, make=False)
        try:
            found = os.stat(target[-1], dir_fd=holder, follow_symlinks=False)
            if stat.S_ISDIR(found.st_mode):
                raise Refused("the target of the link is a directory", info.name)
            with contextlib.suppress(FileNotFoundError):
                own = os.stat(base, dir_fd=parent, follow_symlinks=False)
                if (own.st_dev, own.st_ino) == (found.st_dev, found.st_ino):
                    return
            self._clear(parent, base, False, info.name)
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

    def _finish(self, descriptor: int, base: str | None, info: tarfile.TarInfo, parts: list[str]) -> None:
        """Owner, then mode (chown(2) clears setuid bits and capabilities), extended attributes, time."""
        os.fchown(descriptor, info.uid, info.gid)
        os.fchmod(descriptor, info.mode & 0o7777)
        for key, value in info.pax_headers.items():
            name = key[len(_XATTR) :]
            if key.startswith(_XATTR) and (name in _KEEP or name.startswith(_KEEP_PREFIX)):
                self._label(descriptor, name, value.encode("utf-8", "surrogateescape"))
        if info.isdir():
            self._times.append((parts, _times(info), info.name))
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
        for parts, times, entry in reversed(self._times):
            if not parts:
                os.utime(self.root, ns=times)
                continue
            with contextlib.suppress(OSError, Refused):  # a later entry has replaced it
                parent = self._parent(parts, entry, make=False)
                try:
                    os.utime(parts[-1], ns=times, dir_fd=parent, follow_symlinks=False)
                finally:
                    os.close(parent)


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


def decompress(stream: io.BufferedReader) -> t.IO[bytes]:
    """The content of gzip, xz or bzip2 data, or of plain data as it is."""
    magic = stream.peek(6)[:6]
    if magic.startswith(b"\x1f\x8b"):
        return t.cast("t.IO[bytes]", gzip.GzipFile(fileobj=stream))
    if magic.startswith(b"\xfd7zXZ\0"):
        return t.cast("t.IO[bytes]", lzma.LZMAFile(stream))
    if magic.startswith(b"BZh"):
        return t.cast("t.IO[bytes]", bz2.BZ2File(stream))
    return stream


def unpack(stream: io.BufferedReader, root: int, max_size: int, max_entries: int) -> dict[str, int]:
    """Unpack a whole archive below a directory's descriptor; return what was made.

    :raises Refused: an entry or the archive is not acceptable.
    """
    tree = Tree(root, max_size, max_entries)
    # Headers and padding come on top of the files' content; 2 KiB an entry is more than ordinary ones take.
    source = Input(decompress(stream), max_size + 2048 * max_entries)
    entry: str | None = None
    try:
        archive = Archive(fileobj=t.cast("t.IO[bytes]", source), mode="r", encoding="utf-8", errors="surrogateescape")
        while True:
            info = archive.next()
            if info is None:
                break
            archive.members = []
            entry = info.name
            tree.add(archive, info)
        entry = None
        while source.read(CHUNK):  # checksums of compressed data stand at its end
            pass
        tree.close()
    except tarfile.TarError as error:
        where = f"after {entry}" if entry else "at its beginning"
        raise Refused(
            f"it is damaged or cut off, or no tar archive (plain, or compressed by gzip, xz, bzip2 or zstd), {where}: {error}"
        ) from error
    except (EOFError, zlib.error, lzma.LZMAError) as error:
        raise Refused(f"its compressed data is damaged or cut off: {error}", entry) from error
    except (OSError, ValueError, MemoryError) as error:
        raise Refused(f"{type(error).__name__}: {error}", entry) from error
    return {"size": tree.size, "entries": tree.entries, "devices": tree.devices, "xattrs_lost": tree.unlabelled}


def _check(libc: ctypes.CDLL, result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise Refused(f"the process that unpacks can't be confined: {what}: {os.strerror(number)}")


def confine(libc: ctypes.CDLL, directory: str) -> None:
    """Make a directory the whole file system, and give up what unpacking doesn't take.

    :raises Refused: the kernel did not allow it; nothing has been read from the archive then.
    """
    path = os.fsencode(directory)
    _check(
        libc, libc.mount(b"none", b"/", None, ctypes.c_ulong(_MS_REC | _MS_PRIVATE), None), "mount --make-rprivate /"
    )
    _check(libc, libc.mount(path, path, None, ctypes.c_ulong(_MS_BIND), None), "bind mount")
    flags = _MS_REMOUNT | _MS_BIND | _MS_NOSUID | _MS_NODEV | _MS_NOEXEC
    _check(libc, libc.mount(b"none", path, None, ctypes.c_ulong(flags), None), "remount")
    os.chdir(directory)
    _check(libc, libc.pivot_root(b".", b"."), "pivot_root")
    _check(libc, libc.umount2(b".", _MNT_DETACH), "umount")
    os.chdir("/")
    for capability in range(64):
        if capability not in _CAPABILITIES and libc.prctl(_PR_CAPBSET_DROP, ctypes.c_ulong(capability), 0, 0, 0) != 0:
            break  # the kernel has no more
    low = sum(1 << number for number in _CAPABILITIES)
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    data = (ctypes.c_uint32 * 6)(low, low, 0, 0, 0, 0)
    _check(libc, libc.capset(header, data), "capset")
    _check(libc, libc.prctl(_PR_SET_NO_NEW_PRIVS, ctypes.c_ulong(1), 0, 0, 0), "no_new_privs")


def _serve(arguments: t.Sequence[str]) -> dict[str, t.Any]:
    directory, max_size, max_entries = arguments[0], int(arguments[1]), int(arguments[2])
    try:
        confine(ctypes.CDLL(None, use_errno=True), directory)
        root = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
        return dict(unpack(io.BufferedReader(io.FileIO(0), CHUNK), root, max_size, max_entries))
    except Refused as error:
        return {"error": str(error), "entry": error.entry}
    except OSError as error:
        return {"error": str(error), "entry": None}


def main(arguments: t.Sequence[str]) -> int:
    """Be the program. The process that starts it dies with its parent, and the one that unpacks with it."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL), 0, 0, 0)
    os.umask(0)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if libc.unshare(_NEWNS | _NEWUTS | _NEWIPC | _NEWPID | _NEWNET) != 0:
        sys.stdout.write(
            json.dumps({"error": f"unshare: {os.strerror(ctypes.get_errno())}: run as root", "entry": None})
        )
        return 1
    child = os.fork()
    if child == 0:
        libc.prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL), 0, 0, 0)
        sys.stdout.write(json.dumps(_serve(arguments)))
        sys.stdout.flush()
        os._exit(0)
    _pid, status = os.waitpid(child, 0)
    return 0 if status == 0 else 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
