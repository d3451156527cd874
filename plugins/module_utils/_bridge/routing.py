# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Routing rules that close what lies behind a bridge while its tables are gone. Pure.

A flush of the ruleset opens what tables have closed, and nothing of ours is resident to notice. Routing rules are not
part of it: what is for a range behind a bridge and comes neither from the host nor from the bridge nor with the mark that our table sets is
dropped (ip-rule(8)). They are marked as the kernel's own, since systemd-networkd deletes those of others when it starts.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from .spec import BridgeSpec

FIRST = 101
"""The priority of the first of the rules: after the table of local addresses (0), before everybody else's."""

PROTOCOL = "kernel"


@dataclass(frozen=True, order=True)
class Rule:
    """One rule: `which` tells whose packets it is about, in the words of ip-rule(8)."""

    version: int
    priority: int
    to: str
    which: str
    action: str

    def command(self, verb: str) -> str:
        """A line for `ip -batch`, in the rule's family, to add or delete it."""
        words = ["rule", verb, "priority", str(self.priority), "to", self.to, self.which, self.action]
        return " ".join(word for word in [*words, "protocol", PROTOCOL] if word)

    def __str__(self) -> str:
        return " ".join(word for word in (str(self.priority), "to", self.to, self.which, self.action) if word)


def desired(bridges: t.Iterable[BridgeSpec], six: bool) -> tuple[Rule, ...]:
    """The rules that bridges need; `six` tells whether the kernel has IPv6."""
    found = []
    for bridge in bridges:
        for version in (4, 6) if six else (4,):
            for network in bridge.ranges(version):
                steps = (
                    ("iif lo", "lookup main"),
                    (f"iif {bridge.name}", "lookup main"),
                    (f"fwmark {bridge.mark:#x}/{bridge.mark:#x}", "lookup main"),
                    ("", "blackhole"),
                )
                found += [
                    Rule(version, FIRST + index, str(network), which, action)
                    for index, (which, action) in enumerate(steps)
                ]
    return tuple(sorted(found))


def parse(version: int, item: t.Mapping[str, t.Any]) -> Rule | None:
    """A rule of `ip -json -details rule`; None if it can't be one of ours."""
    index = int(item.get("priority", -1)) - FIRST
    if item.get("protocol") != PROTOCOL or "dst" not in item or not 0 <= index < 4:
        return None
    which = ""
    if "iif" in item:
        which = f"iif {item['iif']}"
    elif "fwmark" in item:
        mark = int(str(item["fwmark"]), 0)
        which = f"fwmark {mark:#x}/{int(str(item.get('fwmask', 0xFFFFFFFF)), 0):#x}"
    length = item.get("dstlen", 32 if version == 4 else 128)
    action = item.get("action") or f"lookup {item.get('table')}"
    return Rule(version, FIRST + index, f"{item['dst']}/{length}", which, str(action))
