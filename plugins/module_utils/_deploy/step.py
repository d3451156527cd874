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

if t.TYPE_CHECKING:
    from .doing import Work

_LEASE = {key: rule for key, rule in _lease.OPTIONS.items() if key != "state"}

OPTIONS: dict[str, t.Any] = {
    "step": {"type": "str", "choices": ["look", "plan", "bring_up", "finish", "remove"], "required": True},
    "project": {"type": "str", "default": "default"},
    "declared": {"type": "dict"},
    "proceed": {"type": "bool", "default": False},
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
    "purge_volumes": {"type": "bool", "default": False},
    "prune_images": {"type": "bool", "default": False},
}

Answer = t.Dict[str, t.Any]


def _plan(module: AnsibleModule, answer: Answer) -> None:
    """Plan, once the host is ours if anything comes or goes; tell of the layers, and begin if that is asked for.

    What is imported here and below takes as long to load as to be done.
    """
    from .._rollout.planning import due, host_plan, in_steps
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
        _lease.release(lease)
        answer["leased"] = False
    asked = asking.asked(plan, params["archives"])
    module.no_log_values.update(asking.secrets(asked))
    found = asking.look_ahead(asked, params["project"], params["secret_values"], module.no_log_values.update)
    differing = asking.differing(found)
    answer.update(
        info=packed(info),
        differing=packed(differing),
        diff=[line for done in found.values() for line in done.diff],
        warnings=[warning for done in found.values() for warning in done.warnings],
    )
    if params["proceed"]:
        _proceed(module, answer, in_steps(due(plan, differing)))


def _proceed(module: AnsibleModule, answer: Answer, waves: t.Sequence[Answer]) -> None:
    """Bring up the first wave, unless something has to be sent for it."""
    from .._rollout.secrets import secret_values
    from .asking import is_on_host

    if waves and all(is_on_host(element) for element in waves[0].get("rootfs") or []):
        values = secret_values(waves[0], module.params["secret_values"])
        answer["up"] = _bring_up(
            module, answer, waves[0], values, module.params["declared"]["rollout"]["confirm_timeout"]
        )


@contextlib.contextmanager
def _work(module: AnsibleModule, answer: Answer) -> t.Iterator[Work]:
    """Change layers, as long as the lease is ours if we have taken it; tell what was done, and where it failed."""
    from .doing import Work

    guard = functools.partial(_host_lease.check, module.params["lease"]["holder"]) if answer["leased"] else None
    work = Work(module.params["project"], module.no_log_values.update, guard, module.check_mode)
    try:
        yield work
    except (IsolationError, OSError):
        answer["at"] = work.at
        raise
    finally:
        answer.update(work.told())


def _bring_up(
    module: AnsibleModule, answer: Answer, wave: Answer, values: t.Mapping[str, t.Any], confirm_timeout: str | None
) -> Answer:
    from . import asking, doing

    module.no_log_values.update(asking.secrets(wave))
    with _work(module, answer) as work:
        return doing.bring_up(work, wave, values, confirm_timeout)


def _finish(module: AnsibleModule, answer: Answer) -> None:
    from . import doing

    params = module.params
    with _work(module, answer) as work:
        doing.finish(work, params["going"], params["remove"])
        if params["release"] and answer["leased"]:
            _lease.release(params["lease"])
            answer["released"] = True


def _remove(module: AnsibleModule, answer: Answer) -> None:
    from .._rollout.removal import of_everything
    from .doing import REMOVED, take_back
    from .looking import see

    params = module.params
    if params["lease"] is not None:
        answer.update(_lease.hold(params["lease"]), leased=True)
    try:
        found = of_everything(see(REMOVED, params["project"]))
        if not params["purge_volumes"]:
            del found["volumes"]
        for element in found["rootfs"]:
            element["prune_images"] = params["prune_images"]
        with _work(module, answer) as work:
            take_back(work, found)
    finally:
        if answer["leased"]:
            _lease.release(params["lease"])
            answer.update(leased=False, released=True)


def _change(module: AnsibleModule, answer: Answer) -> None:
    """Do a step that changes layers."""
    params = module.params
    if params["step"] == "remove":
        _remove(module, answer)
        return
    if params["lease"] is not None:
        _lease.renew(params["lease"])
        answer["leased"] = True
    if params["step"] == "bring_up":
        answer.update(_bring_up(module, answer, params["wave"], params["secret_values"], params["confirm_timeout"]))
    else:
        _finish(module, answer)


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
        module.params.update(lease=None, proceed=False)
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
            _change(module, answer)
    except _lease.Held as held:
        answer.update(failed=True, msg=f"deploy_step: {held}", held_by=held.holder)
    except (IsolationError, OSError) as error:
        answer.update(failed=True, msg=str(error), exception=traceback.format_exc())
    for warning in answer.pop("warnings", ()):
        module.warn(warning)
    if answer.pop("failed", False):
        module.fail_json(**answer)
    module.exit_json(**answer)
