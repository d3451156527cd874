# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the kernel says of how a running service is locked in: read from /proc and the control groups, never from records."""

from __future__ import annotations

import contextlib
import os
import stat
import typing as t
from dataclasses import dataclass, field

from . import cgroupfs, lsm, proc
from .files import read_text
from .mounts import Mount, parse_mountinfo
from .sockets import parse_table

GROUP_FILES = (
    "memory.max",
    "memory.limit_in_bytes",
    "cpu.max",
    "cpu.weight",
    "cpu.cfs_quota_us",
    "cpu.cfs_period_us",
    "cpu.shares",
    "pids.max",
)
"""Interface files of control groups that hold limits, of both versions."""

CONTROL_SOCKETS = (
    "/run/docker.sock",
    "/run/containerd/containerd.sock",
    "/run/podman/podman.sock",
    "/run/crio/crio.sock",
    "/run/systemd/private",
    "/run/dbus/system_bus_socket",
)
"""Sockets by which one becomes root of the host."""

_LISTEN = "0A"
_PORTS = range(65536)


@dataclass(frozen=True)
class Seen:
    """One process, by its /proc/PID/status. Capabilities are bit masks; `uid` is its effective one, as the host counts."""

    pid: int
    command: str
    uid: int
    bounding: int
    effective: int
    no_new_privs: bool
    seccomp: int


@dataclass(frozen=True)
class Group:
    """A control group with the content of its limits, by file; `path` is below the root of its hierarchy."""

    path: str
    files: t.Mapping[str, str]


@dataclass(frozen=True)
class Found:
    """A place of the host that a service's mount shows: `kind` is directory, file, device, socket, or `gone`."""

    path: str
    kind: str
    mount: Mount


@dataclass(frozen=True)
class HostFacts:
    """What services are compared with: the host's first process, and what the host has."""

    namespaces: t.Mapping[str, int] = field(default_factory=dict)
    mounts: tuple[Mount, ...] = ()
    peers: frozenset[str] = frozenset()
    last_capability: int = 40
    memory: int = 0
    apparmor: bool = False
    selinux: str | None = None
    sockets: tuple[str, ...] = ()


@dataclass(frozen=True)
class Evidence:
    """All that is read of one running service. `processes` begin with the first one; the others are in its control group.

    `limits` are soft and hard ones by the kernel's names, `groups` its own control group and those above it, `listening`
    address and port of its TCP sockets, `peers` the peer groups of its shared mounts, `masters` the bridges of its links.
    """

    pid: int
    processes: tuple[Seen, ...] = ()
    namespaces: t.Mapping[str, int] = field(default_factory=dict)
    uid_map: tuple[tuple[int, int, int], ...] = ()
    mounts: tuple[Mount, ...] = ()
    places: tuple[Found, ...] = ()
    peers: frozenset[str] = frozenset()
    limits: t.Mapping[str, tuple[str, str]] = field(default_factory=dict)
    control_groups: tuple[str, ...] = ()
    groups: tuple[Group, ...] = ()
    listening: tuple[tuple[str, int], ...] = ()
    label: str | None = None
    masters: tuple[str, ...] = ()


def peer_groups(mountinfo: str) -> frozenset[str]:
    """The peer groups of shared mounts (mount_namespaces(7)). Pure."""
    found: set[str] = set()
    for line in mountinfo.splitlines():
        optional = line.partition(" - ")[0].split()[6:]
        found.update(word.partition(":")[2] for word in optional if word.startswith("shared:"))
    return frozenset(found)


def parse_limits(text: str) -> dict[str, tuple[str, str]]:
    """/proc/PID/limits: soft and hard limit by name. Names have blanks, and the last column may be empty. Pure."""
    found = {}
    for line in text.splitlines()[1:]:
        words = line[26:].split()
        if len(words) >= 2:
            found[line[:26].strip()] = (words[0], words[1])
    return found


def host_path(mount: Mount, host: t.Iterable[Mount]) -> str | None:
    """Where the host has what a service's mount shows: by the device, and the longest root that it lies under. Pure.

    None where the host has it nowhere: a file system of the service's own.
    """
    best: Mount | None = None
    for candidate in host:
        root = candidate.root.rstrip("/")
        if candidate.device != mount.device or not (mount.root == candidate.root or mount.root.startswith(root + "/")):
            continue
        if best is None or (len(candidate.root), -len(candidate.target)) > (len(best.root), -len(best.target)):
            best = candidate
    if best is None:
        return None
    below = mount.root[len(best.root.rstrip("/")) :].strip("/")
    return os.path.join(best.target, below) if below else best.target


def _kind(path: str) -> str:
    try:
        mode = os.lstat(path).st_mode
    except OSError:
        return "gone"
    if stat.S_ISDIR(mode):
        return "directory"
    if stat.S_ISSOCK(mode):
        return "socket"
    return "device" if stat.S_ISCHR(mode) or stat.S_ISBLK(mode) else "file"


def _file(pid: int | str, name: str) -> str:
    """A file of /proc/PID; empty if the process is gone."""
    with contextlib.suppress(ProcessLookupError):
        return read_text(f"/proc/{pid}/{name}") or ""
    return ""


def _seen(pid: int) -> Seen | None:
    found = proc.status(pid)
    if found.get("State", "Z")[:1] in ("Z", "X"):
        return None
    return Seen(
        pid,
        found.get("Name", "?"),
        int(found["Uid"].split()[1]),
        int(found["CapBnd"], 16),
        int(found["CapEff"], 16),
        found.get("NoNewPrivs") == "1",
        int(found.get("Seccomp", "0")),
    )


def _sockets(pids: t.Iterable[int]) -> set[str]:
    """The inodes of the sockets that processes hold."""
    found = set()
    for pid in pids:
        with contextlib.suppress(OSError):
            for descriptor in os.listdir(f"/proc/{pid}/fd"):
                with contextlib.suppress(OSError):
                    target = os.readlink(f"/proc/{pid}/fd/{descriptor}")
                    if target.startswith("socket:["):
                        found.add(target[len("socket:[") : -1])
    return found


def _listening(pid: int, pids: t.Iterable[int]) -> tuple[tuple[str, int], ...]:
    """TCP sockets that its processes listen on: there are others in its network namespace where that is not its own."""
    entries = [entry for name in ("tcp", "tcp6") for entry in parse_table(_file(pid, f"net/{name}"), _LISTEN, _PORTS)]
    held = _sockets(pids) if entries else set()
    return tuple(sorted({(address, port) for address, port, inode in entries if inode in held}))


def _groups(path: str) -> tuple[tuple[Group, ...], set[int]]:
    """A control group and those above it, and its processes. What a root has is the machine's, and no limit."""
    trees = cgroupfs.hierarchies()
    old = any(tree.version == 1 and tree.controllers for tree in trees)
    chosen = [tree for tree in trees if tree.version == (1 if old else 2)]
    files: dict[str, dict[str, str]] = {}
    pids: set[int] = set()
    parts = path.strip("/").split("/") if path.strip("/") else []
    for tree in chosen:
        for depth in range(len(parts), 0, -1):
            group = "/".join(parts[:depth])
            found = cgroupfs.read_files(os.path.join(tree.path, group), GROUP_FILES)
            files.setdefault("/" + group, {}).update(found)
        if parts:
            pids |= cgroupfs.processes(os.path.join(tree.path, *parts))
    return tuple(Group(group, found) for group, found in files.items()), pids - {0}


def _masters(interfaces: t.Iterable[str]) -> tuple[str, ...]:
    found = set()
    for interface in interfaces:
        with contextlib.suppress(OSError):
            found.add(os.path.basename(os.readlink(f"/sys/class/net/{interface}/master")))
    return tuple(sorted(found))


def of_host() -> HostFacts:
    """What is the host's. Its first process stands for it, since who asks may have namespaces of its own."""
    text = _file(1, "mountinfo")
    last = (read_text("/proc/sys/kernel/cap_last_cap") or "").strip()
    memory = next(
        (line.split()[1] for line in (read_text("/proc/meminfo") or "").splitlines() if "MemTotal" in line), "0"
    )
    return HostFacts(
        proc.namespaces(1),
        tuple(parse_mountinfo(text)),
        peer_groups(text),
        int(last) if last.isdigit() else 40,
        int(memory) * 1024,
        lsm.apparmor_on(),
        lsm.selinux_mode(),
        tuple(path for path in CONTROL_SOCKETS if _kind(path) == "socket"),
    )


def of_service(pid: int, cgroup: str, interfaces: t.Iterable[str], host: HostFacts) -> Evidence | None:
    """What the kernel says of a service by its first process; None if that has ended meanwhile."""
    first = _seen(pid)
    if first is None:
        return None
    groups, inside = _groups(cgroup)
    others = [seen for seen in map(_seen, sorted(inside - {pid})) if seen is not None]
    text = _file(pid, "mountinfo")
    mounts = tuple(parse_mountinfo(text))
    places = [(host_path(mount, host.mounts), mount) for mount in mounts]
    label = None
    with contextlib.suppress(OSError):
        label = (_file(pid, "attr/apparmor/current") or _file(pid, "attr/current")).strip("\0\n ") or None
    uid_map = (line.split() for line in _file(pid, "uid_map").splitlines())
    found = Evidence(
        pid,
        (first, *others),
        proc.namespaces(pid),
        tuple((int(inner), int(outer), int(count)) for inner, outer, count in uid_map),
        mounts,
        tuple(Found(path, _kind(path), mount) for path, mount in places if path is not None),
        peer_groups(text),
        parse_limits(_file(pid, "limits")),
        proc.control_groups(pid),
        groups,
        _listening(pid, [seen.pid for seen in (first, *others)]),
        label,
        _masters(interfaces),
    )
    return found if proc.is_alive(pid) else None
