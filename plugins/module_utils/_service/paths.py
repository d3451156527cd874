# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Paths that a service can't look into, or can't write to, beside those of every service. Pure."""

from __future__ import annotations

import typing as t

from .._errors import InvalidOption
from .promises import ServiceRefused
from .roots import Root
from .secret_options import FOLDER
from .spec import ServiceSpec

MASKED = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
)
READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")

GIVEN = ("/dev/init", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf")
"""What a service is given, whatever its root filesystem has."""

_WHOLE = ("/", "/proc")


def covers(path: str, other: str) -> bool:
    """Whether a path is another one, or above it."""
    return other == path or other.startswith(path + "/")


def parse_paths(
    given: t.Sequence[str], name: str, option: str, normal: t.Callable[[str, str], str], needed: t.Iterable[str] = ()
) -> tuple[str, ...]:
    """Paths inside, each once, without those of every service. `needed` are those that must be seen.

    :raises InvalidOption: one can't be meant.
    """
    found = []
    for item in given:
        path = normal(item, f"{name}: {option}")
        if path in _WHOLE:
            raise InvalidOption(f"{name}: {option}: {path} as a whole can't be among them: name what lies below it")
        hidden = next((other for other in needed if covers(path, other)), None)
        if hidden is not None:
            raise InvalidOption(f"{name}: {option}: {path} would hide {hidden}, which the service is given")
        found.append(path)
    return tuple(sorted(set(found)))


def needed(options: t.Mapping[str, t.Any], mounted: t.Iterable[str], workdir: str) -> tuple[str, ...]:
    """What no mask may hide: what the service is told to have."""
    secrets = [FOLDER] if options.get("secrets") else []
    return (*GIVEN, *mounted, *([] if workdir == "/" else [workdir]), *secrets)


def check_command(spec: ServiceSpec, root: Root) -> None:
    """Refuse masks that hide the service's own program.

    :raises ServiceRefused: one does.
    """
    for path in spec.masked_paths:
        if root.command is not None and covers(path, root.command):
            raise ServiceRefused(
                f"service {spec.name}: masked_paths: {path} would hide the service's own program {root.command}: leave it out"
            )


def unfound(spec: ServiceSpec, root: Root | None) -> list[str]:
    """Warnings of paths that are not there, as far as that can be told before a start."""
    mounted = [item.target for item in (*spec.mounts, *spec.volumes)] + [item.target for item in spec.tmpfs]
    mounted += ["/proc", "/sys", "/dev", FOLDER]
    return [
        f"service {spec.name}: {option}: {path} is not in the root filesystem {root.path}: there is nothing to {deed}"
        for option, deed, paths in (
            ("masked_paths", "mask", spec.masked_paths),
            ("readonly_paths", "make read-only", spec.readonly_paths),
        )
        for path in paths
        if root is not None and path in root.lacking and not any(covers(top, path) for top in mounted)
    ]
