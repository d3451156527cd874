# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The layer of services, as the runner drives it."""

from __future__ import annotations

import typing as t
from dataclasses import replace

from .._plan import TaskPlan
from .._runner import Layer, Options, Request
from .options import OPTIONS, RULES
from .parse import parse
from .plan import plan
from .secret_options import BESIDE
from .spec import ServiceSpec
from .state import World, observe


class ServiceLayer(Layer[ServiceSpec, World]):
    """Processes in namespaces of their own, started by an OCI runtime and supervised by the host."""

    kind = "service"
    options: t.ClassVar[dict[str, t.Any]] = OPTIONS
    beside: t.ClassVar[dict[str, t.Any]] = BESIDE
    rules: t.ClassVar[dict[str, t.Any]] = RULES
    expects: t.ClassVar[tuple[str, ...]] = ("bridges", "rootfs", "services", "slices")

    def parse(self, options: Options, request: Request) -> ServiceSpec:
        """One element's options as a canonical value."""
        return parse(options)

    def observe(self, specs: t.Sequence[ServiceSpec], request: Request) -> World:
        """What the host has of what they name."""
        return observe(specs, request.expect)

    def plan(self, specs: t.Sequence[ServiceSpec], world: World, request: Request) -> TaskPlan:
        """What brings the host to the specs."""
        return plan(specs, world, request.expect, request.project)

    def hidden(self, specs: t.Sequence[ServiceSpec], world: World) -> t.Iterable[str]:
        """The values of secrets, as a service may have written them to its log."""
        given = [secret.value for spec in specs for secret in spec.secrets]
        there = [seen.value for one in world.secrets.seen.values() for seen in one.values()]
        return {text for value in (*given, *there) if value is not None for text in value.texts()}

    def settled(self, spec: ServiceSpec) -> ServiceSpec:
        """A restarted or reloaded service is a started one from then on."""
        return replace(spec, state="started") if spec.state in ("restarted", "reloaded") else spec
