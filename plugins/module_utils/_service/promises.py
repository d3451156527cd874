# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What earlier layers of the same run would make, and refusals of what can't be. Pure."""

from __future__ import annotations

import typing as t

from .._errors import IsolationError

Promises = t.Mapping[str, t.Any]


class ServiceRefused(IsolationError):
    """What is asked of a service can't be."""


def promised(expect: Promises, kind: str, name: str) -> t.Mapping[str, t.Any] | None:
    """What an earlier layer of the same run would make; None if it promises no such thing."""
    for item in expect.get(kind) or []:
        if item.get("name") == name and item.get("state") != "absent":
            return t.cast("t.Mapping[str, t.Any]", item)
    return None
