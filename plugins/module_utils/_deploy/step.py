# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The module deploy_step: a step of a deployment on a host, of all layers in one process.

A task of Ansible costs some tenths of a second whatever it does, which is more than what a layer takes for most changes.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import traceback
import typing as t

from ansible.module_utils.basic import AnsibleModule

from .. import _lease
from .._errors import InvalidOption, IsolationError
from .._host import lease as _host_lease
from .braille import packed

_LEASE = {key: rule for key, rule in _lease.OPTIONS.items() if key != "state"}

OPTIONS: dict[str, t.Any] = {
    "step": {"type": "str", "choices": ["look", "plan", "bring_up", "finish"], "required": True},
    "project": {"type": "str", "default": "default"},
    "declared": {"type": "dict"},
    "archives": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {"source": {"type": "dict", "required": True}, "found": {"type": "dict", "required": True}},
    },
    "wave": {"type": "dict"},
    "going": {"type": "str"},
    "remove": {"type": "dict", "default": {}},
    "secret_values": {"type": "dict", "default": {}, "no_log": True},
    "confirm_timeout": {"type": "str"},
    "lease": {"type": "dict", "options": _LEASE},
    "release": {"type": "bool", "default": False},
}

Answer = t.Dict[str, t.Any]


def _plan(module: AnsibleModule, answer: Answer) -> None:
    """Plan, once the host is ours if anything comes or goes, and tell of the layers.

    What is imported here and below takes as long to load as to be done.
    """
    from .._rollout.planning import host_plan
    from . import asking
    from .looking import look

    params = module.params
    lease, declared = params["lease"], params["declared"]
    if lease is not None:  # before the look, so that one will do
        with contextlib.suppress(_lease.Held):
            answer.update(_lease.hold({**lease, "wait": "0s"}), leased=True)
    info = look(params["project"])
    plan = host_plan(info, declared)
    if lease is not None and plan["begins"]:
        alone = answer["leased"]
        answer.update(_lease.hold({**lease, "ttl": plan["lease"]}), leased=True)
        if not alone:  # the other deployment has changed it
            info = look(params["project"])
            plan = host_plan(info, declared)
    elif answer["leased"]:
        _host_lease.release(lease["holder"])
        answer["leased"] = False
    asked = asking.asked(plan, params["archives"])
    module.no_log_values.update(asking.secrets(asked))
    found = asking.look_ahead(asked, params["project"], params["secret_values"], module.no_log_values.update)
    answer.update(
        info=packed(info),
        differing=asking.differing(found),
        diff=[line for done in found.values() for line in done.diff],
        warnings=[warning for done in found.values() for warning in done.warnings],
    )


def _work(module: AnsibleModule, answer: Answer) -> None:
    """Bring up a wave, or finish it."""
    from . import asking, doing

    params = module.params
    lease, guard = params["lease"], None
    if lease is not None:
        _lease.renew(lease)
        answer["leased"] = True
        guard = functools.partial(_host_lease.check, lease["holder"])
    module.no_log_values.update(asking.secrets(params["wave"] or {}))
    work = doing.Work(params["project"], module.no_log_values.update, guard)
    try:
        if params["step"] == "bring_up":
            answer.update(doing.bring_up(work, params["wave"], params["secret_values"], params["confirm_timeout"]))
        else:
            doing.finish(work, params["going"], params["remove"])
            if params["release"] and lease is not None:
                _host_lease.release(lease["holder"])
                answer["released"] = True
    except (IsolationError, OSError):
        answer["at"] = work.at
        raise
    finally:
        answer.update(work.told())


def _check(params: t.Mapping[str, t.Any]) -> None:
    """:raises InvalidOption: a step lacks what it is about."""
    needed = {"plan": "declared", "bring_up": "wave"}.get(params["step"])
    if needed and params[needed] is None:
        raise InvalidOption(f"deploy_step: step {params['step']} needs {needed}")


def run_step() -> None:
    """Be the module. What it was called with is neither logged nor told: contents of files are in it."""
    # As in run_module: the process ends before there would be anything to collect.
    gc.disable()
    module = AnsibleModule(OPTIONS, supports_check_mode=True, no_log=True)
    project, step = module.params["project"], module.params["step"]
    answer: Answer = {
        "changed": False,
        "leased": False,
        "invocation": {"module_args": {"project": project, "step": step}},
    }
    if module.check_mode:
        module.params["lease"] = None
        if step in ("bring_up", "finish"):
            module.exit_json(skipped=True, msg=f"check mode: {step} is left out", **answer)
    try:
        _check(module.params)
        if step == "look":
            from .looking import look

            answer["info"] = packed(look(project))
        elif step == "plan":
            _plan(module, answer)
        else:
            _work(module, answer)
    except _lease.Held as held:
        answer.update(failed=True, msg=f"deploy_step: {held}", held_by=held.holder)
    except (IsolationError, OSError) as error:
        answer.update(failed=True, msg=str(error), exception=traceback.format_exc())
    for warning in answer.pop("warnings", ()):
        module.warn(warning)
    if answer.pop("failed", False):
        module.fail_json(**answer)
    module.exit_json(**answer)
