# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The layer of control groups, for the runner."""

from __future__ import annotations

import typing as t

from .._plan import TaskPlan
from .._runner import Layer, Options, Request
from .facts import World
from .plan import plan_task
from .spec import OPTIONS, Spec, parse
from .state import observe


class CgroupLayer(Layer[Spec, World]):
    """Slices: a path of names, each with limits that hold for all processes in it and below."""

    kind = "slice"
    options = OPTIONS

    def parse(self, options: Options, request: Request) -> Spec:
        """One slice."""
        return parse(options)

    def observe(self, specs: t.Sequence[Spec], request: Request) -> World:
        """The host's hierarchies, and the slices of this task."""
        return observe(specs)

    def plan(self, specs: t.Sequence[Spec], world: World, request: Request) -> TaskPlan:
        """The changes of all slices."""
        return plan_task(specs, world, request.project)
