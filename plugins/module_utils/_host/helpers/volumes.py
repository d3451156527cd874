# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Mount and unmount the named volumes of a service's instance: `volumes mount NAME`, `volumes umount NAME`.

Managed by daemonless.isolation. Why it is there: a volume is stored with the ids that the service has inside, so that it outlives
the service's range of ids; it is mounted with its ids mapped to that range, which mount(8) before util-linux 2.39 can't do (it
ignores X-mount.idmap and returns 0). The supervisor calls it before each start, also at boot, and after each end. Both verbs
are idempotent. What is to be mounted is told by the record of the instance.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import stat
import sys
import typing as t

from .mounting import NODEV, NOSUID, MountError, attach, clone_mapped, detach, find, mounts

__all__ = ["MountError", "folder", "main", "mount", "mount_point", "named", "umount"]

RECORDS = "/etc/isolation/service"
INSTANCES = "/var/lib/isolation/instances"
VOLUMES = "/var/lib/isolation/volumes"


def folder(instance: str) -> str:
    """Where the volumes of an instance are mounted; the runtime takes them from there."""
    return os.path.join(INSTANCES, instance, "volumes")


def mount_point(instance: str, volume: str) -> str:
    """Where one of them is mounted."""
    return os.path.join(folder(instance), volume)


def named(spec: t.Mapping[str, t.Any]) -> list[str]:
    """The volumes that the recorded options of an instance name, each once."""
    return sorted({item["source"] for item in spec.get("mounts", []) if item.get("type") == "volume"})


def _is_mounted(source: str, target: str, id_base: int) -> bool:
    """Whether a volume is mounted as it is to be: told by stat, as a return code proves nothing."""
    there = find(target, mounts())
    if there is None or not {"nosuid", "nodev"} <= there.options:
        return False
    stored, shown = os.stat(source), os.stat(target)
    return os.path.samestat(stored, shown) and shown.st_uid == stored.st_uid + id_base


def mount(instance: str, id_base: int, volumes: t.Iterable[str]) -> None:
    """Mount volumes for an instance whose ids begin with `id_base`, unless they are.

    :raises MountError: a volume is gone, or the kernel refused.
    """
    top = folder(instance)
    for volume in volumes:
        source, target = os.path.join(VOLUMES, volume), mount_point(instance, volume)
        if not os.path.lexists(source) or not stat.S_ISDIR(os.lstat(source).st_mode):
            raise MountError(f"{source}: the volume is gone: apply namespaced_service again, which makes an empty one")
        for path in (top, target):
            with contextlib.suppress(FileExistsError):
                os.mkdir(path, 0o700)
        if _is_mounted(source, target, id_base):
            continue
        detach(target, lazy=True)
        descriptor = clone_mapped(source, id_base, NOSUID | NODEV)
        try:
            attach(descriptor, target)
        finally:
            os.close(descriptor)


def umount(instance: str) -> None:
    """Unmount all volumes of an instance, whatever its record says now. A process of the host that has a file open keeps it.

    :raises MountError: the kernel refused.
    """
    top = folder(instance)
    with contextlib.suppress(FileNotFoundError):
        for volume in os.listdir(top):
            detach(os.path.join(top, volume), lazy=True)
            with contextlib.suppress(FileNotFoundError):
                os.rmdir(os.path.join(top, volume))
        os.rmdir(top)


def recorded(instance: str) -> tuple[int, list[str]]:
    """The first id of an instance's range, and its volumes, by its record.

    :raises MountError: there is no record, or it can't be read.
    """
    path = os.path.join(RECORDS, instance + ".json")
    try:
        with open(path, encoding="utf-8") as stream:
            record = json.load(stream)
        return int(record["assigned"]["id_base"]), named(record["spec"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise MountError(f"{path}: no usable record of a service ({error}): apply namespaced_service again") from error


def main(arguments: t.Sequence[str]) -> int:
    """Be the program; return its exit status."""
    if len(arguments) != 2 or arguments[0] not in ("mount", "umount") or "/" in arguments[1]:
        sys.stderr.write("usage: volumes mount NAME | volumes umount NAME\n")
        return 2
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        if arguments[0] == "mount":
            mount(arguments[1], *recorded(arguments[1]))
        else:
            umount(arguments[1])
    except (MountError, OSError) as error:
        sys.stderr.write(f"volumes {arguments[1]}: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
