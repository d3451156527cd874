# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The report of how hosts differ from what is declared."""

from __future__ import annotations

from ansible_collections.daemonless.isolation.plugins.plugin_utils import _status


def test_drift_reads_diffs() -> None:
    diff = {"after_header": "bridge iso0", "before": "mtu: 1400\nstp: yes\n", "after": "mtu: 1500\n"}
    assert _status.drift({"bridges": {"diff": [diff]}, "services": None}) == [
        "bridge iso0: mtu: 1400 → 1500",
        "bridge iso0: stp: yes → (none)",
    ]
