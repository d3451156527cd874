# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The layers of a deployment. Each is loaded when it is needed, which takes as long as most of what is asked of it."""

from __future__ import annotations

import typing as t

from .._runner import Layer

BELOW = {"bridges": "bridge", "slices": "slice", "rootfs": "rootfs"}
"""What services stand on, in the order in which it is made: the parts of a plan, each with the noun of its module."""


def layer_of(part: str) -> Layer[t.Any, t.Any]:
    """The layer that a part of a plan is for. All that is not named here is for services."""
    if part == "bridges":
        from .._bridge.layer import BridgeLayer

        return BridgeLayer()
    if part == "slices":
        from .._cgroup.layer import CgroupLayer

        return CgroupLayer()
    if part == "rootfs":
        from .._rootfs.layer import RootfsLayer

        return RootfsLayer()
    if part in ("portmaps", "confirm"):
        from .._portmap.layer import PortmapLayer

        return PortmapLayer()
    from .._service.layer import ServiceLayer

    return ServiceLayer()
