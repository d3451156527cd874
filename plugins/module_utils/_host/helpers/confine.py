# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A process that reads hostile data: a directory is all of its file system, and it can do little in it."""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import sys
import typing as t

from .archive import Refused

MEMORY = 2 << 30
# capabilities(7): CHOWN, DAC_OVERRIDE, FOWNER, FSETID, SETFCAP
_CAPABILITIES = (0, 1, 3, 4, 31)
_NEWNS, _NEWUTS, _NEWIPC, _NEWPID, _NEWNET = 0x20000, 0x4000000, 0x8000000, 0x20000000, 0x40000000
_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_NOEXEC, _MS_REMOUNT, _MS_BIND = 1, 2, 4, 8, 32, 4096
_MS_REC, _MS_PRIVATE = 0x4000, 0x40000
_MNT_DETACH = 2
_PR_SET_PDEATHSIG, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS = 1, 24, 38
_CAPABILITY_VERSION_3 = 0x20080522


def _check(libc: ctypes.CDLL, result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise Refused(f"the process that unpacks can't be confined: {what}: {os.strerror(number)}")


def confine(libc: ctypes.CDLL, directory: str | None) -> None:
    """Make a directory, or an empty one in memory, the whole file system, and give up what unpacking doesn't take.

    :raises Refused: the kernel did not allow it; nothing has been read from the archive then.
    """
    path = b"/tmp" if directory is None else os.fsencode(directory)
    _check(
        libc, libc.mount(b"none", b"/", None, ctypes.c_ulong(_MS_REC | _MS_PRIVATE), None), "mount --make-rprivate /"
    )
    flags = _MS_NOSUID | _MS_NODEV | _MS_NOEXEC
    if directory is None:
        _check(libc, libc.mount(b"none", path, b"tmpfs", ctypes.c_ulong(flags | _MS_RDONLY), None), "mount of tmpfs")
    else:
        _check(libc, libc.mount(path, path, None, ctypes.c_ulong(_MS_BIND), None), "bind mount")
        flags |= _MS_REMOUNT | _MS_BIND
        _check(libc, libc.mount(b"none", path, None, ctypes.c_ulong(flags), None), "remount")
    os.chdir(path)
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


def run(work: t.Callable[[], None]) -> int:
    """Do work in a child with namespaces of its own; 0 if it came to its end. The process dies with its parent, and the child with it."""
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
        work()
        sys.stdout.flush()
        os._exit(0)
    _pid, status = os.waitpid(child, 0)
    return 0 if status == 0 else 1
