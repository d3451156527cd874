# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The audit's playbook: what it shows, and when it fails."""

from __future__ import annotations

import json
import re

from stage import Site


def test_it_shows_and_fails_when_told(site: Site) -> None:
    assert "no service runs" in site.play("audit", "-e", "audit_fail=true").stdout
    site.changed("deploy")
    shown = site.play("audit").stdout
    name = site.instance()["name"]
    summary = re.search(rf"{name}: (\d+) pass, (\d+) fail, (\d+) warn, (\d+) not applicable", shown)
    assert summary, shown
    assert sum(map(int, summary.groups())) == 32
    failed = re.findall(r"  (5\.\d+) +fail ", shown)
    assert len(failed) == int(summary[2]) > 0
    assert "5.13  fail            Its root filesystem is read-only" in shown
    assert "mountinfo: / is rw (overlay) -> rootfs_prepare: mode: read_only" in shown
    assert not re.search(r"  5\.\d+ +pass ", shown)
    assert (
        len(
            re.findall(
                r"  5\.\d+ +(?:pass|fail|warn|not_applicable) ", site.play("audit", "-e", "audit_all=true").stdout
            )
        )
        == 32
    )

    stopped = site.play("audit", "-e", "audit_fail=true", check=False)
    assert stopped.returncode != 0
    assert ", ".join(f"{name}: {number}" for number in failed) in stopped.stdout
    service = site.service["name"]
    excepted = json.dumps({"audit_fail": True, "audit_except": [f"{service}: {failed[0]}", *failed[1:]]})
    passed = site.play("audit", "-e", excepted).stdout
    assert f"  {failed[0]:5} fail (excepted) " in passed
