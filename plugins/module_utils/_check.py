# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The module deploy_check: look at a host, plan a deployment, and ask its layers what they would change, in one process.

A task of Ansible costs some tenths of a second whatever it does. A host on which nothing is to be done is spared those of all layers, and one on which
little is to be done most of their elements.
"""

from __future__ import annotations

import gc
import traceback
import typing as t

from ansible.module_utils.basic import AnsibleModule

from . import _lease
from ._braille import packed
from ._errors import IsolationError
from ._info import gather

OPTIONS: dict[str, t.Any] = {
    "project": {"type": "str", "default": "default"},
    "declared": {"type": "dict"},
    "archives": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {"source": {"type": "dict", "required": True}, "found": {"type": "dict", "required": True}},
    },
    "secret_values": {"type": "dict", "default": {}, "no_log": True},
    "lease": {
        "type": "dict",
        "options": {key: rule for key, rule in _lease.OPTIONS.items() if key not in ("state", "ttl")},
    },
}

SEEN: dict[str, frozenset[str]] = {
    "services": frozenset(
        [
            "name",
            "project",
            "service",
            "state",
            "stops_in",
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
"""What of host_info a plan is made of."""
OPTIONS_SEEN = ("namespaces", "held")


def look(project: str) -> dict[str, t.Any]:
    """What a host has of a project, as far as a plan is made of it.

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
    return found


def _ask(module: AnsibleModule, answer: dict[str, t.Any]) -> None:
    """Plan, once the host is ours if anything comes or goes, and tell of the layers."""
    # Here, as loading the planner and all layers takes as long as to look.
    from . import _foresight
    from ._rollout.planning import host_plan

    params = module.params
    info, declared = look(params["project"]), params["declared"]
    plan = host_plan(info, declared)
    if plan["begins"] and params["lease"] is not None:
        answer.update(_lease.hold({**params["lease"], "ttl": plan["lease"]}), leased=True)
        # Another deployment may have ended since.
        info = look(params["project"])
        plan = host_plan(info, declared)
    asked = _foresight.asked(plan, params["archives"])
    module.no_log_values.update(_foresight.secrets(asked))
    found = _foresight.ask_layers(asked, params)
    module.no_log_values.update(found.hidden)
    for warning in found.warnings:
        module.warn(warning)
    answer.update(info=packed(info), differing=found.differing, diff=found.diff)


def run_check() -> None:
    """Be the module. What it was called with is neither logged nor told: contents of files are in it."""
    # As in run_module: the process ends before there would be anything to collect.
    gc.disable()
    module = AnsibleModule(OPTIONS, supports_check_mode=True, no_log=True)
    project = module.params["project"]
    answer: dict[str, t.Any] = {
        "changed": False,
        "leased": False,
        "invocation": {"module_args": {"project": project}},
    }
    if module.check_mode:
        module.params["lease"] = None
    try:
        if module.params["declared"] is None:
            answer["info"] = packed(look(project))
        else:
            _ask(module, answer)
    except _lease.Held as held:
        module.fail_json(msg=f"deploy_check: {held}", held_by=held.holder, **answer)
    except (IsolationError, OSError) as error:
        module.fail_json(msg=str(error), exception=traceback.format_exc(), **answer)
    module.exit_json(**answer)
