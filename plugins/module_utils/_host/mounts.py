# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Mounts: what the kernel says of them, and who lives in one. The system calls are in helpers/rootfs.py, which also runs at boot."""

from __future__ import annotations

import contextlib
import ctypes
import os
from dataclasses import dataclass

from .helpers.rootfs import Mount, find, mounts, parse_mountinfo

__all__ = ["Mount", "Resident", "find", "mounts", "parse_mountinfo", "residents", "sync_filesystem"]


@dataclass(frozen=True)
class Resident:
    """A process whose root directory lies on an overlay: `layers` are the paths of the overlay's layers."""

    pid: int
    command: str
    layers: frozenset[str]


def overlay_layers(mount: Mount) -> frozenset[str]:
    """The paths of an overlay's layers, as they were given when it was mounted."""
    options = mount.super_options
    names = [*options.get("lowerdir", "").split(":"), options.get("upperdir", "")]
    return frozenset(name for name in names if name)


def _command(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as stream:
            return stream.read().strip()
    except OSError:
        return "?"


def residents() -> list[Resident]:
    """Processes that have an overlay as their root directory, other than the host's own root.

    One stat(2) for each process, and one mountinfo for each file system found.
    """
    own = os.stat("/").st_dev
    layers: dict[int, frozenset[str]] = {}
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        with contextlib.suppress(OSError):
            device = os.stat(f"/proc/{entry}/root/").st_dev
            if device == own:
                continue
            if device not in layers:
                number = f"{os.major(device)}:{os.minor(device)}"
                mine = [
                    mount
                    for mount in mounts(f"/proc/{entry}/mountinfo")
                    if mount.device == number and mount.kind == "overlay"
                ]
                layers[device] = overlay_layers(mine[0]) if mine else frozenset()
            if layers[device]:
                found.append(Resident(int(entry), _command(int(entry)), layers[device]))
    return found


def sync_filesystem(path: str) -> None:
    """Make all that was written to a file system durable (syncfs(2)).

    :raises OSError: the device refused.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if libc.syncfs(descriptor) != 0:
            number = ctypes.get_errno()
            raise OSError(number, f"syncfs: {os.strerror(number)}", path)
    finally:
        os.close(descriptor)
