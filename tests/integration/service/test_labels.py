# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""AppArmor profiles and SELinux labels on this kernel, which has them on or off."""

from __future__ import annotations

import typing as t

import pytest
from services import Host

from ansible_collections.daemonless.isolation.plugins.module_utils._host import lsm

ABSENT = {
    "apparmor_profile": (
        "isolation-nosuch",
        "no profile isolation-nosuch is loaded" if lsm.apparmor_on() else "AppArmor is not on",
    ),
    "selinux_label": ("system_u:system_r:container_t:s0", "SELinux is not on"),
}


@pytest.mark.parametrize("option", ["apparmor_profile"] if lsm.selinux_mode() else [*ABSENT])
def test_what_the_kernel_would_not_enforce_is_refused_before_any_change(host: Host, option: str) -> None:
    value, message = ABSENT[option]
    host.rootfs("web")
    wanted: dict[str, t.Any] = {"name": "web", "rootfs": "web", "command": ["/usr/bin/python3"], option: value}
    answer = host.world.refused("namespaced_service", **wanted)
    assert answer.startswith(f"service web: {option}: {message}"), answer
