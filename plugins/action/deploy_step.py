# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What deploy_step does on the controller: send archives whose images a host lacks, and say who deploys."""

from __future__ import annotations

import contextlib
import gc
import typing as t

from ..plugin_utils import _archives, _holders
from .rootfs_prepare import ActionModule as Archives

_MODULE = "daemonless.isolation.deploy_step"

LONG = {"_ansible_verbose_override": True}
"""What an answer says of itself that has the contents of files in it."""


@contextlib.contextmanager
def _uncollected() -> t.Iterator[None]:
    """Have Python not look for garbage, which is a third of the time that Ansible takes to find what a module imports, and finds none."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


class ActionModule(Archives):
    """The action of the module deploy_step."""

    _supports_async = False
    _work = "deployment"
    # Most wait for longer than an image takes until their services have been well for long enough.
    _patience = 30.0

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Send what has to be sent, run the module, tell what it did."""
        super(Archives, self).run(tmp, task_vars)
        del tmp
        self._begin(task_vars)
        arguments = _archives.plain_copy(self._task.args)
        if isinstance(arguments.get("lease"), dict):
            arguments["lease"] = _holders.named(arguments["lease"], self._host)
        wave = arguments.get("wave")
        wanted = _archives.places({"aggregate": wave.get("rootfs")}) if isinstance(wave, dict) else []
        try:
            if wanted:
                self._provide(wanted)
            lease = arguments.get("lease")
            if arguments.get("step") == "remove" and isinstance(lease, dict):
                answer = _holders.patiently(
                    lambda own: self._step({**arguments, "lease": own}), lease, self._host, self._tell
                )
            else:
                answer = self._step(arguments)
            return {**answer, **LONG}
        finally:
            self._remove_tmp_path(self._connection._shell.tmpdir)

    def _begin(self, task_vars: dict[str, t.Any] | None) -> None:
        self._variables = task_vars or {}
        self._host = str(self._variables.get("inventory_hostname", "host"))

    def _step(self, given: dict[str, t.Any]) -> dict[str, t.Any]:
        """Do a step on the host, and tell of its images."""
        with self._patient(), _uncollected():
            answer: dict[str, t.Any] = self._execute_module(_MODULE, given, task_vars=self._variables)
        for line in _archives.progress(answer.get("layers", {}).get("rootfs", {}).get("results")):
            self._tell(line)
        return answer
