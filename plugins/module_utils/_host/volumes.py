# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Named volumes: the directories that hold them, their records, and their mounts. The system calls are in helpers/volumes.py."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import typing as t
from dataclasses import dataclass, field

from .. import _idrange, _paths
from .._errors import IsolationError
from .files import make_directories, remove_empty_directories, sync_directory
from .helpers import volumes as _helper
from .inroot import open_in_root
from .libexec import program
from .mounts import mounts
from .records import DropRecord, Record, load_records

LAYER = "volume"
HELPER = "volumes"

mount_point = _helper.mount_point
named = _helper.named


class VolumeError(IsolationError):
    """A named volume can't be made, unmounted or removed."""


@dataclass(frozen=True)
class Volumes:
    """What the host has: records by name, the names of the directories, and the helper's text as it is to be."""

    records: t.Mapping[str, Record] = field(default_factory=dict)
    directories: frozenset[str] = frozenset()
    helper: str = ""


def directory(name: str) -> str:
    """Where a volume is stored."""
    return os.path.join(_paths.VOLUMES, name)


def observe() -> Volumes:
    """What the host has of volumes."""
    try:
        entries = os.listdir(_paths.VOLUMES)
    except (FileNotFoundError, NotADirectoryError):
        entries = []
    there = frozenset(name for name in entries if not name.startswith("."))
    return Volumes(load_records(LAYER), there, program(_helper))


def users(services: t.Mapping[str, Record]) -> dict[str, list[str]]:
    """The instances that use a volume, by its name. Pure."""
    found: dict[str, list[str]] = {}
    for name, record in sorted(services.items()):
        for volume in named(record.spec):
            found.setdefault(volume, []).append(name)
    return found


def size(path: str) -> int | None:
    """Bytes on disk of all files below a directory, of one file system, those with several names once; None if it is not there."""
    try:
        top = os.lstat(path)
    except FileNotFoundError:
        return None
    total, seen, todo = top.st_blocks * 512, {top.st_ino}, [path]
    while todo:
        # What a service removes meanwhile doesn't count.
        with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(todo.pop()) as entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):
                    status = entry.stat(follow_symlinks=False)
                    if status.st_dev != top.st_dev or status.st_ino in seen:
                        continue
                    seen.add(status.st_ino)
                    total += status.st_blocks * 512
                    if stat.S_ISDIR(status.st_mode):
                        todo.append(entry.path)
    return total


def observe_all(sizes: bool = False) -> list[dict[str, t.Any]]:
    """Every volume of the host, as host_info reports it. `sizes` walks through all their files."""
    volumes, used = observe(), users(load_records("service"))
    mounted = {mount.target for mount in mounts()}
    return [
        {
            "name": name,
            "project": record.project,
            "path": directory(name),
            "exists": name in volumes.directories,
            "size": size(directory(name)) if sizes else None,
            "services": used.get(name, []),
            "mounted": [one for one in used.get(name, []) if mount_point(one, name) in mounted],
        }
        for name, record in volumes.records.items()
    ]


def _like(root: str | None, target: str, id_base: int) -> tuple[int, int, int]:
    """Owner and group inside and mode of a directory of a root filesystem; root's and 0755 where there is none."""
    if root is None:
        return 0, 0, 0o755
    try:
        top = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            found = open_in_root(top, target, os.O_PATH | os.O_DIRECTORY)
        finally:
            os.close(top)
        try:
            seen = os.fstat(found)
        finally:
            os.close(found)
    except OSError:
        return 0, 0, 0o755
    uid, gid = (
        number - id_base if 0 <= number - id_base < _idrange.SIZE else 0 for number in (seen.st_uid, seen.st_gid)
    )
    return uid, gid, stat.S_IMODE(seen.st_mode) & 0o3777


@dataclass(frozen=True)
class MakeVolume:
    """Step: make an empty volume, owned as the directory that it will cover in a service's root filesystem `root`."""

    name: str
    root: str | None
    target: str
    id_base: int

    def run(self) -> None:
        """Make it, ready before it has its name. Nobody but root gets at it on the host: services leave setuid files in it."""
        make_directories(_paths.VOLUMES, 0o700)
        path = directory(self.name)
        if os.path.isdir(path):
            return
        uid, gid, mode = _like(self.root, self.target, self.id_base)
        staged = os.path.join(_paths.VOLUMES, f".{self.name}")
        with contextlib.suppress(FileNotFoundError):
            os.rmdir(staged)
        os.mkdir(staged, 0o700)
        os.chown(staged, uid, gid)
        os.chmod(staged, mode)
        os.rename(staged, path)
        sync_directory(_paths.VOLUMES)


@dataclass(frozen=True)
class PurgeVolume:
    """Step: remove a volume with all that is in it, and its record."""

    record: Record

    def run(self) -> None:
        """Remove it.

        :raises VolumeError: a service uses it, or a file can't be removed.
        """
        name = self.record.name
        used = users(load_records("service")).get(name)
        if used:
            raise VolumeError(f"volume {name}: not purged: {', '.join(used)} uses it")
        try:
            with contextlib.suppress(FileNotFoundError):
                shutil.rmtree(directory(name))
        except OSError as error:
            raise VolumeError(f"volume {name}: can't be removed: {error}") from error
        DropRecord(self.record).run()
        remove_empty_directories(_paths.VOLUMES, _paths.LIB)


def unmount_all(instance: str) -> None:
    """Unmount the volumes of an instance that has been stopped.

    :raises VolumeError: the kernel refused.
    """
    try:
        _helper.umount(instance)
    except (_helper.MountError, OSError) as error:
        raise VolumeError(f"service {instance}: its volumes can't be unmounted: {error}") from error
