# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Links, addresses and routes, as `ip -json` tells them (ip(8)). Changes go through `netlink`, but for what needs no second look."""

from __future__ import annotations

import ipaddress
import json
import os
import typing as t
from dataclasses import dataclass

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


def own_addresses() -> frozenset[str]:
    """All addresses of the host.

    :raises ToolError: ip failed.
    """
    found = [
        entry["local"] for link in _ask("address", "show") for entry in link.get("addr_info", []) if "local" in entry
    ]
    return frozenset(str(ipaddress.ip_address(address)) for address in found)


def routes() -> list[dict[str, t.Any]]:
    """All routes of all tables, v4 and v6; `dst` is `default`, an address or a prefix.

    :raises ToolError: ip failed.
    """
    return _ask("-4", "route", "show", "table", "all") + _ask("-6", "route", "show", "table", "all")


def rules(version: int) -> list[dict[str, t.Any]]:
    """The routing rules of a family (4 or 6) with their details.

    :raises ToolError: ip failed.
    """
    if version == 6 and not os.path.exists("/proc/sys/net/ipv6"):
        return []
    return _ask("-details", f"-{version}", "rule", "show")


@dataclass(frozen=True)
class Batch:
    """Step: lines for `ip -batch`, each a command of ip(8), about IPv4 or, with `version` 6, IPv6. The first that fails is the last."""

    lines: tuple[str, ...]
    version: int = 4

    def run(self) -> None:
        """Take them in order.

        :raises ToolError: the kernel refused one.
        """
        run(["ip", f"-{self.version}", "-batch", "-"], stdin="".join(line + "\n" for line in self.lines))


def delete_link(name: str) -> None:
    """Delete a link that the kernel is about to delete by itself, with the namespace of its other end."""
    if os.path.exists(f"/sys/class/net/{name}"):
        run(["ip", "link", "delete", name], check=False)
