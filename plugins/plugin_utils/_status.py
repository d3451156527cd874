# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How hosts differ from what is declared. Pure; it runs on the controller.

Note: this is private to the collection, and may change at any time.
"""

from __future__ import annotations

import typing as t


def drift(results: t.Mapping[str, t.Any]) -> list[str]:
    """One line for each difference that check mode found, by layer: `bridge iso0: mtu: 1500 → 1400`."""
    lines: list[str] = []
    for layer, result in results.items():
        for diff in (result or {}).get("diff") or []:
            before = dict(line.split(": ", 1) for line in diff.get("before", "").splitlines() if ": " in line)
            after = dict(line.split(": ", 1) for line in diff.get("after", "").splitlines() if ": " in line)
            header = diff.get("after_header", layer)
            keys = [*after, *[key for key in before if key not in after]]
            lines += [f"{header}: {key}: {before.get(key, '(none)')} → {after.get(key, '(none)')}" for key in keys]
    return lines
