# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The module deploy_check: what a plan of a deployment is made of, and what its layers would change.

A task of Ansible costs some tenths of a second whatever it does. A host on which nothing is to be done is spared those of all layers, and one on which
little is to be done most of their elements.
"""

from __future__ import annotations

import gc
import hashlib
import json
import traceback
import typing as t

from ansible.module_utils.basic import AnsibleModule

from . import _lease
from ._errors import IsolationError
from ._info import gather

OPTIONS: dict[str, t.Any] = {
    "project": {"type": "str", "default": "default"},
    "plan": {"type": "dict"},
    "secret_values": {"type": "dict", "default": {}, "no_log": True},
    "seen": {"type": "str"},
    "lease": {"type": "dict", "options": {key: rule for key, rule in _lease.OPTIONS.items() if key != "state"}},
}

SEEN: dict[str, frozenset[str]] = {
    "services": frozenset(
        [
            "name",
            "project",
            "service",
            "state",
            "enabled",
            "proven",
            "updated",
            "addresses",
            "slice",
            "rootfs",
            "options",
        ]
    ),
    "portmaps": frozenset({"name", "project", "mappings", "service_addresses"}),
    "rootfs": frozenset({"name", "project"}),
    "slices": frozenset({"name", "project"}),
}
"""What of host_info a plan is made of: nothing that changes while nobody changes anything."""
OPTIONS_SEEN = ("namespaces", "held")


def look(project: str) -> tuple[dict[str, t.Any], str]:
    """What a host has of a project, as far as a plan is made of it, and a digest of that.

    :raises IsolationError: something could not be seen.
    """
    all_of_it, unseen = gather(SEEN, project)
    if unseen:
        raise IsolationError(f"deploy_check: {unseen[0]['subset']}: {unseen[0]['reason']}")
    found: dict[str, t.Any] = {
        subset: [{key: value for key, value in entry.items() if key in SEEN[subset]} for entry in entries]
        for subset, entries in all_of_it.items()
    }
    for entry in found["services"]:
        entry["options"] = {key: entry["options"][key] for key in OPTIONS_SEEN if key in entry["options"]}
    return found, hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()


def _layers(module: AnsibleModule) -> dict[str, t.Any]:
    """What is told of the layers."""
    from . import _foresight  # here, as loading all layers takes as long as to look

    plan = module.params["plan"]
    module.no_log_values.update(_foresight.secrets(plan))
    found = _foresight.ask_layers(plan, module.params)
    module.no_log_values.update(found.hidden)
    for warning in found.warnings:
        module.warn(warning)
    return {"differing": found.differing, "diff": found.diff}


def run_check() -> None:
    """Be the module. What it was called with is neither logged nor told: contents of files are in it."""
    # As in run_module: the process ends before there would be anything to collect.
    gc.disable()
    module = AnsibleModule(OPTIONS, supports_check_mode=True, no_log=True)
    params = module.params
    answer: dict[str, t.Any] = {"changed": False, "invocation": {"module_args": {"project": params["project"]}}}
    try:
        if params["lease"] is not None and not module.check_mode:
            answer.update(_lease.hold(params["lease"]))
        if params["plan"] is None:
            answer["info"], answer["seen"] = look(params["project"])
        elif params["seen"] is not None and look(params["project"])[1] != params["seen"]:
            answer["stale"] = True
        else:
            answer.update(_layers(module))
    except _lease.Held as held:
        module.fail_json(msg=f"deploy_check: {held}", held_by=held.holder, **answer)
    except (IsolationError, OSError) as error:
        module.fail_json(msg=str(error), exception=traceback.format_exc(), **answer)
    module.exit_json(**answer)
