# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a host has, as far as a deployment is planned by it."""

from __future__ import annotations

import typing as t

from .._errors import IsolationError
from .._host.records import load_records
from .._info import LAYERS, gather

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
}
"""What of host_info a plan is made of."""
OPTIONS_SEEN = ("namespaces", "held")

_NAMED = ("rootfs", "slices")
"""Subsets of which a plan is made of names and projects, which are known without a look at the things themselves."""


def see(subsets: t.Iterable[str], project: str) -> dict[str, t.Any]:
    """What host_info tells of a project.

    :raises IsolationError: something could not be seen.
    """
    found, unseen = gather(subsets, project)
    if unseen:
        raise IsolationError(f"deploy_step: {unseen[0]['subset']}: {unseen[0]['reason']}")
    return found


def look(project: str) -> dict[str, t.Any]:
    """What a host has of a project.

    :raises IsolationError: something could not be seen.
    """
    found: dict[str, t.Any] = {
        subset: [{key: value for key, value in entry.items() if key in SEEN[subset]} for entry in entries]
        for subset, entries in see(SEEN, project).items()
    }
    for layer, subset in LAYERS.items():
        if subset in _NAMED:
            records = load_records(layer).values()
            found[subset] = [{"name": one.name, "project": project} for one in records if one.project == project]
    for entry in found["services"]:
        entry["options"] = {key: entry["options"][key] for key in OPTIONS_SEEN if key in entry["options"]}
    return found
