# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the machine has: CPUs, memory, disks."""

from __future__ import annotations

import os
import stat

from .._errors import InvalidOption
from .files import read_text


def list_directory(path: str) -> list[str]:
    """The names in a directory, sorted; none if it is not there."""
    try:
        return sorted(os.listdir(path))
    except (FileNotFoundError, NotADirectoryError):
        return []


def online_cpus() -> str:
    """The CPUs that run, as a list such as `0-3` (sysfs-devices-system-cpu)."""
    return (read_text("/sys/devices/system/cpu/online") or "0").strip()


def online_nodes() -> str:
    """The memory nodes that are there, as a list; a kernel without NUMA has node 0."""
    return (read_text("/sys/devices/system/node/online") or "0").strip()


def memory_total() -> int:
    """Bytes of usable memory (proc(5), /proc/meminfo)."""
    for line in (read_text("/proc/meminfo") or "").splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) * 1024
    return 0


def page_size() -> int:
    """Bytes of a page of memory."""
    return os.sysconf("SC_PAGE_SIZE")


def disks() -> dict[str, str]:
    """Whole disks: device numbers (`254:0`) by node (`/dev/vda`)."""
    found = {}
    for number in list_directory("/sys/dev/block"):
        top = os.path.join("/sys/dev/block", number)
        fields = dict(
            line.split("=", 1) for line in (read_text(os.path.join(top, "uevent")) or "").splitlines() if "=" in line
        )
        if fields.get("DEVTYPE") == "disk" and "DEVNAME" in fields:
            found["/dev/" + fields["DEVNAME"]] = number
    return found


def disk_of(path: str) -> str:
    """The device number of the disk that a path (a node, or a link to one) stands for.

    :raises InvalidOption: there is no such device, or it is not a disk.
    """
    try:
        found = os.stat(path)
    except OSError as error:
        raise InvalidOption(
            f"{path}: {error.strerror}: name the node of a disk of this host, such as /dev/vda"
        ) from None
    if not stat.S_ISBLK(found.st_mode):
        raise InvalidOption(f"{path} is not a block device: name the node of a disk, such as /dev/vda")
    return f"{os.major(found.st_rdev)}:{os.minor(found.st_rdev)}"
