# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The layer of root filesystems, as the runner drives it."""

from __future__ import annotations

import typing as t

from .._plan import TaskPlan
from .._runner import Layer, Options, Request
from .plan import plan
from .spec import OPTIONS, RULES, RootfsSpec, parse
from .state import World, observe


class RootfsLayer(Layer[RootfsSpec, World]):
    """Images by digest, and an overlay for each instance."""

    kind = "rootfs"
    options: t.ClassVar[dict[str, t.Any]] = OPTIONS
    rules: t.ClassVar[dict[str, t.Any]] = RULES

    def parse(self, options: Options, request: Request) -> RootfsSpec:
        """One element's options as a canonical value."""
        return parse(options)

    def observe(self, specs: t.Sequence[RootfsSpec], request: Request) -> World:
        """What the host has of what they name."""
        return observe(specs)

    def plan(self, specs: t.Sequence[RootfsSpec], world: World, request: Request) -> TaskPlan:
        """What brings the host to the specs."""
        return plan(specs, world, request.project)
