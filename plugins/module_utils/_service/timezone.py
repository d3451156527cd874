# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A service's time zone: the host's file of that zone, mounted on its /etc/localtime (localtime(5)). Pure.

The variable TZ is left alone: it would name a file that many root filesystems do not have, and programs that find none take UTC.
"""

from __future__ import annotations

import re
import typing as t

from .._errors import InvalidOption
from .._host import zones
from .promises import ServiceRefused
from .roots import Root
from .spec import BindMount, ServiceSpec, Tmpfs

PLACE, NAME_PLACE = "/etc/localtime", "/etc/timezone"
NAME_FILE = "timezone"
"""The file of the bundle that has the zone's name."""

_NAME = re.compile(r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+){0,2}")
_LAY = f"lay a file in its place with daemonless.isolation.rootfs_prepare (files: [{{path: {PLACE}, content: ''}}])"


def parse_timezone(text: str | None, name: str, others: t.Iterable[BindMount | Tmpfs]) -> str | None:
    """The name of a time zone. `others` are the service's other mounts.

    :raises InvalidOption: it can't be one, or its files have other mounts on them.
    """
    if text is None:
        return None
    if not _NAME.fullmatch(text):
        raise InvalidOption(f"{name}: timezone: {text!r} is not the name of a time zone, such as Europe/Vienna")
    for other in others:
        if other.target in (PLACE, NAME_PLACE):
            raise InvalidOption(
                f"{name}: timezone: {other.target} is the target of another mount: leave one of them out"
            )
    return text


def check_timezone(spec: ServiceSpec, known: t.Container[str], root: Root | None, read_only: bool) -> None:
    """Refuse a zone that the host does not have, and one that can't be shown to the service.

    :raises ServiceRefused: it is so.
    """
    if spec.timezone is None:
        return
    if spec.timezone not in known:
        raise ServiceRefused(
            f"service {spec.name}: timezone: this host has no time zone in {zones.path(spec.timezone)}: correct the name, or install the"
            " package tzdata (for old names, tzdata-legacy, where there is one)"
        )
    if root is None or root.localtime == "file":
        return
    if root.localtime is not None:
        raise ServiceRefused(
            f"service {spec.name}: timezone: in the root filesystem {root.path}, {PLACE} is a {root.localtime}: what is mounted on a link"
            f" hides the file that it leads to, which is that of another zone: {_LAY}"
        )
    if read_only:
        raise ServiceRefused(
            f"service {spec.name}: timezone: the root filesystem is read-only and has no {PLACE} to mount the zone on: {_LAY}"
        )


def mounts(spec: ServiceSpec, directory: str, named: bool) -> list[tuple[str, str]]:
    """Target and source of what is mounted; `named` tells whether the root filesystem has a file for the name."""
    if spec.timezone is None:
        return []
    return [(PLACE, zones.path(spec.timezone)), *([(NAME_PLACE, f"{directory}/{NAME_FILE}")] if named else [])]
