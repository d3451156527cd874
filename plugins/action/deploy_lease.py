# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What deploy_lease does on the controller: say who deploys, and see whether who holds a lease is still there."""

from __future__ import annotations

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
        host = str((task_vars or {}).get("inventory_hostname", "host"))

        def execute(given: dict[str, t.Any]) -> dict[str, t.Any]:
            return self._execute_module(_MODULE, given, task_vars=task_vars)  # type: ignore[no-any-return]

        if arguments.get("state", "held") != "held":
            return execute(_holders.named(arguments, host))
        return _holders.patiently(execute, arguments, host, lambda line: self._display.display(f"{host}: {line}"))
