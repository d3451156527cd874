# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every layer of a deployment, asked in one process what it would change."""

from __future__ import annotations

import typing as t

from ansible.module_utils.parsing.convert_bool import boolean

from ._bridge.layer import BridgeLayer
from ._bulk import has_secrets, hidden_values
from ._cgroup.layer import CgroupLayer
from ._errors import IsolationError
from ._portmap.layer import PortmapLayer
from ._rollout.planning import together
from ._rootfs.layer import RootfsLayer
from ._runner import Foresight, Layer, foresee
from ._service.layer import ServiceLayer
from ._targets import portmaps

BELOW: dict[str, type[Layer[t.Any, t.Any]]] = {"bridges": BridgeLayer, "slices": CgroupLayer, "rootfs": RootfsLayer}
"""What services stand on, in the order in which it is made."""


class Foreseen(t.NamedTuple):
    """What all layers would change: names of elements by layer, their diffs, what is to be warned of, and texts that must not be shown."""

    differing: dict[str, list[str]]
    diff: list[dict[str, str]]
    warnings: list[str]
    hidden: frozenset[str]


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


def secrets(plan: t.Mapping[str, t.Any]) -> t.Iterator[str]:
    """What the modules of the layers would hide of their options."""
    layers: dict[str, type[Layer[t.Any, t.Any]]] = {**BELOW, "services": ServiceLayer}
    for name, layer in layers.items():
        yield from hidden_values(layer.options, plan.get(name), has_secrets(layer.options))


def asked(plan: dict[str, t.Any], archives: t.Sequence[t.Mapping[str, t.Any]]) -> dict[str, t.Any]:
    """What every layer is asked for, with archives of the controller as what the host knows their images by."""

    def known(element: dict[str, t.Any]) -> dict[str, t.Any]:
        if not boolean(element.get("remote_src", True), strict=False):
            for archive in archives:
                if archive["source"] == element.get("source"):
                    return {**element, "source": archive["found"], "remote_src": True}
        return element

    found = together(plan)
    return {**found, "rootfs": [known(element) for element in found["rootfs"]]}


def _names(found: Foresight) -> list[str]:
    """The elements that a layer would change. What leads somewhere until it is confirmed is to be confirmed."""
    return [
        entry["name"]
        for entry in found.results
        if entry["changed"] or (entry.get("portmap") or {}).get("unconfirmed", False)
    ]


def ask_layers(plan: dict[str, t.Any], params: t.Mapping[str, t.Any]) -> Foreseen:
    """What is told of the layers by the options of deploy_check.

    :raises IsolationError: a layer refuses.
    """
    found = look_ahead(plan, params["project"], params["secret_values"])
    differing = {name: _names(one) for name, one in found.items()}
    return Foreseen(
        {name: names for name, names in differing.items() if names},
        [line for one in found.values() for line in one.diff],
        [warning for one in found.values() for warning in one.warnings],
        frozenset().union(*(one.hidden for one in found.values())),
    )
