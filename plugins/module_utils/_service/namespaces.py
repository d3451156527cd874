# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which namespaces a service has of its own, shares with the host, or with another service. Pure."""

from __future__ import annotations

import re
import typing as t

from .._errors import InvalidOption
from .._host import joins
from .._names import check_name
from .options import NAMESPACES
from .spec import ServiceSpec

_PROC = {"network": "net"}
"""Names in /proc/PID/ns that differ (namespaces(7))."""

_WORD = re.compile(r"private|host|service:(?P<service>.*)", re.DOTALL)

OWNED = (
    ("net.", "network"),
    ("fs.mqueue.", "ipc"),
    ("kernel.msg", "ipc"),
    ("kernel.shm", "ipc"),
    ("kernel.sem", "ipc"),
    ("kernel.domainname", "uts"),
)
"""Kernel settings that belong to namespaces, by the beginning of their names."""


def parse_namespaces(given: t.Mapping[str, t.Any] | None, name: str) -> tuple[tuple[str, str], ...]:
    """Those that are not the service's own.

    :raises InvalidOption: they can't be so, or not together.
    """
    found: dict[str, str] = {}
    for kind in NAMESPACES:
        value = (given or {}).get(kind) or "private"
        match = _WORD.fullmatch(value)
        if match is None:
            raise InvalidOption(
                f"{name}: namespaces: {kind}: {value!r} is none of private, host and service:<instance>"
            )
        if match["service"] is not None:
            check_name(match["service"], f"{name}: namespaces: {kind}")
            if match["service"] == name:
                raise InvalidOption(f"{name}: namespaces: {kind}: a service can't join itself")
        if value != "private":
            found[kind] = value
    pid = found.get("pid", "host")
    if pid != "host" and "time" not in found:
        # crun 1.8 waits for ever for a process in another one's pid namespace and in a time namespace of its own.
        if (given or {}).get("time"):
            raise InvalidOption(
                f"{name}: namespaces: time: private: it can't be with pid: {pid}: leave time out, or set it to host or {pid}"
            )
        found["time"] = pid
    if found.get("user") == "host":
        raise InvalidOption(
            f"{name}: namespaces: user: host is refused: root inside would be root of the host. Files of the host's users can be"
            " reached by a volume (mounts), which shifts their owners"
        )
    targets = sorted({value for value in found.values() if value != "host"})
    if len(targets) > 1:
        raise InvalidOption(f"{name}: namespaces: {' and '.join(targets)}: all that are joined must be of one service")
    if targets and "user" not in found:
        kind = next(kind for kind, value in found.items() if value != "host")
        raise InvalidOption(
            f"{name}: namespaces: {kind}: {targets[0]}: a namespace is of use only in the user namespace that owns it:"
            f" set user to {targets[0]}, too"
        )
    return tuple(found.items())


def init_of(given: bool | None, namespaces: t.Mapping[str, str], name: str) -> bool:
    """Whether a service has an init: by default where its command would be process 1.

    :raises InvalidOption: it is asked for where it can't be process 1.
    """
    pid = namespaces.get("pid")
    if given and pid is not None:
        raise InvalidOption(
            f"{name}: init: an init must be process 1, which is another one with namespaces: pid: {pid}: leave init out"
        )
    return pid is None if given is None else given


def check_options(options: t.Mapping[str, t.Any], namespaces: t.Mapping[str, str], name: str) -> None:
    """Refuse what needs a namespace of its own.

    :raises InvalidOption: something does.
    """

    def refuse(option: str, kind: str) -> None:
        raise InvalidOption(
            f"{name}: {option} belongs to the {kind} namespace, which is not its own (namespaces: {kind}: {namespaces[kind]}):"
            " leave one of them out"
        )

    if options["networks"] and "network" in namespaces:
        refuse("networks", "network")
    if options.get("hostname") and "uts" in namespaces:
        refuse("hostname", "uts")
    for setting in options["sysctls"]:
        for begin, kind in OWNED:
            if setting.startswith(begin) and kind in namespaces:
                refuse(f"sysctls: {setting}", kind)


def proc_name(kind: str) -> str:
    """The name of a kind in /proc/PID/ns."""
    return _PROC.get(kind, kind)


def join_file(spec: ServiceSpec, target: str) -> str:
    """What the helper reads before a start: the instance that is joined, and the namespaces."""
    return f"{target} {' '.join(proc_name(kind) for kind, value in spec.namespaces if value != 'host')}\n"


def oci_namespaces(spec: ServiceSpec, with_time: bool) -> list[dict[str, str]]:
    """The namespaces of a bundle, in an order that runtimes take; those of the host are left out."""
    found = []
    for kind in ("pid", "mount", "network", "uts", "ipc", "cgroup", "user", "time"):
        value = spec.namespace(kind)
        if value == "private" and (kind != "time" or with_time):
            found.append({"type": kind})
        elif value not in ("private", "host"):
            found.append({"type": kind, "path": joins.link(spec.name, proc_name(kind))})
    return found
