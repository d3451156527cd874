# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The layer of published ports, as the runner drives it."""

from __future__ import annotations

import typing as t

from .._plan import TaskPlan
from .._runner import Layer, Options, Request
from .model import PortmapSpec
from .plan import plan_task
from .spec import OPTIONS, parse
from .state import World, observe


class PortmapLayer(Layer[PortmapSpec, World]):
    """Ports of the host that lead to services."""

    kind = "portmap"
    options: t.ClassVar[dict[str, t.Any]] = OPTIONS
    libraries = ("pyroute2",)
    bulky = ("mappings",)

    def parse(self, options: Options, request: Request) -> PortmapSpec:
        """One element's options as a canonical value."""
        return parse(options)

    def observe(self, specs: t.Sequence[PortmapSpec], request: Request) -> World:
        """What the host has."""
        return observe(specs)

    def plan(self, specs: t.Sequence[PortmapSpec], world: World, request: Request) -> TaskPlan:
        """What brings the host to the specs."""
        return plan_task(specs, world, request.project)
