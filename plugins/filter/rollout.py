# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filters of the role isolation: planning on the controller. Documented in the .yml files beside this one."""

from __future__ import annotations

import functools
import typing as t

from ansible.errors import AnsibleFilterError

from ..module_utils import _targets
from ..module_utils._errors import IsolationError
from ..module_utils._rollout import planning, releases, secrets
from ..plugin_utils import _batches


def _as_filter(function: t.Callable[..., t.Any]) -> t.Callable[..., t.Any]:
    """The function, with its refusals turned into Ansible's."""

    @functools.wraps(function)
    def call(*args: t.Any) -> t.Any:
        try:
            return function(*args)
        except IsolationError as error:
            raise AnsibleFilterError(str(error)) from error

    return call


class FilterModule:
    """The filters by name."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """What Ansible asks for."""
        functions = (
            _batches.batches,
            _batches.too_many_lost,
            releases.release,
            planning.host_plan,
            planning.together,
            planning.ended,
            _targets.portmaps,
            secrets.secret_values,
        )
        return {function.__name__: _as_filter(function) for function in functions}
