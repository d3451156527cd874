# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Records of earlier versions: an option that they do not have counts as its default, so that an upgrade restarts nothing. Pure."""

from __future__ import annotations

import typing as t

from .spec import ServiceSpec

WITHIN: dict[str, dict[str, t.Any]] = {
    "mounts": {"type": "bind", "exec": True, "propagation": "private"},
    "networks": {},
    "tmpfs": {},
    "devices": {},
    "health": {"command": [], "on_failure": None, "start_period": 30.0},
    "gate": {},
    "secrets": {},
}
"""Suboptions of lists, and of dictionaries that are not there by default, in the form of the record: their defaults, where earlier
records do not have them. Those of other dictionaries are taken from the default of the option as a whole.
"""


def _filled(kept: t.Any, default: t.Any) -> t.Any:
    if isinstance(kept, dict) and isinstance(default, dict):
        return {**default, **{key: _filled(value, default.get(key)) for key, value in kept.items()}}
    return kept


def completed(kept: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """What a record kept of the options, with the defaults of those that came later."""
    defaults = ServiceSpec("any", str(kept.get("service", "any"))).record()
    found = {**defaults, **{key: _filled(value, defaults.get(key)) for key, value in kept.items()}}
    for key, suboptions in WITHIN.items():
        value = found.get(key)
        if isinstance(value, list):
            found[key] = [_filled(item, suboptions) for item in value]
        elif value is not None:
            found[key] = _filled(value, suboptions)
    return found


def same_assigned(before: t.Any, now: t.Any) -> bool:
    """Whether what was assigned is the same, as far as an earlier version wrote it down."""
    if isinstance(before, dict) and isinstance(now, dict):
        return all(before[key] == now.get(key) for key in before)
    return bool(before == now)
