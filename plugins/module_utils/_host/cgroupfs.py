# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Control group file systems: v2, v1 and hosts that have both (cgroups(7), the kernel's cgroup-v2.rst and cgroup-v1/).

Directories and interface files only; what a limit is called in which version is `_cgroup`'s business.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import time
import typing as t
from dataclasses import dataclass

from .._errors import IsolationError
from .files import read_text

TOP = "isolation"
"""The directory below the root of each hierarchy that holds our slices."""

_USUAL = "/sys/fs/cgroup"

_HUGE_PAGES = "/sys/kernel/mm/hugepages"

PATIENCE = 5.0
"""Seconds to wait for killed processes to be gone, and for frozen ones to stop."""

_REMEDIES = {
    errno.EBUSY: "the processes inside use more than that, or a child group needs more: stop them, or choose a higher value",
    errno.EINVAL: "the kernel does not take this value here: it must fit the parent's and the children's values",
    errno.ENODEV: "the kernel knows no such disk",
    errno.ENOENT: "this kernel has no such control",
    errno.EACCES: "the file system of control groups is read-only here, or the controller is off in the parent",
    errno.ENOSPC: "processes inside need at least one CPU and one memory node",
    errno.EROFS: "the file system of control groups is mounted read-only",
}


class CgroupError(IsolationError):
    """The kernel has refused a change of a control group."""


@dataclass(frozen=True)
class Hierarchy:
    """One mounted tree of control groups: the unified one (version 2), or one of version 1 with its controllers."""

    version: int
    path: str
    controllers: frozenset[str]


@dataclass(frozen=True)
class _Mount:
    """A line of /proc/self/mountinfo that is about control groups."""

    device: int
    root: str
    path: str
    version: int
    options: frozenset[str]


def _unescape(text: str) -> str:
    """A path of mountinfo: blanks are written as octal numbers (proc(5))."""
    return text.encode().decode("unicode_escape") if "\\" in text else text


def parse_mountinfo(text: str) -> list[_Mount]:
    """The mounts of control groups that a mountinfo names, in its order. Pure."""
    found = []
    for line in text.splitlines():
        left, _sep, right = line.partition(" - ")
        kind, _source, *options = right.split()
        if kind not in ("cgroup", "cgroup2"):
            continue
        _id, _parent, device, root, path = left.split()[:5]
        major, _sep, minor = device.partition(":")
        found.append(
            _Mount(
                os.makedev(int(major), int(minor)),
                _unescape(root),
                _unescape(path),
                2 if kind == "cgroup2" else 1,
                frozenset(",".join(options).split(",")),
            )
        )
    return found


def _visible(mount: _Mount) -> bool:
    """Whether the mount can be reached by its path: a later mount may lie over it."""
    try:
        return os.stat(mount.path).st_dev == mount.device
    except OSError:
        return False


def _known_controllers() -> frozenset[str]:
    lines = (read_text("/proc/cgroups") or "").splitlines()
    return frozenset(line.split()[0] for line in lines if line and not line.startswith("#"))


def hierarchies() -> tuple[Hierarchy, ...]:
    """The hierarchies that this process sees, as its mount and cgroup namespaces show them.

    A hierarchy that is mounted in several places counts once: where its own root is mounted, in the usual place if it is there.
    """
    known = _known_controllers()
    mounts = [mount for mount in parse_mountinfo(read_text("/proc/self/mountinfo") or "") if _visible(mount)]
    found: dict[t.Any, Hierarchy] = {}
    for mount in sorted(mounts, key=lambda mount: (mount.root != "/", not mount.path.startswith(_USUAL), mount.path)):
        if mount.version == 2:
            listed = (read_text(os.path.join(mount.path, "cgroup.controllers")) or "").split()
            found.setdefault(2, Hierarchy(2, mount.path, frozenset(listed)))
        else:
            names = frozenset(option for option in mount.options if option in known or option.startswith("name="))
            controllers = frozenset(name for name in names if not name.startswith("name="))
            found.setdefault(names, Hierarchy(1, mount.path, controllers))
    return tuple(found.values())


def slice_path(name: str) -> str:
    """Where the slice `name` lies below the root of each hierarchy, where no systemd manages them."""
    return f"{TOP}/{name}"


def read_files(directory: str, names: t.Iterable[str]) -> dict[str, str]:
    """The content of interface files by name, without those that are not there or can't be read."""
    found = {}
    for name in names:
        with contextlib.suppress(OSError):
            text = read_text(os.path.join(directory, name))
            if text is not None:
                found[name] = text.strip()
    return found


def settings(directory: str) -> frozenset[str]:
    """The names of a group's interface files that can be read and written, as their modes say."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(directory) as entries:
        return frozenset(
            entry.name
            for entry in entries
            if entry.is_file(follow_symlinks=False) and entry.stat(follow_symlinks=False).st_mode & 0o600 == 0o600
        )
    return frozenset()


def huge_pages() -> tuple[int, ...]:
    """The sizes of huge pages that the kernel knows, in bytes (admin-guide/mm/hugetlbpage.rst)."""
    names = os.listdir(_HUGE_PAGES) if os.path.isdir(_HUGE_PAGES) else []
    sizes = (name[len("hugepages-") : -len("kB")] for name in names)
    return tuple(sorted(int(size) * 1024 for size in sizes if size.isdigit()))


def kernel_functions(wanted: t.Collection[str]) -> frozenset[str] | None:
    """Which of these functions the running kernel has (proc(5), /proc/kallsyms); None if it does not tell.

    A build with link-time optimisation appends something to the names of its functions.
    """
    try:
        with open("/proc/kallsyms", encoding="ascii", errors="replace") as stream:
            names = {line.split(None, 3)[2].split(".", 1)[0] for line in stream}
    except OSError:
        return None
    return frozenset(names.intersection(wanted)) if names else None


def write_value(directory: str, name: str, text: str) -> None:
    """Write one interface file with a single write(2), as the kernel wants it.

    :raises CgroupError: the kernel has refused; the message has its answer and a remedy.
    """
    path = os.path.join(directory, name)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(descriptor, text.encode())
        finally:
            os.close(descriptor)
    except OSError as error:
        remedy = _REMEDIES.get(error.errno or 0)
        raise CgroupError(f"{path}: writing {text!r}: {error.strerror}" + (f" ({remedy})" if remedy else "")) from error


def _inherit_cpuset(directory: str) -> None:
    """Give a new v1 cpuset its parent's CPUs and memory nodes: without them no process may enter (cpuset(7))."""
    names = ("cpuset.cpus", "cpuset.mems")
    mine, parents = read_files(directory, names), read_files(os.path.dirname(directory), names)
    for name in names:
        if mine.get(name) == "" and parents.get(name):
            write_value(directory, name, parents[name])


def _enable_controllers(directory: str, wanted: t.Iterable[str]) -> None:
    """Hand v2 controllers down to the children of a group (cgroup-v2.rst, Controlling Controllers).

    :raises CgroupError: processes in the group itself forbid it, or the group does not have them.
    """
    enabled = read_files(directory, ["cgroup.subtree_control"]).get("cgroup.subtree_control", "").split()
    for controller in sorted(set(wanted) - set(enabled)):
        try:
            write_value(directory, "cgroup.subtree_control", f"+{controller}")
        except CgroupError as error:
            raise CgroupError(
                f"{directory}: handing the controller {controller} down to its children failed: {error.__cause__}:"
                " processes that sit in this group itself must move to a child of it first"
            ) from error.__cause__


def make_group(hierarchy: Hierarchy, path: str, controllers: t.Iterable[str] = ()) -> None:
    """Make a group and its parents; on v2, hand `controllers` down along the way.

    :raises CgroupError: the kernel has refused.
    """
    directory = hierarchy.path
    for part in path.split("/"):
        if hierarchy.version == 2:
            _enable_controllers(directory, controllers)
        directory = os.path.join(directory, part)
        try:
            os.mkdir(directory, 0o755)
        except FileExistsError:
            pass
        except OSError as error:
            raise CgroupError(f"{directory}: the control group can't be made: {error.strerror}") from error
        if "cpuset" in hierarchy.controllers and hierarchy.version == 1:
            _inherit_cpuset(directory)


def children(directory: str) -> list[str]:
    """The names of the groups directly below a group; none if it is not there."""
    try:
        with os.scandir(directory) as entries:
            return sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
    except (FileNotFoundError, NotADirectoryError):
        return []


def descendants(directory: str) -> list[str]:
    """The group and all groups below it, children before parents; none if it is not there."""
    if not os.path.isdir(directory):
        return []
    below = [found for name in children(directory) for found in descendants(os.path.join(directory, name))]
    return [*below, directory]


def processes(directory: str) -> set[int]:
    """The processes in a group and below it; 0 stands for those of pid namespaces that can't be seen from here."""
    found: set[int] = set()
    for group in descendants(directory):
        text = read_files(group, ["cgroup.procs"]).get("cgroup.procs", "")
        found.update(int(line) for line in text.split())
    return found


def is_frozen(hierarchy: Hierarchy, path: str) -> bool:
    """Whether a group is asked to be frozen (v1: the freezer controller, v2: cgroup.freeze)."""
    directory = os.path.join(hierarchy.path, path)
    if hierarchy.version == 2:
        return read_files(directory, ["cgroup.freeze"]).get("cgroup.freeze") == "1"
    return read_files(directory, ["freezer.self_freezing"]).get("freezer.self_freezing") == "1"


def freeze(hierarchy: Hierarchy, path: str, frozen: bool) -> None:
    """Stop all processes of a group where they are, or let them go on, and wait until it is so.

    :raises CgroupError: the kernel has refused, or a process could not be stopped in time.
    """
    directory = os.path.join(hierarchy.path, path)
    name, wish, sign = ("cgroup.freeze", str(int(frozen)), f"frozen {int(frozen)}")
    answer = "cgroup.events"
    if hierarchy.version == 1:
        name = answer = "freezer.state"
        wish = sign = "FROZEN" if frozen else "THAWED"
    deadline = time.monotonic() + PATIENCE
    while True:
        write_value(directory, name, wish)
        if sign in read_files(directory, [answer]).get(answer, "").splitlines():
            return
        if time.monotonic() > deadline:
            raise CgroupError(
                f"{directory}: {name} was set to {wish}, but not all of its processes have followed: run again"
            )
        time.sleep(0.01)


def _freezer(trees: t.Sequence[Hierarchy]) -> Hierarchy | None:
    return next((tree for tree in trees if tree.version == 1 and "freezer" in tree.controllers), None)


def kill_all(trees: t.Sequence[Hierarchy], path: str) -> None:
    """Kill every process in a group, and wait until none is left.

    v2 has `cgroup.kill` since Linux 5.14. Elsewhere the group is frozen first, so that no process escapes by a fork.

    :raises CgroupError: a process is still there (in an uninterruptible sleep, say).
    """
    deadline = time.monotonic() + PATIENCE
    while True:
        alive: set[int] = set()
        single: set[int] = set()
        for tree in trees:
            directory = os.path.join(tree.path, path)
            inside = processes(directory)
            alive |= inside
            if tree.version == 2 and os.path.exists(os.path.join(directory, "cgroup.kill")):
                write_value(directory, "cgroup.kill", "1")
            else:
                single |= inside
        if not alive:
            return
        if time.monotonic() > deadline:
            raise CgroupError(f"{path}: processes {', '.join(map(str, sorted(alive)))} were killed, but have not ended")
        _kill_frozen(_freezer(trees), path, single)
        time.sleep(0.02)


def _kill_frozen(freezer: Hierarchy | None, path: str, pids: set[int]) -> None:
    held = freezer is not None and os.path.isdir(os.path.join(freezer.path, path))
    if freezer is not None and held:
        with contextlib.suppress(CgroupError):
            freeze(freezer, path, True)
            pids = pids | processes(os.path.join(freezer.path, path))
    for pid in pids - {0}:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    if freezer is not None and held:
        freeze(freezer, path, False)


def remove_group(directory: str) -> None:
    """Remove a group and all groups below it; none of them may hold a process.

    :raises CgroupError: one of them is in use.
    """
    for group in descendants(directory):
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                os.rmdir(group)
            except FileNotFoundError:
                pass
            except OSError as error:
                # A process that has just ended holds its group for a moment.
                if error.errno == errno.EBUSY and not processes(group) and time.monotonic() < deadline:
                    time.sleep(0.02)
                    continue
                raise CgroupError(f"{group}: the control group can't be removed: {error.strerror}") from error
            break


def remove_empty_group(directory: str) -> bool:
    """Remove a group that has neither processes nor children; says whether it is gone."""
    try:
        os.rmdir(directory)
    except FileNotFoundError:
        return True
    except OSError as error:
        if error.errno not in (errno.EBUSY, errno.ENOTEMPTY):
            raise
        return False
    return True
