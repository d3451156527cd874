# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The collection's own way: the playbooks `deploy` and `teardown`."""

from __future__ import annotations

import dataclasses
import typing as t

from .figures import Row
from .plays import COMMAND, FIRST_HOST_PORT, PORT, Controller, Meter

DEPLOY, TEARDOWN = "daemonless.isolation.deploy", "daemonless.isolation.teardown"


@dataclasses.dataclass(frozen=True)
class Setting:
    """How often to go from nothing to all and back, and how often to take each of the steps in between."""

    cycles: int
    more: int


def variables(archive: str, number: int, releases: t.Mapping[int, str] | None = None) -> dict[str, t.Any]:
    """What an inventory declares: services of one image, each with limits and a port; `releases` are the latest of some of them."""
    services = [
        {
            "name": f"service-{index}",
            "rootfs": {"source": {"tar": {"path": archive}}},
            "command": COMMAND,
            "environment": {"PATH": "/usr/bin:/bin", "RELEASE": (releases or {}).get(index, "1")},
            "resources": {"memory_max": "64M", "pids_max": 64},
            "networks": [{"bridge": "iso0"}],
            "ports": [{"host_port": FIRST_HOST_PORT + index, "port": PORT}],
        }
        for index in range(number)
    ]
    return {
        "isolation_bridges": [{"name": "iso0", "addresses": ["10.88.0.1/24"]}],
        "isolation_services": services,
        # The others don't wait for anything to be well.
        "isolation_rollout": {"min_healthy_time": "0s"},
    }


def measure(controller: Controller, number: int, archive: str, setting: Setting) -> Row:
    """One row. Begins and ends without services."""
    row, meter, release = Row(number), Meter(controller), 1
    for _cycle in range(setting.cycles):
        now = variables(archive, number)
        meter.run("first", DEPLOY, now)
        for _repetition in range(setting.more):
            meter.run("again", DEPLOY, now)
        for _repetition in range(setting.more):
            release += 1
            meter.run("change", DEPLOY, variables(archive, number, {number // 2: str(release)}))
        meter.run("remove", TEARDOWN, {})
    meter.fill(row)
    return row
