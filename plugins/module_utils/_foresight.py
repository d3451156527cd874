# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The module deploy_check: every layer of a deployment, asked in one process what it would change.

A task of Ansible costs some tenths of a second whatever it does. A host on which nothing is to be done is spared those of all layers, and one on which
little is to be done most of their elements.
"""

from __future__ import annotations

import hashlib
import json
import traceback
import typing as t

from ansible.module_utils.basic import AnsibleModule

from . import _lease
from ._bridge.layer import BridgeLayer
from ._bulk import has_secrets, hidden_values
from ._cgroup.layer import CgroupLayer
from ._errors import IsolationError
from ._info import gather
from ._portmap.layer import PortmapLayer
from ._rootfs.layer import RootfsLayer
from ._runner import Foresight, Layer, foresee
from ._service.layer import ServiceLayer
from ._targets import portmaps

OPTIONS: dict[str, t.Any] = {
    "project": {"type": "str", "default": "default"},
    "plan": {"type": "dict"},
    "secret_values": {"type": "dict", "default": {}, "no_log": True},
    "seen": {"type": "str"},
    "lease": {"type": "dict", "options": {key: rule for key, rule in _lease.OPTIONS.items() if key != "state"}},
}

SEEN: dict[str, frozenset[str]] = {
    "services": frozenset("name project service state enabled proven updated addresses slice rootfs options".split()),
    "portmaps": frozenset({"name", "project", "mappings", "service_addresses"}),
    "rootfs": frozenset({"name", "project"}),
    "slices": frozenset({"name", "project"}),
}
"""What of host_info a plan is made of: nothing that changes while nobody changes anything."""
OPTIONS_SEEN = ("namespaces", "held")

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


def look(project: str) -> tuple[dict[str, t.Any], str]:
    """What a host has of a project, as far as a plan is made of it, and a digest of that.

    :raises IsolationError: something could not be seen.
    """
    found: dict[str, t.Any] = {
        subset: [{key: value for key, value in entry.items() if key in SEEN[subset]} for entry in entries]
        for subset, entries in gather(SEEN, project)[0].items()
    }
    for entry in found["services"]:
        entry["options"] = {key: entry["options"][key] for key in OPTIONS_SEEN if key in entry["options"]}
    return found, hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()


def _names(found: Foresight) -> list[str]:
    """The elements that a layer would change. What leads somewhere until it is confirmed is to be confirmed."""
    return [
        entry["name"]
        for entry in found.results
        if entry["changed"] or (entry.get("portmap") or {}).get("unconfirmed", False)
    ]


def _layers(module: AnsibleModule, plan: dict[str, t.Any]) -> dict[str, t.Any]:
    """What is told of the layers: those that would change something, and of which elements."""
    params = module.params
    missing = {*BELOW, "services", "portmaps", "holds", "ended"}.difference(plan)
    if missing:
        raise Refused(f"plan: {', '.join(sorted(missing))} is missing: give what the filter together has")
    module.no_log_values.update(_secrets(plan))
    found = look_ahead(plan, params["project"], params["secret_values"])
    for one in found.values():
        module.no_log_values.update(one.hidden)
        for warning in one.warnings:
            module.warn(warning)
    differing = {name: _names(one) for name, one in found.items()}
    return {
        "differing": {name: names for name, names in differing.items() if names},
        "diff": [line for one in found.values() for line in one.diff],
    }


def run_check() -> None:
    """Be the module. What it was called with is neither logged nor told: contents of files are in it."""
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
            answer.update(_layers(module, params["plan"]))
    except _lease.Held as held:
        module.fail_json(msg=f"deploy_check: {held}", held_by=held.holder, **answer)
    except (IsolationError, OSError) as error:
        module.fail_json(msg=str(error), exception=traceback.format_exc(), **answer)
    module.exit_json(**answer)
