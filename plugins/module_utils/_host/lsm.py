# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The kernel's security modules that label processes: AppArmor and SELinux."""

from __future__ import annotations

from dataclasses import dataclass

from .files import read_text

APPARMOR = "/sys/module/apparmor/parameters/enabled"
PROFILES = "/sys/kernel/security/apparmor/profiles"
SELINUX = "/sys/fs/selinux/enforce"


@dataclass(frozen=True)
class Modules:
    """What is on: `profiles` are those that AppArmor has loaded, None where they can't be read; `selinux` is `enforcing`, `permissive`,
    or None for off.
    """

    apparmor: bool = False
    profiles: frozenset[str] | None = None
    selinux: str | None = None


def apparmor_on() -> bool:
    """Whether AppArmor is on."""
    return (read_text(APPARMOR) or "").strip() == "Y"


def selinux_mode() -> str | None:
    """How SELinux is on; None if it is not."""
    enforce = read_text(SELINUX)
    return None if enforce is None else "enforcing" if enforce.strip() == "1" else "permissive"


def _profiles() -> frozenset[str] | None:
    try:
        text = read_text(PROFILES)
    except PermissionError:
        return None
    # Each line is a name and its mode in parentheses; names may have blanks.
    return None if text is None else frozenset(line.rpartition(" (")[0] for line in text.splitlines() if " (" in line)


def observe() -> Modules:
    """What this host has."""
    on = apparmor_on()
    return Modules(on, _profiles() if on else None, selinux_mode())
