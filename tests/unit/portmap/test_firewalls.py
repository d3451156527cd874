# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is said of other firewalls."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.daemonless.isolation.plugins.module_utils._host import firewalls


def chain(table: str, hook: str = "forward", policy: str | None = "accept", name: str = "FORWARD") -> dict[str, t.Any]:
    return {"family": "ip", "table": table, "name": name, "hook": hook, **({"policy": policy} if policy else {})}


@pytest.mark.parametrize(
    ("chains", "settings", "words"),
    [
        ([], None, []),
        ([chain("filter")], None, []),
        ([chain("filter", "input", "drop")], None, []),
        ([chain("filter", policy=None)], None, []),
        ([chain("filter", policy="drop"), chain("x", policy="drop")], None, ["ip filter FORWARD, ip x FORWARD"]),
        ([chain("firewalld")], "# StrictForwardPorts=yes\nStrictForwardPorts=no\n", []),
        ([chain("firewalld")], "[x]\n StrictForwardPorts = Yes\n", ["StrictForwardPorts"]),
        ([chain("firewalld", "input")], "StrictForwardPorts=true\n", ["StrictForwardPorts"]),
        ([chain("filter")], "StrictForwardPorts=yes\n", []),
        ([chain("filter", policy="drop"), chain("firewalld")], "StrictForwardPorts=yes", ["ufw", "firewall-cmd"]),
    ],
)
def test_judge(chains: list[dict[str, t.Any]], settings: str | None, words: list[str]) -> None:
    found = firewalls.judge(chains, settings)
    assert len(found) == len(words)
    for word, warning in zip(words, found):
        assert word in warning
