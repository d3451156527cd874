# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Links, addresses and routes, as `ip -json` tells them (ip(8)). Reading only: changes go through `netlink`."""

from __future__ import annotations

import json
import typing as t

from .process import find_tool, run


def available() -> bool:
    """Whether iproute2 is installed. Where it is not, nothing of ours can exist."""
    return find_tool("ip") is not None


def _ask(*arguments: str) -> list[dict[str, t.Any]]:
    if not available():
        return []
    text = run(["ip", "-json", *arguments]).stdout.strip()
    return [item for item in json.loads(text or "[]") if item]


def links() -> list[dict[str, t.Any]]:
    """All links with their details and addresses.

    :raises ToolError: ip failed.
    """
    return _ask("-details", "address", "show")


def routes() -> list[dict[str, t.Any]]:
    """All routes of all tables, v4 and v6; `dst` is `default`, an address or a prefix.

    :raises ToolError: ip failed.
    """
    return _ask("-4", "route", "show", "table", "all") + _ask("-6", "route", "show", "table", "all")
