# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What deploy_lease does on the controller: say who deploys, and see whether who holds a lease is still there."""

from __future__ import annotations

import os
import typing as t

from ansible.plugins.action import ActionBase

from ..plugin_utils import _holders

_MODULE = "daemonless.isolation.deploy_lease"


class ActionModule(ActionBase):
    """The action of the module deploy_lease."""

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Take the lease, from a process that is gone at once, from any other when that has released it."""
        super().run(tmp, task_vars)
        del tmp
        arguments = dict(self._task.args)
        # A task is carried out by a child of the process that deploys.
        arguments.setdefault("holder", _holders.holder(os.getppid()))
        if arguments.get("state", "held") != "held":
            return self._execute_module(_MODULE, arguments, task_vars=task_vars)  # type: ignore[no-any-return]
        answer = self._execute_module(_MODULE, {**arguments, "wait": "0s"}, task_vars=task_vars)
        other = answer.get("held_by")
        if not other:
            return answer  # type: ignore[no-any-return]
        if _holders.is_gone(str(other)):
            arguments["displaces"] = other
        else:
            self._display.display(
                f"{(task_vars or {}).get('inventory_hostname', 'host')}: another deployment is at work; waiting for it"
            )
        return self._execute_module(_MODULE, arguments, task_vars=task_vars)  # type: ignore[no-any-return]
