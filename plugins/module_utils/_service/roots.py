# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Root filesystems as services need them: what is in them, and what stands in the way."""

from __future__ import annotations

import os
import typing as t
from dataclasses import dataclass

from .._host.files import read_text
from .._host.inroot import kind, resolve
from .._rootfs.state import RootfsView
from .mounts import all_mounts
from .secret_options import FOLDER
from .spec import ServiceSpec


@dataclass(frozen=True)
class Root:
    """A root filesystem that can be looked into: `command` is what the command stands for, None if there is none. `secrets` tells whether
    it has the directory in which they are mounted. `workdir` is the working directory with its links resolved, None if there is none.
    `localtime` is what is in the place of the time zone, None for nothing, and `timezone` whether there is a file for its name.
    `lacking` are paths to mask or to make read-only that are not there.
    """

    path: str
    command: str | None
    passwd: str
    group: str
    blocked: tuple[str, ...] = ()
    secrets: bool = True
    workdir: str | None = "/"
    missing: frozenset[str] = frozenset()
    """Targets of mounts that are not in it."""
    localtime: str | None = "file"
    timezone: bool = False
    lacking: frozenset[str] = frozenset()


def _candidates(spec: ServiceSpec) -> list[str]:
    """The paths inside that a command may mean, as execvp(3) tries them."""
    word = spec.command[0]
    if "/" in word:
        return [word if word.startswith("/") else f"{spec.workdir}/{word}"]
    return [f"{folder}/{word}" for folder in spec.path]


def lacks_command(spec: ServiceSpec, promise: t.Mapping[str, t.Any]) -> bool:
    """Whether a promised root filesystem can't have the command: its image is in the store, and no file laid in is it."""
    image = os.path.join(str(promise.get("image")), "rootfs")
    laid = {os.path.normpath(str(path)) for path in promise.get("files") or []}
    if not os.path.isdir(image) or any(os.path.normpath(path) in laid for path in _candidates(spec)):
        return False
    return _find_command(image, spec) is None


def _find_command(root: str, spec: ServiceSpec) -> str | None:
    """The program that a command means inside a root filesystem, as execvp(3) would find it."""
    for candidate in _candidates(spec):
        found = resolve(root, candidate)
        if found is not None:
            status = os.stat(root + found)
            if os.path.isfile(root + found) and status.st_mode & 0o111:
                return candidate
    return None


def _blocked(root: str) -> tuple[str, ...]:
    """Mount points of the runtime that are not real entries of the root filesystem (T4)."""
    wrong = [f"/{name}" for name in ("dev", "proc", "sys") if not _is_real(f"{root}/{name}", os.path.isdir)]
    wrong += [
        f"/etc/{name}"
        for name in ("hosts", "hostname", "resolv.conf")
        if not _is_real(f"{root}/etc/{name}", os.path.isfile)
    ]
    return tuple(wrong)


def _is_real(path: str, kind: t.Callable[[str], bool]) -> bool:
    return kind(path) and not os.path.islink(path) and not os.path.islink(os.path.dirname(path))


def _look_into(root: str, spec: ServiceSpec) -> Root:
    texts = []
    for name in ("passwd", "group"):
        found = resolve(root, f"/etc/{name}")
        texts.append((read_text(root + found) or "") if found else "")
    secrets = not spec.secrets or resolve(root, FOLDER) is not None
    workdir = resolve(root, spec.workdir)
    if workdir is not None and not os.path.isdir(root + workdir):
        workdir = None
    return Root(
        root,
        _find_command(root, spec),
        texts[0],
        texts[1],
        _blocked(root),
        secrets,
        workdir=workdir,
        missing=frozenset(mount.target for mount in all_mounts(spec) if resolve(root, mount.target) is None),
        localtime=kind(root, "/etc/localtime"),
        timezone=kind(root, "/etc/timezone") == "file",
        lacking=frozenset(path for path in (*spec.masked_paths, *spec.readonly_paths) if resolve(root, path) is None),
    )


def roots(specs: t.Sequence[ServiceSpec], views: t.Mapping[str, RootfsView]) -> dict[str, Root]:
    """The root filesystems that can be looked into, by instance."""
    found = {}
    for spec in specs:
        if not spec.declared:
            continue
        view = views.get(spec.rootfs)
        path = spec.rootfs if spec.rootfs.startswith("/") else view.path if view and view.mounted else None
        if path is not None and os.path.isdir(path):
            found[spec.name] = _look_into(path, spec)
    return found
