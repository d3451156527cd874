# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every layer of a deployment, asked in one process what it would change."""

from __future__ import annotations

import typing as t

from ansible.module_utils.parsing.convert_bool import boolean

from .._bulk import has_secrets, hidden_values
from .._errors import IsolationError
from .._rollout.planning import together
from .._runner import Done, Hide, carry_out
from .._targets import portmaps
from .layers import BELOW, layer_of


class Refused(IsolationError):
    """A layer can't do what is asked of it."""


def look_ahead(
    plan: dict[str, t.Any], project: str, secret_values: t.Mapping[str, t.Any], hide: Hide
) -> dict[str, Done]:
    """What each layer would make of a plan, in their order. What an earlier one would make is promised to the later ones.

    :raises IsolationError: a layer refuses.
    """

    def ask(name: str, elements: t.Sequence[t.Any], **given: t.Any) -> Done:
        if not elements:
            return Done()
        try:
            return carry_out(layer_of(name), elements, True, hide, project=project, **given)
        except IsolationError as error:
            raise Refused(f"{name}: {error}") from error

    found = {name: ask(name, plan[name]) for name in BELOW}
    expect = {name: [entry[kind] for entry in found[name].results] for name, kind in BELOW.items()}
    found["services"] = ask("services", plan["services"], expect=expect, secret_values=secret_values)
    found["portmaps"] = ask("portmaps", portmaps(plan, found["services"].results))
    found["holds"] = ask("holds", plan["holds"])
    found["ended"] = ask("ended", [element for one in plan["ended"] for element in one["elements"]])
    return found


def secrets(plan: t.Mapping[str, t.Any]) -> t.Iterator[str]:
    """What the modules of the layers would hide of their options."""
    for name in (*BELOW, "services"):
        if plan.get(name):
            options = layer_of(name).options
            yield from hidden_values(options, plan[name], has_secrets(options))


def is_on_host(element: t.Mapping[str, t.Any]) -> bool:
    """Whether the source of a root filesystem is on the host, or comes from a registry."""
    return bool(boolean(element.get("remote_src", True), strict=False))


def asked(plan: dict[str, t.Any], archives: t.Sequence[t.Mapping[str, t.Any]]) -> dict[str, t.Any]:
    """What every layer is asked for, with archives of the controller as what the host knows their images by."""

    def known(element: dict[str, t.Any]) -> dict[str, t.Any]:
        if not is_on_host(element):
            for archive in archives:
                if archive["source"] == element.get("source"):
                    return {**element, "source": archive["found"], "remote_src": True}
        return element

    found = together(plan)
    return {**found, "rootfs": [known(element) for element in found["rootfs"]]}


def is_unconfirmed(entry: t.Mapping[str, t.Any]) -> bool:
    """Whether what nat_portmap tells of an element leads somewhere until that is confirmed."""
    return bool((entry.get("portmap") or {}).get("unconfirmed", False))


def differing(found: t.Mapping[str, Done]) -> dict[str, list[str]]:
    """The elements that each layer would change, as far as there are any. What leads somewhere until it is confirmed is to be confirmed."""
    names = {
        name: [entry["name"] for entry in done.results if entry["changed"] or is_unconfirmed(entry)]
        for name, done in found.items()
    }
    return {name: found for name, found in names.items() if found}
