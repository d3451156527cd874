# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Mount and unmount the root filesystem of an instance: `rootfs mount NAME`, `rootfs umount NAME`.

Managed by daemonless.isolation. Why it is there: nothing that a host has at boot makes an overlay over an idmapped
lower layer (mount(8) before util-linux 2.39 ignores X-mount.idmap and returns 0). The module rootfs_prepare imports
this very code; installed as a program it needs the standard library only. Both verbs are idempotent.

How: in a mount namespace of its own, the image's directory is covered by an idmapped clone of itself
(mount_setattr(2)), an overlay is made of it (Documentation/filesystems/overlayfs.rst), and only the finished overlay
is handed out, as the descriptor of a detached mount. Whatever ends the process, nothing stays behind half mounted.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import signal
import socket
import stat
import sys
import typing as t
from dataclasses import dataclass, field

RECORDS = "/etc/isolation/rootfs"
INSTANCES = "/var/lib/isolation/instances"
IDS = 65536

_AT_FDCWD = -100
_AT_EMPTY_PATH = 0x1000
_OPEN_TREE_CLONE = 1
_MOVE_MOUNT_F_EMPTY_PATH = 4
_FSCONFIG_SET_STRING = 1
_FSCONFIG_CMD_CREATE = 6
_ATTR_RDONLY, _ATTR_NOSUID, _ATTR_NODEV = 1, 2, 4
_ATTR_IDMAP = 0x100000
_CLONE_NEWNS, _CLONE_NEWUSER = 0x20000, 0x10000000
_MS_REC, _MS_PRIVATE = 0x4000, 0x40000
_MNT_DETACH = 2

# Numbers of system calls since 5.0 are the same on all architectures but alpha (asm-generic/unistd.h).
_OPEN_TREE, _MOVE_MOUNT, _FSOPEN, _FSCONFIG, _FSMOUNT, _MOUNT_SETATTR = 428, 429, 430, 431, 432, 442

_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.syscall.restype = ctypes.c_long


class MountError(Exception):
    """A root filesystem can't be mounted or unmounted; the message says what to do."""


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


@dataclass(frozen=True)
class Layout:
    """What the root filesystem of an instance is made of. `image` is an image's `rootfs` directory, `size` the bytes of an ephemeral layer."""

    name: str
    image: str
    id_base: int
    mode: str
    size: int | None = None

    @property
    def instance(self) -> str:
        """The instance's directory."""
        return os.path.join(INSTANCES, self.name)

    @property
    def target(self) -> str:
        """The mount point."""
        return os.path.join(self.instance, "rootfs")

    @property
    def layers(self) -> str:
        """A directory for root's eyes only: a service may leave setuid files in its layer."""
        return os.path.join(self.instance, "layers")

    @property
    def upper(self) -> str:
        """The instance's own layer: files that were laid in, and with mode overlay all that the service writes."""
        return os.path.join(self.layers, "upper")

    @property
    def memory(self) -> str:
        """Where the layer in memory of an ephemeral root filesystem is mounted; seen by nobody."""
        return os.path.join(self.layers, "memory")

    def overlay(self, writable: bool = False) -> dict[str, str]:
        """The overlay's options; with `writable` those for laying files into the instance's own layer, whatever the mode."""
        if writable or self.mode == "overlay":
            return {"lowerdir": self.image, "upperdir": self.upper, "workdir": os.path.join(self.layers, "work")}
        lower = {"lowerdir": f"{self.upper}:{self.image}"}
        if self.mode == "read_only":
            return lower
        return {**lower, "upperdir": os.path.join(self.memory, "upper"), "workdir": os.path.join(self.memory, "work")}


def _check(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def _syscall(number: int, *arguments: t.Any) -> int:
    return _check(_LIBC.syscall(ctypes.c_long(number), *arguments))


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


def matches(mount: Mount, layout: Layout) -> bool:
    """Whether a mount is the overlay that a layout asks for, by what the kernel says of it."""
    wanted = layout.overlay()
    return (
        mount.kind == "overlay"
        and all(mount.super_options.get(option) == wanted.get(option) for option in ("lowerdir", "upperdir"))
        and {"nosuid", "nodev"} <= mount.options
        and ("ro" in mount.options) == (layout.mode == "read_only")
    )


def _user_namespace(id_base: int) -> int:
    """A descriptor of a user namespace that maps ids 0…65535 to `id_base`…; the idmap of a mount is taken from one."""
    ready, go = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        with contextlib.suppress(BaseException):
            os.close(go[1])
            if _LIBC.unshare(_CLONE_NEWUSER) == 0:
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


def _cover_by_mapped(path: str, id_base: int) -> None:
    """Mount an idmapped, read-only clone of a directory over itself. Verified by stat: a return code proves nothing."""
    tree = _syscall(_OPEN_TREE, _AT_FDCWD, os.fsencode(path), _OPEN_TREE_CLONE | os.O_CLOEXEC)
    namespace = _user_namespace(id_base)
    attributes = _MountAttr(_ATTR_IDMAP | _ATTR_RDONLY | _ATTR_NOSUID | _ATTR_NODEV, 0, 0, namespace)
    try:
        _syscall(
            _MOUNT_SETATTR,
            tree,
            b"",
            _AT_EMPTY_PATH,
            ctypes.byref(attributes),
            ctypes.c_size_t(ctypes.sizeof(attributes)),
        )
        if os.fstat(tree).st_uid != os.stat(path).st_uid + id_base:
            raise OSError(errno.EOPNOTSUPP, "the owner did not change")
    except OSError as error:
        raise MountError(
            f"{path}: can't be mounted with its owners mapped to {id_base} ({error.strerror}): this takes Linux 5.19, and a file system"
            " that supports idmapped mounts (ext4, xfs, btrfs; tmpfs since Linux 6.3) under /var/lib/isolation"
        ) from error
    finally:
        os.close(namespace)
    _syscall(_MOVE_MOUNT, tree, b"", _AT_FDCWD, os.fsencode(path), _MOVE_MOUNT_F_EMPTY_PATH)
    os.close(tree)


def _make_mount(kind: str, options: t.Mapping[str, str], attributes: int) -> int:
    """A detached mount of a new file system, by its descriptor.

    :raises MountError: the kernel refused; the message has what it logged for this file system.
    """
    context = _syscall(_FSOPEN, kind.encode(), 1)
    try:
        for option, value in options.items():
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
            f"{kind} of {', '.join(f'{key}={value}' for key, value in options.items())}: {answer}"
        ) from error
    finally:
        os.close(context)


def _compose(layout: Layout, writable: bool) -> int:
    """The finished overlay as a detached mount. The caller is in a private mount namespace that ends soon."""
    _cover_by_mapped(layout.image, layout.id_base)
    if layout.mode == "ephemeral" and not writable:
        os.makedirs(layout.memory, exist_ok=True)
        memory = _make_mount("tmpfs", {"size": str(layout.size), "mode": "0700"}, _ATTR_NOSUID | _ATTR_NODEV)
        _syscall(_MOVE_MOUNT, memory, b"", _AT_FDCWD, os.fsencode(layout.memory), _MOVE_MOUNT_F_EMPTY_PATH)
        own = os.stat(layout.upper)
        for directory in ("upper", "work"):
            path = os.path.join(layout.memory, directory)
            os.mkdir(path)
            os.chown(path, own.st_uid, own.st_gid)
            os.chmod(path, stat.S_IMODE(own.st_mode))
    attributes = _ATTR_NOSUID | _ATTR_NODEV
    if layout.mode == "read_only" and not writable:
        attributes |= _ATTR_RDONLY
    return _make_mount("overlay", layout.overlay(writable), attributes)


def build(layout: Layout, writable: bool = False) -> int:
    """Make the overlay of a layout; return the descriptor of the detached mount, which vanishes when it is closed.

    :raises MountError: the kernel refused.
    """
    ours, theirs = socket.socketpair()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            ours.close()
            _check(_LIBC.unshare(_CLONE_NEWNS))
            _check(_LIBC.mount(b"none", b"/", None, ctypes.c_ulong(_MS_REC | _MS_PRIVATE), None))
            socket.send_fds(theirs, [b"+"], [_compose(layout, writable)])
            status = 0
        except BaseException as error:  # noqa: BLE001 - the process ends here whatever it is; its parent raises it
            theirs.sendall(str(error).encode()[:4000])
        finally:
            os._exit(status)
    theirs.close()
    try:
        message, descriptors, _flags, _address = socket.recv_fds(ours, 4096, 1)
    finally:
        ours.close()
        os.waitpid(child, 0)
    if not descriptors:
        raise MountError(
            f"rootfs {layout.name}: {message.decode(errors='replace') or 'the process that mounts it ended early'}"
        )
    os.set_inheritable(descriptors[0], False)
    return descriptors[0]


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
        if _LIBC.umount2(os.fsencode(target), _MNT_DETACH if lazy else 0) != 0:
            number = ctypes.get_errno()
            raise MountError(
                f"{target}: can't be unmounted: {os.strerror(number)}: end what uses it (fuser -vm {target})"
            )


def mount(layout: Layout) -> bool:
    """Mount a root filesystem unless it is; return whether something was done.

    :raises MountError: the kernel refused, or something else that is in use is mounted there.
    """
    current = find(layout.target, mounts())
    if current is not None and matches(current, layout):
        return False
    detach(layout.target)
    descriptor = build(layout)
    try:
        attach(descriptor, layout.target)
    finally:
        os.close(descriptor)
    return True


def recorded(name: str) -> Layout:
    """The layout of an instance by its record.

    :raises MountError: there is no record, or it can't be read.
    """
    path = os.path.join(RECORDS, name + ".json")
    try:
        with open(path, encoding="utf-8") as stream:
            record = json.load(stream)
        spec, assigned = record["spec"], record["assigned"]
        return Layout(
            name, os.path.join(assigned["image"], "rootfs"), int(assigned["id_base"]), spec["mode"], spec.get("size")
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise MountError(
            f"{path}: no usable record of a root filesystem ({error}): apply rootfs_prepare again"
        ) from error


def main(arguments: t.Sequence[str]) -> int:
    """Be the program; return its exit status."""
    if len(arguments) != 2 or arguments[0] not in ("mount", "umount") or "/" in arguments[1]:
        sys.stderr.write("usage: rootfs mount NAME | rootfs umount NAME\n")
        return 2
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        if arguments[0] == "mount":
            mount(recorded(arguments[1]))
        else:
            detach(os.path.join(INSTANCES, arguments[1], "rootfs"))
    except (MountError, OSError) as error:
        sys.stderr.write(f"rootfs {arguments[1]}: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
