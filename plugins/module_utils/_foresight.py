# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The module deploy_check: every layer of a deployment, asked in one process what it would change.

A task of Ansible costs some tenths of a second whatever it does. A host on which nothing is to be done is spared those of all layers.
"""

from __future__ import annotations

import traceback
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ._bridge.layer import BridgeLayer
from ._bulk import has_secrets, hidden_values
from ._cgroup.layer import CgroupLayer
from ._errors import IsolationError
from ._portmap.layer import PortmapLayer
from ._rootfs.layer import RootfsLayer
from ._runner import Foresight, Layer, foresee
from ._service.layer import ServiceLayer
from ._targets import portmaps

OPTIONS: dict[str, t.Any] = {
    "project": {"type": "str", "default": "default"},
    "plan": {"type": "dict", "required": True},
    "secret_values": {"type": "dict", "default": {}, "no_log": True},
}

BELOW: dict[str, type[Layer[t.Any, t.Any]]] = {"bridges": BridgeLayer, "slices": CgroupLayer, "rootfs": RootfsLayer}
"""What services stand on, in the order in which it is made."""


class Refused(IsolationError):
    """A layer can't do what is asked of it."""


def _ask(
    name: str, layer: Layer[t.Any, t.Any], elements: t.Sequence[t.Mapping[str, t.Any]], **given: t.Any
) -> Foresight:
    if not elements:
        return Foresight([], [], [], frozenset())
    try:
        return foresee(layer, elements, **given)
    except IsolationError as error:
        raise Refused(f"{name}: {error}") from error


def look_ahead(plan: dict[str, t.Any], project: str, secret_values: t.Mapping[str, t.Any]) -> dict[str, Foresight]:
    """What each layer would make of a plan, in their order. What an earlier one would make is promised to the later ones.

    :raises IsolationError: a layer refuses.
    """
    found = {name: _ask(name, layer(), plan[name], project=project) for name, layer in BELOW.items()}
    expect = {name: [entry[layer.kind] for entry in found[name].results] for name, layer in BELOW.items()}
    found["services"] = _ask(
        "services", ServiceLayer(), plan["services"], project=project, expect=expect, secret_values=secret_values
    )
    ports = portmaps(plan, found["services"].results)
    found["portmaps"] = _ask("portmaps", PortmapLayer(), ports, project=project)
    found["holds"] = _ask("holds", ServiceLayer(), plan["holds"], project=project)
    ended = [element for one in plan["ended"] for element in one["elements"]]
    found["ended"] = _ask("ended", ServiceLayer(), ended, project=project)
    return found


def _secrets(plan: t.Mapping[str, t.Any]) -> t.Iterator[str]:
    """What the modules of the layers would hide of their options."""
    layers: dict[str, type[Layer[t.Any, t.Any]]] = {**BELOW, "services": ServiceLayer}
    for name, layer in layers.items():
        yield from hidden_values(layer.options, plan[name], has_secrets(layer.options))


def run_check() -> None:
    """Be the module. What it was called with is neither logged nor told: contents of files are in it."""
    module = AnsibleModule(OPTIONS, supports_check_mode=True, no_log=True)
    params = module.params
    told = {"invocation": {"module_args": {"project": params["project"]}}}
    missing = {*BELOW, "services", "portmaps", "holds", "ended"}.difference(params["plan"])
    if missing:
        module.fail_json(
            msg=f"deploy_check: plan: {', '.join(sorted(missing))} is missing: give what the filter together has",
            **told,
        )
    module.no_log_values.update(_secrets(params["plan"]))
    try:
        found = look_ahead(params["plan"], params["project"], params["secret_values"])
    except (IsolationError, OSError) as error:
        module.fail_json(msg=str(error), exception=traceback.format_exc(), **told)
    for one in found.values():
        module.no_log_values.update(one.hidden)
        for warning in one.warnings:
            module.warn(warning)
    differing = [name for name, one in found.items() if one.diff]
    module.exit_json(
        changed=False, differing=differing, diff=[line for one in found.values() for line in one.diff], **told
    )
