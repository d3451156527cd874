# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The action deploy_plan: look at a host, plan, have every layer asked, begin. One task, since a task costs more than most of that."""

from __future__ import annotations

import typing as t

from ansible.plugins.action import ActionBase

from ..module_utils._deploy.braille import unpacked
from ..module_utils._errors import IsolationError
from ..module_utils._rollout import planning, releases
from ..plugin_utils import _archives, _holders
from .deploy_step import LONG
from .deploy_step import ActionModule as Step

Answer = t.Dict[str, t.Any]

_OPTIONS: Answer = {
    "declared": {"type": "dict", "required": True},
    "wait": {"type": "str", "default": "30m"},
    "proceed": {"type": "bool", "default": False},
}

_PACKED = ("info", "differing")


class ActionModule(Step):
    """The action deploy_plan."""

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Plan, and begin if that is asked for. In check mode no layer is asked: each is, by its own task."""
        ActionBase.run(self, tmp, task_vars)
        del tmp
        self._begin(task_vars)
        _checked, given = self.validate_argument_spec(_OPTIONS)
        told: Answer = {"changed": False, "leased": False, **LONG}
        try:
            answer = self._plan(_archives.plain_copy(given["declared"]), given, told)
            return {**told, **answer}
        except IsolationError as error:
            return {**told, "failed": True, "msg": str(error)}

    def _plan(self, declared: Answer, given: Answer, told: Answer) -> Answer:
        """What is told of a plan, or of why there is none. `told` notes at once whether the host has been kept from others.

        The host plans for itself, so that it is gone to once. Here its plan is made again of what it saw, since values that must not be shown would
        be blanked out in one that came back.
        """
        # What can't be meant fails before any host is gone to.
        services = releases.merge_services(declared["services"], declared["secret_values"])
        if self._task.check_mode:
            answer = self._step({"step": "look", "project": declared["project"]})
        else:
            asked = {
                "step": "plan",
                "project": declared["project"],
                "declared": {key: value for key, value in declared.items() if key != "secret_values"},
                "archives": self._archives(services, declared["only"]),
                "secret_values": planning.values_for(services, declared["secret_values"]),
                "proceed": given["proceed"],
            }
            answer = _holders.patiently(
                lambda lease: self._step({**asked, "lease": lease}), {"wait": given["wait"]}, self._host, self._tell
            )
            # A module that broke off may have taken it.
            told["leased"] = answer.get("leased", True)
        found = {key: value for key, value in answer.items() if key not in ("leased", *_PACKED)}
        if "info" not in answer:
            return found
        plan = planning.host_plan(unpacked(answer["info"]), declared)
        if "differing" not in answer:
            return {**found, "plan": plan}
        differing = unpacked(answer["differing"])
        plan = planning.due(plan, differing)
        return {**found, "plan": plan, "differing": differing, "steps": planning.in_steps(plan)}

    def _archives(self, services: t.Sequence[Answer], only: t.Container[str]) -> list[Answer]:
        """Sources of the controller that services have, and what the host knows their images by."""
        chosen = [service["rootfs"] for service in services if not only or service["name"] in only]
        found = [_archives.plain_copy(rootfs) for rootfs in chosen]
        wanted = _archives.places({"aggregate": found})
        if wanted:
            self._provide(wanted, send=False)
        replaced = {id(place.element) for place in wanted}
        return [
            {"source": rootfs["source"], "found": known["source"]}
            for rootfs, known in zip(chosen, found)
            if id(known) in replaced
        ]
