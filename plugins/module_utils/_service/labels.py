# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A service's AppArmor profile and SELinux label. Pure.

`linux.mountLabel` is not set: the root filesystem and the volumes are mounted before the runtime comes, so that it would label none of them.
"""

from __future__ import annotations

import re
import typing as t

from .._errors import InvalidOption
from .._host import lsm
from .promises import ServiceRefused
from .spec import ServiceSpec

UNCONFINED = "unconfined"
_PROFILE = re.compile(r"[!-~]{1,255}")
_LABEL = re.compile(r"[A-Za-z0-9_.-]+(:[A-Za-z0-9_.-]+){2}(:[A-Za-z0-9_.,-]+(:[A-Za-z0-9_.,-]+)?)?")


def parse_profile(text: str | None, name: str) -> str | None:
    """The name of an AppArmor profile.

    :raises InvalidOption: it can't be one.
    """
    if text is not None and not _PROFILE.fullmatch(text):
        raise InvalidOption(f"{name}: apparmor_profile: {text!r} can't be the name of a profile, or has blanks")
    return text


def parse_label(text: str | None, name: str) -> str | None:
    """An SELinux context.

    :raises InvalidOption: it can't be one.
    """
    if text is not None and not _LABEL.fullmatch(text):
        raise InvalidOption(
            f"{name}: selinux_label: {text!r} is not a context, such as system_u:system_r:container_t:s0:c1,c2"
        )
    return text


def check_labels(spec: ServiceSpec, host: lsm.Modules) -> None:
    """Refuse what the kernel would not enforce.

    :raises ServiceRefused: the security module is off, or has no such profile.
    """
    if spec.apparmor_profile is not None:
        option = f"service {spec.name}: apparmor_profile"
        if not host.apparmor:
            raise ServiceRefused(
                f"{option}: AppArmor is not on in this host's kernel ({lsm.APPARMOR} is not Y), so that nothing would confine it: boot"
                " with AppArmor, or leave the option out"
            )
        if host.profiles is not None and spec.apparmor_profile not in (*host.profiles, UNCONFINED):
            raise ServiceRefused(
                f"{option}: no profile {spec.apparmor_profile} is loaded ({lsm.PROFILES}): load it with apparmor_parser --replace, from a"
                " file in /etc/apparmor.d so that it is loaded at boot, too"
            )
    if spec.selinux_label is not None and host.selinux is None:
        raise ServiceRefused(
            f"service {spec.name}: selinux_label: SELinux is not on in this host's kernel (there is no {lsm.SELINUX}), so that nothing"
            " would confine it: boot with SELinux, or leave the option out"
        )


def doubtful(spec: ServiceSpec, host: lsm.Modules) -> list[str]:
    """Warnings of labels that may not hold."""
    found = []
    if spec.apparmor_profile not in (None, UNCONFINED) and host.profiles is None:
        found.append(
            f"service {spec.name}: apparmor_profile: {lsm.PROFILES} can't be read, so that nobody knows before its start whether"
            f" {spec.apparmor_profile} is loaded: mount securityfs there"
        )
    if spec.selinux_label is not None and host.selinux == "permissive":
        found.append(
            f"service {spec.name}: selinux_label: this host's SELinux is permissive: what its policy forbids is told, and done all the same"
        )
    return found


def process(spec: ServiceSpec) -> dict[str, t.Any]:
    """What the bundle says of them (OCI runtime specification, config.md and config-linux.md)."""
    found = {"apparmorProfile": spec.apparmor_profile, "selinuxLabel": spec.selinux_label}
    return {key: value for key, value in found.items() if value is not None}
