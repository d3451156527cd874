# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Devices of the host that a service may use: their nodes in its /dev, and what its device control group allows. Pure.

A user namespace makes no device nodes, so the host's own node is mounted. Its owner is not shifted: what the service may do is told by
the node's mode as for any user of the host, and by the control group.
"""

from __future__ import annotations

import posixpath
import re
import typing as t

from .._errors import InvalidOption
from .._host.devices import Device
from .promises import ServiceRefused
from .spec import DeviceNode, ServiceSpec

DEVICE: dict[str, t.Any] = {
    "path": {"type": "str"},
    "target": {"type": "str"},
    "permissions": {"type": "str", "default": "rw"},
}

_OWN = (
    "console", "core", "fd", "full", "init", "mqueue", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin", "stdout", "tty",
    "urandom", "zero",
)  # fmt: skip
"""What every service has in /dev."""

_MEMORY = {("c", 1, 1), ("c", 1, 2), ("c", 1, 4)}
"""/dev/mem, /dev/kmem and /dev/port (Linux, admin-guide/devices.txt): whoever has them has the host."""


def _path(text: str | None, option: str) -> str:
    """An absolute path that has one meaning, also in the words of a unit file."""
    if not text or not text.startswith("/") or ".." in text.split("/"):
        raise InvalidOption(f"{option}: {text!r} is not an absolute path without '..'")
    if re.search(r"[\s\0\"'\\]", text):
        raise InvalidOption(f"{option}: {text!r}: blanks, quotes and backslashes can't be part of it")
    return "/" + posixpath.normpath(text).lstrip("/")


def parse_devices(given: t.Sequence[t.Mapping[str, t.Any]], name: str) -> tuple[DeviceNode, ...]:
    """The devices that are asked for.

    :raises InvalidOption: one can't be meant.
    """
    found: dict[str, DeviceNode] = {}
    for item in given:
        path = _path(item.get("path"), f"{name}: devices: path")
        target = _path(item.get("target") or path, f"{name}: devices: target")
        top = target.split("/")[2:3]
        if not target.startswith("/dev/") or top[0] in _OWN:
            raise InvalidOption(
                f"{name}: devices: target: {target}: must be below /dev, and none of {', '.join(_OWN)}, which every service has"
            )
        asked = item.get("permissions") or ""
        permissions = "".join(letter for letter in "rwm" if letter in asked)
        if sorted(permissions) != sorted(asked) or permissions in ("", "m"):
            raise InvalidOption(
                f"{name}: devices: permissions: {asked!r}: write r, w or both, and m if nodes of it may be made"
            )
        if any(target == other or target.startswith(other + "/") or other.startswith(target + "/") for other in found):
            raise InvalidOption(f"{name}: devices: {target} is, or is below, the target of another one")
        found[target] = DeviceNode(path, target, permissions)
    return tuple(found.values())


def check_devices(spec: ServiceSpec, there: t.Mapping[str, Device]) -> None:
    """Refuse what no service can have.

    :raises ServiceRefused: a path leads to no device of the host, or to one that can't be given.
    """
    for item in spec.devices:
        device = there.get(item.path)
        if device is None:
            raise ServiceRefused(
                f"service {spec.name}: devices: path: {item.path} is no character or block device of this host: load its driver, or"
                " mount a file or a directory with mounts"
            )
        if (device.kind, device.major, device.minor) in _MEMORY:
            raise ServiceRefused(
                f"service {spec.name}: devices: path: {item.path} is the host's memory: who has it has the host"
            )
        if device.closed:
            raise ServiceRefused(
                f"service {spec.name}: devices: path: {item.path} is on a file system that is mounted nodev, where no device can be"
                " opened: name its node in /dev"
            )


def unusable(
    spec: ServiceSpec, there: t.Mapping[str, Device], id_base: int, ids: tuple[int, int, tuple[int, ...]]
) -> list[str]:
    """Warnings of nodes whose mode keeps the service's user out. Capabilities inside don't help: the owner is not of its ids."""
    uid, gid, groups = ids
    found = []
    for item in spec.devices:
        device = there[item.path]
        if device.listed:
            continue
        mine = device.mode & 7
        if device.uid == id_base + uid:
            mine = device.mode >> 6 & 7
        elif device.gid in {id_base + number for number in (gid, *groups)}:
            mine = device.mode >> 3 & 7
        needed = (4 if "r" in item.permissions else 0) | (2 if "w" in item.permissions else 0)
        if needed & ~mine:
            found.append(
                f"service {spec.name}: devices: {item.path} has mode {device.mode:04o} and owner {device.uid}:{device.gid}, which keeps the"
                f" service's user {id_base + uid}:{id_base + gid} out: let a udev rule give it another mode, owner or access list"
            )
    return found


def mounts(spec: ServiceSpec) -> list[dict[str, t.Any]]:
    """The nodes, mounted by the runtime (OCI runtime specification). Flags that go by mount_setattr(2) are only for directories in crun 1.8."""
    options = ["bind", "nosuid", "noexec"]
    return [
        {"destination": item.target, "type": "bind", "source": item.path, "options": options} for item in spec.devices
    ]


def rules(spec: ServiceSpec, there: t.Mapping[str, Device]) -> list[dict[str, t.Any]]:
    """What the device control group allows, by the numbers that the devices have now."""
    return [
        {
            "allow": True,
            "type": there[item.path].kind,
            "major": there[item.path].major,
            "minor": there[item.path].minor,
            "access": item.permissions,
        }
        for item in spec.devices
    ]


def unit_lines(spec: ServiceSpec) -> str:
    """The same for systemd, which looks for the numbers at each start (systemd.resource-control(5))."""
    return "".join(f"DeviceAllow={item.path.replace('%', '%%')} {item.permissions}\n" for item in spec.devices)


def shown(item: t.Mapping[str, t.Any]) -> str:
    """A device for people."""
    target = "" if item["target"] == item["path"] else f" on {item['target']}"
    return f"{item['path']}{target} {item['permissions']}"
