# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a host has, as far as a deployment is planned by it."""

from __future__ import annotations

import typing as t

from .._errors import IsolationError
from .._info import gather

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
    """What a host has of a project.

    :raises IsolationError: something could not be seen.
    """
    all_of_it, unseen = gather(SEEN, project)
    if unseen:
        raise IsolationError(f"deploy_step: {unseen[0]['subset']}: {unseen[0]['reason']}")
    found: dict[str, t.Any] = {
        subset: [{key: value for key, value in entry.items() if key in SEEN[subset]} for entry in entries]
        for subset, entries in all_of_it.items()
    }
    for entry in found["services"]:
        entry["options"] = {key: entry["options"][key] for key in OPTIONS_SEEN if key in entry["options"]}
    return found
