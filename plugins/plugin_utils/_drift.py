# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What check mode found different on a host, line by line. Pure; it runs on the controller.

Note: this is private to the collection, and may change at any time.
"""

from __future__ import annotations

import typing as t

Data = t.Dict[str, t.Any]

LAYERS = {
    "bridges": "bridge",
    "slices": "slice",
    "rootfs": "rootfs",
    "services": "service",
    "portmaps": "portmap",
}
"""Layers in the order in which they are deployed, each with the word for one of its objects."""

NOT_SHOWN = "(not shown)"
_MORE = "… and "


def _pairs(text: str) -> dict[str, list[str]]:
    """The values of one side of a diff by key. Several rules of one chain have the same key."""
    found: dict[str, list[str]] = {}
    for line in text.split("\n"):
        key, colon, value = line.partition(": ")
        if not colon and line.startswith(_MORE):
            key, colon, value = "…", ": ", line[2:]
        if colon:
            found.setdefault(key, []).append(value)
    return found


def _hidden(key: str, value: str | None) -> str | None:
    """A value for people who may see the report. Those of the environment are often secret: names alone are told."""
    return NOT_SHOWN if value is not None and key.startswith("environment ") else value


def _of_diff(layer: str, diff: Data) -> list[Data]:
    before, after = _pairs(diff.get("before", "")), _pairs(diff.get("after", ""))
    effect = next(iter(after.pop("effect", [])), None)
    found = []
    for key in [*after, *(key for key in before if key not in after)]:
        old, new = before.get(key, []), after.get(key, [])
        sides: list[tuple[str | None, str | None]] = [(next(iter(old), None), next(iter(new), None))]
        if len(old) > 1 or len(new) > 1:
            sides = [*((value, None) for value in old), *((None, value) for value in new)]
        found += [
            {
                "layer": layer,
                "object": diff.get("after_header", layer),
                "key": key,
                "before": _hidden(key, first),
                "after": _hidden(key, second),
                "effect": effect,
            }
            for first, second in sides
        ]
    return found


def differences(results: t.Mapping[str, t.Any]) -> list[Data]:
    """Each difference that modules found in check mode, by layer: of which object, what, as it is and as it is declared."""
    return [
        one
        for layer, result in results.items()
        for diff in (result or {}).get("diff") or []
        for one in _of_diff(layer, diff)
    ]


def removals(remove: t.Mapping[str, t.Any]) -> list[Data]:
    """What a deployment would remove, as differences."""
    return [
        {
            "layer": layer,
            "object": f"{word} {entry['name']}",
            "key": "state",
            "before": "present",
            "after": "absent",
            "effect": None,
        }
        for layer, word in LAYERS.items()
        for entry in remove.get(layer) or []
    ]


def line(difference: Data) -> str:
    """A difference in one line: `bridge iso0: mtu: 1400 → 1500`."""
    before, after = ("(none)" if difference[side] is None else difference[side] for side in ("before", "after"))
    return f"{difference['object']}: {difference['key']}: {before} → {after}"


def drift(results: t.Mapping[str, t.Any]) -> list[str]:
    """One line for each difference that check mode found, by layer."""
    return [line(one) for one in differences(results)]
