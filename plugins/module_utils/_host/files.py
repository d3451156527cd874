# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Files that are whole or absent, whatever interrupts their writing, and the host's lock."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import tempfile
import time
import typing as t
from dataclasses import dataclass

from .. import _paths
from .._errors import IsolationError


def read_text(path: str) -> str | None:
    """The content of a file, or None if there is no such file (or one of its parents is none)."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as stream:
            return stream.read()
    except (FileNotFoundError, NotADirectoryError):
        return None


def sync_directory(path: str) -> None:
    """Make the entries of a directory durable (fsync(2): an fsync of the file alone does not)."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _note_of(path: str) -> str | None:
    """A file that tells that a directory was made here, where some systems have one of their own that may be empty."""
    return os.path.join(path, ".isolation") if path == os.path.dirname(_paths.LIBEXEC) else None


def make_directories(path: str, mode: int = 0o755) -> None:
    """Make a directory and its missing parents; the parents get 0755, whatever the umask."""
    if os.path.isdir(path):
        return
    parent = os.path.dirname(path)
    if parent and parent != path:
        make_directories(parent)
    with contextlib.suppress(FileExistsError):
        os.mkdir(path)
        os.chmod(path, mode)
        note = _note_of(path)
        if note is not None:
            os.close(os.open(note, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644))


def write_atomic(path: str, text: str, mode: int = 0o644) -> None:
    """Replace a file as a whole: write beside it, fsync, rename, fsync the directory."""
    parent = os.path.dirname(path)
    make_directories(parent)
    descriptor, staged = tempfile.mkstemp(prefix=".isolation-", dir=parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="surrogateescape") as stream:
            stream.write(text)
            stream.flush()
            os.fchmod(stream.fileno(), mode)
            os.fsync(stream.fileno())
        os.rename(staged, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(staged)
        raise
    sync_directory(parent)


def remove_file(path: str) -> None:
    """Remove a file if it is there, durably."""
    try:
        os.unlink(path)
    except (FileNotFoundError, NotADirectoryError):
        return
    sync_directory(os.path.dirname(path))


def remove_empty_directories(path: str, top: str) -> None:
    """Remove `path` and its parents below and including `top`, as long as they are empty."""
    while path == top or path.startswith(top + "/"):
        note = _note_of(path)
        try:
            if note is not None:
                if os.listdir(path) != [os.path.basename(note)]:
                    return
                os.unlink(note)
            os.rmdir(path)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR, errno.EBUSY):
                raise
            if error.errno != errno.ENOENT:
                return
        path = os.path.dirname(path)


@dataclass(frozen=True)
class WriteFile:
    """Step: make a file have this content and mode."""

    path: str
    text: str
    mode: int = 0o644

    def run(self) -> None:
        """Write it atomically."""
        write_atomic(self.path, self.text, self.mode)


NEXT = ".new"
"""Ends the name of a file's content to be, until that is in the file itself."""


@dataclass(frozen=True)
class UpdateFile:
    """Step: make a file have this content without making another file: a mount of the file itself shows it at once.

    The new content is kept beside it meanwhile, so that what was interrupted can be finished before the next use.
    """

    path: str
    text: str
    mode: int = 0o644

    def run(self) -> None:
        """Write it; a file that is not there is made."""
        if not os.path.exists(self.path):
            write_atomic(self.path, self.text, self.mode)
            return
        write_atomic(self.path + NEXT, self.text, self.mode)
        content = self.text.encode(errors="surrogateescape")
        descriptor = os.open(self.path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            written = 0
            while written < len(content):
                written += os.pwrite(descriptor, content[written:], written)
            os.ftruncate(descriptor, len(content))
            os.fchmod(descriptor, self.mode)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        remove_file(self.path + NEXT)


@dataclass(frozen=True)
class RemoveFile:
    """Step: make a file not be there; with `top`, empty parents below and including `top` go too."""

    path: str
    top: str | None = None

    def run(self) -> None:
        """Remove it."""
        remove_file(self.path)
        if self.top is not None:
            remove_empty_directories(os.path.dirname(self.path), self.top)


def file_matches(path: str, text: str, mode: int = 0o644) -> bool:
    """Whether a file has this content and mode already."""
    try:
        return os.stat(path).st_mode & 0o7777 == mode and read_text(path) == text
    except (FileNotFoundError, NotADirectoryError):
        return False


@contextlib.contextmanager
def host_lock(timeout: float) -> t.Iterator[None]:
    """Hold the host's one lock for changing runs (flock(2): the kernel drops it however the holder ends).

    :raises IsolationError: another run has held it for longer than `timeout` seconds.
    """
    deadline = time.monotonic() + timeout
    while True:
        descriptor = _open_lock(deadline, timeout)
        if _is_current(descriptor):
            break
        os.close(descriptor)
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        if not os.path.isdir(_paths.ETC):
            # Nothing of ours is left on the host, so that the lock goes, too.
            with contextlib.suppress(OSError):
                os.unlink(_paths.LOCK)
                os.rmdir(os.path.dirname(_paths.LOCK))
        os.close(descriptor)


def _is_current(descriptor: int) -> bool:
    """Whether the file that was locked still has the lock's name: the run before may have removed it."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(_paths.LOCK))
    except FileNotFoundError:
        return False


def _create_lock() -> int:
    """The descriptor of the lock's file, which is made if it is not there; its folder may vanish in between."""
    while True:
        make_directories(os.path.dirname(_paths.LOCK))
        with contextlib.suppress(FileNotFoundError):
            return os.open(_paths.LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _open_lock(deadline: float, timeout: float) -> int:
    """The descriptor of the lock's file, locked.

    :raises IsolationError: it was not free until `deadline`.
    """
    descriptor = _create_lock()
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return descriptor
        except BlockingIOError:
            if time.monotonic() >= deadline:
                holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
                os.close(descriptor)
                raise IsolationError(
                    f"{_paths.LOCK}: another run (process {holder}) has held the host's lock for more than"
                    f" {timeout:g} s: wait for it, or raise lock_timeout"
                ) from None
            time.sleep(0.05)
