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

import ctypes
import json
import os
import signal
import socket
import stat
import sys
import typing as t
from dataclasses import dataclass

from .mounting import (
    LIBC,
    NODEV,
    NOSUID,
    RDONLY,
    Mount,
    MountError,
    attach,
    check,
    clone_mapped,
    detach,
    find,
    make_mount,
    mounts,
    parse_mountinfo,
)

__all__ = [
    "Layout", "Mount", "MountError", "attach", "build", "detach", "find", "main", "matches", "mount", "mounts", "parse_mountinfo",
    "recorded",
]  # fmt: skip

RECORDS = "/etc/isolation/rootfs"
INSTANCES = "/var/lib/isolation/instances"

_CLONE_NEWNS = 0x20000
_MS_REC, _MS_PRIVATE = 0x4000, 0x40000


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


def matches(mount: Mount, layout: Layout) -> bool:
    """Whether a mount is the overlay that a layout asks for, by what the kernel says of it."""
    wanted = layout.overlay()
    return (
        mount.kind == "overlay"
        and all(mount.super_options.get(option) == wanted.get(option) for option in ("lowerdir", "upperdir"))
        and {"nosuid", "nodev"} <= mount.options
        and ("ro" in mount.options) == (layout.mode == "read_only")
    )


def _compose(layout: Layout, writable: bool) -> int:
    """The finished overlay as a detached mount. The caller is in a private mount namespace that ends soon."""
    lower = clone_mapped(layout.image, layout.id_base, RDONLY | NOSUID | NODEV)
    attach(lower, layout.image)
    os.close(lower)
    if layout.mode == "ephemeral" and not writable:
        os.makedirs(layout.memory, exist_ok=True)
        memory = make_mount("tmpfs", {"size": str(layout.size), "mode": "0700"}, NOSUID | NODEV)
        attach(memory, layout.memory)
        os.close(memory)
        own = os.stat(layout.upper)
        for directory in ("upper", "work"):
            path = os.path.join(layout.memory, directory)
            os.mkdir(path)
            os.chown(path, own.st_uid, own.st_gid)
            os.chmod(path, stat.S_IMODE(own.st_mode))
    attributes = NOSUID | NODEV
    if layout.mode == "read_only" and not writable:
        attributes |= RDONLY
    return make_mount("overlay", layout.overlay(writable), attributes)


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
            check(LIBC.unshare(_CLONE_NEWNS))
            check(LIBC.mount(b"none", b"/", None, ctypes.c_ulong(_MS_REC | _MS_PRIVATE), None))
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
