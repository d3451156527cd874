# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The Python that runs a module: where a library is missing, another interpreter of the host may have it."""

from __future__ import annotations

import importlib.util
import typing as t

from ansible.module_utils.common.respawn import has_respawned, probe_interpreters_for_module, respawn_module

from .._errors import IsolationError

_INTERPRETERS = ("/usr/bin/python3", "/usr/libexec/platform-python", "/usr/local/bin/python3")
_PACKAGES = {"pyroute2": "python3-pyroute2"}


def ensure_libraries(names: t.Sequence[str]) -> None:
    """Return if all libraries can be imported; else run the module again under an interpreter that has them.

    :raises IsolationError: no interpreter of the host has one of them.
    """
    for name in names:
        if importlib.util.find_spec(name) is not None:
            continue
        interpreter = None if has_respawned() else probe_interpreters_for_module(_INTERPRETERS, name)
        if interpreter is None:
            raise IsolationError(
                f"the Python library {name} is not installed for {', '.join(_INTERPRETERS)}: install the package"
                f" {_PACKAGES.get(name, name)}, or apply the role daemonless.isolation.isolation_host first"
            )
        respawn_module(interpreter)
