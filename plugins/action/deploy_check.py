# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What deploy_check does on the controller: name the images of archives that lie there. Nothing is sent."""

from __future__ import annotations

import typing as t

from ..plugin_utils import _archives
from .rootfs_prepare import ActionModule as Archives

_MODULE = "daemonless.isolation.deploy_check"


class ActionModule(Archives):
    """The action of the module deploy_check."""

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Find the images' digests, and run the module."""
        super(Archives, self).run(tmp, task_vars)
        del tmp
        arguments = _archives.plain_copy(self._task.args)
        wanted = _archives.places({"aggregate": arguments["plan"]["rootfs"]})
        if wanted:
            self._provide(wanted, send=False)
        return self._execute_module(_MODULE, arguments, task_vars=task_vars)  # type: ignore[no-any-return]
