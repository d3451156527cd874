# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Looking into the root directory of a service without leaving it: its symbolic links mean its own files."""

from __future__ import annotations

import ctypes
import os
import stat

_OPENAT2 = 437
_RESOLVE_NO_MAGICLINKS, _RESOLVE_IN_ROOT = 0x02, 0x10
_MAX_LINKS = 40
"""Links that the kernel follows in one path, too (path_resolution(7))."""


class _OpenHow(ctypes.Structure):
    """struct open_how of openat2(2)."""

    _fields_ = [(name, ctypes.c_uint64) for name in ("flags", "mode", "resolve")]


def open_in_root(root: int, path: str, flags: int, mode: int = 0) -> int:
    """Open a path as if the directory of the descriptor `root` were `/` (openat2(2), RESOLVE_IN_ROOT, Linux 5.6).

    :raises OSError: as open(2).
    """
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    how = _OpenHow(flags | os.O_CLOEXEC, mode, _RESOLVE_IN_ROOT | _RESOLVE_NO_MAGICLINKS)
    name = os.fsencode(path)
    result: int = libc.syscall(
        ctypes.c_long(_OPENAT2), root, name, ctypes.byref(how), ctypes.c_size_t(ctypes.sizeof(how))
    )
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path)
    return result


def kind(root: str, path: str) -> str | None:
    """What a path inside the root directory `root` is: `file`, `directory`, `link` or `special file`; None if there is nothing."""
    parent = resolve(root, os.path.dirname(path))
    if parent is None:
        return None
    try:
        mode = os.lstat(os.path.join(root + parent, os.path.basename(path))).st_mode
    except OSError:
        return None
    kinds = {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "link"}
    return kinds.get(stat.S_IFMT(mode), "special file")


def resolve(root: str, path: str) -> str | None:
    """The path of a file inside the root directory `root`, all links resolved inside it; None if there is no such file.

    The answer begins with `/` and is relative to the root. Only names are read, nothing is opened. Works on a mounted
    root filesystem and on an image's directory.
    """
    todo = [part for part in reversed(path.split("/")) if part not in ("", ".")]
    done: list[str] = []
    links = 0
    while todo:
        part = todo.pop()
        if part == "..":
            del done[-1:]
            continue
        here = os.path.join(root, *done, part)
        try:
            found = os.lstat(here)
            if stat.S_ISLNK(found.st_mode):
                links += 1
                if links > _MAX_LINKS:
                    return None
                target = os.readlink(here)
                if target.startswith("/"):
                    done = []
                todo += [step for step in reversed(target.split("/")) if step not in ("", ".")]
                continue
        except (OSError, ValueError):
            return None
        if todo and not stat.S_ISDIR(found.st_mode):
            return None
        done.append(part)
    return "/" + "/".join(done)
