# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The layer of bridges, as the runner drives it."""

from __future__ import annotations

import typing as t

from .._plan import TaskPlan
from .._runner import Layer, Options, Request
from .plan import plan_task
from .spec import OPTIONS, RULES, BridgeSpec, parse
from .state import World, observe


class BridgeLayer(Layer[BridgeSpec, World]):
    """Bridges that join services with each other and with the host's network."""

    kind = "bridge"
    options: t.ClassVar[dict[str, t.Any]] = OPTIONS
    rules: t.ClassVar[dict[str, t.Any]] = RULES
    libraries = ("pyroute2",)

    def parse(self, options: Options, request: Request) -> BridgeSpec:
        """One element's options as a canonical value."""
        return parse(options)

    def observe(self, specs: t.Sequence[BridgeSpec], request: Request) -> World:
        """What the host has."""
        return observe(specs)

    def plan(self, specs: t.Sequence[BridgeSpec], world: World, request: Request) -> TaskPlan:
        """What brings the host to the specs."""
        return plan_task(specs, world, request.project)
