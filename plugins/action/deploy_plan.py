# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The action deploy_plan: look at a host, plan on the controller, have every layer asked. One task, since a task costs more than all of that."""

from __future__ import annotations

import typing as t

from ..module_utils._errors import IsolationError
from ..plugin_utils import _archives, _holders, _rollout, _secrets
from .rootfs_prepare import ActionModule as Archives

_MODULE = "daemonless.isolation.deploy_check"

Answer = t.Dict[str, t.Any]


class ActionModule(Archives):
    """The action deploy_plan."""

    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Plan. In check mode no layer is asked: each is, by its own task."""
        super(Archives, self).run(tmp, task_vars)
        del tmp
        self._variables = task_vars or {}
        self._host = str(self._variables.get("inventory_hostname", "host"))
        _checked, given = self.validate_argument_spec(
            {"declared": {"type": "dict", "required": True}, "wait": {"type": "str", "default": "30m"}}
        )
        # It is long, and has the contents of files in it.
        told: Answer = {"changed": False, "leased": False, "_ansible_verbose_override": True}
        try:
            answer = self._plan(_archives.plain_copy(given["declared"]), given["wait"], told)
            return {**told, **answer}
        except IsolationError as error:
            return {**told, "failed": True, "msg": str(error)}

    def _execute(self, **given: t.Any) -> Answer:
        return self._execute_module(_MODULE, given, task_vars=self._variables)  # type: ignore[no-any-return]

    def _plan(self, declared: Answer, wait: str, told: Answer) -> Answer:
        """What is told of a plan, or of why there is none. `told` notes at once whether the host has been kept from others."""
        project = declared["project"]
        while True:
            seen = self._execute(project=project)
            if seen.get("failed"):
                return seen
            plan = _rollout.host_plan(seen["info"], declared)
            if self._task.check_mode:
                return {"plan": plan}
            asked = self._layers(plan, declared, {} if told["leased"] else {"seen": seen["seen"]}, wait, told)
            # Once the host has been looked at while others are kept from it, it stays as it was seen.
            if not asked.get("stale"):
                break
        if asked.get("failed"):
            return asked
        plan = _rollout.due(plan, asked["differing"])
        return {**{key: value for key, value in asked.items() if key != "diff"}, "plan": plan}

    def _layers(self, plan: Answer, declared: Answer, seen: Answer, wait: str, told: Answer) -> Answer:
        """Ask every layer, once the host is ours if anything comes or goes."""
        together = _archives.plain_copy(_rollout.together(plan))
        wanted = _archives.places({"aggregate": together["rootfs"]})
        if wanted:
            self._provide(wanted, send=False)
        given = {
            "project": declared["project"],
            "plan": together,
            "secret_values": _secrets.secret_values(together, declared["secret_values"]),
        }
        if not plan["begins"]:
            return self._execute(**given)
        answer = _holders.patiently(
            lambda lease: self._execute(**given, **seen, lease=lease), {"ttl": plan["lease"], "wait": wait}, self._tell
        )
        told["leased"] = told["leased"] or not answer.get("held_by")
        return answer
