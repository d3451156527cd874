# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Mounts by system calls, for the helpers: what is mounted, idmapped clones (mount_setattr(2)), detached mounts (fsopen(2))."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import typing as t
from dataclasses import dataclass, field

IDS = 65536
RDONLY, NOSUID, NODEV, NOEXEC = 1, 2, 4, 8
"""Attributes of a mount (MOUNT_ATTR_* of linux/mount.h)."""

_AT_FDCWD = -100
_AT_EMPTY_PATH = 0x1000
_OPEN_TREE_CLONE = 1
_MOVE_MOUNT_F_EMPTY_PATH = 4
_FSCONFIG_SET_FLAG = 0
_FSCONFIG_SET_STRING = 1
_FSCONFIG_CMD_CREATE = 6
_ATTR_IDMAP = 0x100000
_CLONE_NEWUSER = 0x10000000
_MNT_DETACH = 2

# Numbers of system calls since 5.0 are the same on all architectures but alpha (asm-generic/unistd.h).
_OPEN_TREE, _MOVE_MOUNT, _FSOPEN, _FSCONFIG, _FSMOUNT, _MOUNT_SETATTR = 428, 429, 430, 431, 432, 442

LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.syscall.restype = ctypes.c_long


class MountError(Exception):
    """Something can't be mounted or unmounted; the message says what to do."""


class _MountAttr(ctypes.Structure):
    """struct mount_attr of mount_setattr(2)."""

    _fields_: t.ClassVar = [(name, ctypes.c_uint64) for name in ("set", "clear", "propagation", "userns_fd")]


@dataclass(frozen=True)
class Mount:
    """A line of mountinfo (proc(5)): `options` are the mount's own, `super_options` its file system's."""

    device: str
    root: str
    target: str
    options: frozenset[str]
    kind: str
    source: str
    super_options: t.Mapping[str, str] = field(default_factory=dict)
    receives: bool = False
    """Whether it is shared, or a slave of one that is: what is mounted below it later can be passed on."""


def check(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def _syscall(number: int, *arguments: t.Any) -> int:
    return check(LIBC.syscall(ctypes.c_long(number), *arguments))


def _decode(text: str) -> str:
    """Undo the octal escapes of mountinfo (\\040 and the like)."""
    if "\\" not in text:
        return text
    parts = text.split("\\")
    return parts[0] + "".join(
        chr(int(part[:3], 8)) + part[3:] if part[:3].isdigit() else "\\" + part for part in parts[1:]
    )


def parse_mountinfo(text: str) -> list[Mount]:
    """The mounts of a mountinfo file, in its order: of several on one target, the last is on top."""
    mounts = []
    for line in text.splitlines():
        fields = line.split(" ")
        if "-" not in fields[6:]:
            continue
        kind, source, options = (fields[fields.index("-", 6) + 1 :] + ["", "", ""])[:3]
        pairs = dict(option.partition("=")[::2] for option in _decode(options).split(","))
        mounts.append(
            Mount(
                fields[2],
                _decode(fields[3]),
                _decode(fields[4]),
                frozenset(fields[5].split(",")),
                kind,
                _decode(source),
                pairs,
                any(mark.startswith(("shared:", "master:")) for mark in fields[6 : fields.index("-", 6)]),
            )
        )
    return mounts


def mounts(path: str = "/proc/self/mountinfo") -> list[Mount]:
    """The mounts that a process sees, by its mountinfo file."""
    with open(path, encoding="utf-8", errors="surrogateescape") as stream:
        return parse_mountinfo(stream.read())


def find(target: str, among: t.Iterable[Mount]) -> Mount | None:
    """The mount on top of a target, or None."""
    found = None
    for mount in among:
        if mount.target == target:
            found = mount
    return found


def _user_namespace(id_base: int) -> int:
    """A descriptor of a user namespace that maps ids 0…65535 to `id_base`…; the idmap of a mount is taken from one."""
    ready, go = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        with contextlib.suppress(BaseException):
            os.close(go[1])
            if LIBC.unshare(_CLONE_NEWUSER) == 0:
                os.write(ready[1], b"1")
                os.read(go[0], 1)
                status = 0
        os._exit(status)
    try:
        os.close(ready[1])
        if os.read(ready[0], 1) != b"1":
            raise MountError("this kernel makes no user namespace: allow it by the sysctl user.max_user_namespaces")
        for name in ("uid_map", "gid_map"):
            with open(f"/proc/{child}/{name}", "w", encoding="ascii") as stream:
                stream.write(f"0 {id_base} {IDS}")
        return os.open(f"/proc/{child}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        for descriptor in (ready[0], *go):
            os.close(descriptor)
        os.waitpid(child, 0)


def clone_mapped(path: str, id_base: int, attributes: int) -> int:
    """A detached clone of a directory's mount, whose ids 0…65535 show as `id_base`…, by its descriptor. Verified by stat: a return
    code proves nothing.

    :raises MountError: the kernel or the file system can't do it.
    """
    namespace = _user_namespace(id_base)
    tree = _syscall(_OPEN_TREE, _AT_FDCWD, os.fsencode(path), _OPEN_TREE_CLONE | os.O_CLOEXEC)
    wanted = _MountAttr(_ATTR_IDMAP | attributes, 0, 0, namespace)
    try:
        _syscall(
            _MOUNT_SETATTR,
            tree,
            b"",
            _AT_EMPTY_PATH,
            ctypes.byref(wanted),
            ctypes.c_size_t(ctypes.sizeof(wanted)),
        )
        if os.fstat(tree).st_uid != os.stat(path).st_uid + id_base:
            raise OSError(errno.EOPNOTSUPP, "the owner did not change")
    except OSError as error:
        os.close(tree)
        raise MountError(
            f"{path}: can't be mounted with its owners mapped to {id_base} ({error.strerror}): this takes Linux 5.12, for a root"
            " filesystem 5.19, and a file system that supports idmapped mounts (ext4, xfs, btrfs; tmpfs since Linux 6.3) under /var/lib/isolation"
        ) from error
    finally:
        os.close(namespace)
    return tree


def make_mount(kind: str, options: t.Mapping[str, str | None], attributes: int) -> int:
    """A detached mount of a new file system, by its descriptor. An option that is a mere flag has the value None.

    :raises MountError: the kernel refused; the message has what it logged for this file system.
    """
    context = _syscall(_FSOPEN, kind.encode(), 1)
    try:
        for option, value in options.items():
            if value is None:
                _syscall(_FSCONFIG, context, _FSCONFIG_SET_FLAG, option.encode(), None, 0)
            else:
                _syscall(_FSCONFIG, context, _FSCONFIG_SET_STRING, option.encode(), os.fsencode(value), 0)
        _syscall(_FSCONFIG, context, _FSCONFIG_CMD_CREATE, None, None, 0)
        return _syscall(_FSMOUNT, context, 1, attributes)
    except OSError as error:
        said = []
        with contextlib.suppress(OSError):
            while True:
                said.append(os.read(context, 4096).decode(errors="replace").strip()[2:])
        answer = "; ".join([*said, error.strerror or ""])
        raise MountError(
            f"{kind} of {', '.join(f'{key}={value}' if value else key for key, value in options.items())}: {answer}"
        ) from error
    finally:
        os.close(context)


def attach(descriptor: int, target: str) -> None:
    """Attach a detached mount to a directory.

    :raises MountError: the kernel refused.
    """
    try:
        _syscall(_MOVE_MOUNT, descriptor, b"", _AT_FDCWD, os.fsencode(target), _MOVE_MOUNT_F_EMPTY_PATH)
    except OSError as error:
        raise MountError(f"{target}: can't be mounted on: {error.strerror}") from error


def detach(target: str, lazy: bool = False) -> None:
    """Unmount all that is on a target. `lazy` lets processes that have files open go on with them.

    :raises MountError: something uses it.
    """
    while find(target, mounts()) is not None:
        if LIBC.umount2(os.fsencode(target), _MNT_DETACH if lazy else 0) != 0:
            number = ctypes.get_errno()
            if number in (errno.EINVAL, errno.ENOENT) and find(target, mounts()) is None:
                return  # another one was quicker
            raise MountError(
                f"{target}: can't be unmounted: {os.strerror(number)}: end what uses it (fuser -vm {target})"
            )
