# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The users of services, by the root filesystem's own tables (passwd(5), group(5)). Pure."""

from __future__ import annotations

from .promises import ServiceRefused
from .roots import Root
from .spec import ServiceSpec


def _resolve_id(name: str, table: str, spec: ServiceSpec) -> tuple[int, int]:
    """The id of a name in passwd(5) or group(5), and its group's for a user."""
    for line in table.splitlines():
        fields = line.split(":")
        if fields[0] == name and len(fields) > 3 and fields[2].isdigit():
            return int(fields[2]), int(fields[3]) if fields[3].isdigit() else int(fields[2])
    raise ServiceRefused(
        f"service {spec.name}: user: the root filesystem's /etc/passwd or /etc/group has no {name!r}: write numbers, or add it there"
    )


def resolve_groups(spec: ServiceSpec, root: Root | None) -> tuple[int, ...]:
    """The ids of a service's supplementary groups inside. Where the root filesystem is only promised, names stand for 0.

    :raises ServiceRefused: a name is not there, or an id is outside of the range.
    """
    found = []
    for group in spec.groups:
        number = int(group) if group.isdigit() else 0 if root is None else _group_id(group, root, spec)
        if number > 65534:
            raise ServiceRefused(f"service {spec.name}: groups: {number}: a service's ids are 0 to 65534")
        found.append(number)
    return tuple(found)


def _group_id(name: str, root: Root, spec: ServiceSpec) -> int:
    for line in root.group.splitlines():
        fields = line.split(":")
        if fields[0] == name and len(fields) > 2 and fields[2].isdigit():
            return int(fields[2])
    raise ServiceRefused(
        f"service {spec.name}: groups: the root filesystem's /etc/group has no {name!r}: write numbers, or add it there"
    )


def resolve_user(spec: ServiceSpec, root: Root | None) -> tuple[int, int]:
    """The ids of a service's user and group inside. Where the root filesystem is only promised, names stand for 0.

    :raises ServiceRefused: a name is not there, or an id is outside of the range.
    """
    user, colon, group = spec.user.partition(":")
    passwd, groups = (root.passwd, root.group) if root is not None else ("", "")
    if user.isdigit():
        uid = int(user)
        lines = [line.split(":") for line in passwd.splitlines()]
        primary = [int(line[3]) for line in lines if len(line) > 3 and line[2] == user and line[3].isdigit()]
        gid = primary[0] if primary else uid
    elif root is None:
        uid = gid = 0
    else:
        uid, gid = _resolve_id(user, passwd, spec)
    if colon:
        gid = int(group) if group.isdigit() else 0 if root is None else _resolve_id(group, groups, spec)[0]
    if uid > 65534 or gid > 65534:
        raise ServiceRefused(f"service {spec.name}: user: {uid}:{gid}: a service's ids are 0 to 65534")
    return uid, gid
