# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The inventories that come with the collection are accepted by the planner and by every layer's own validation."""

from __future__ import annotations

import pathlib
import typing as t

import pytest
import yaml

from ansible_collections.daemonless.isolation.plugins.module_utils import _runner, _targets
from ansible_collections.daemonless.isolation.plugins.module_utils._bridge.layer import BridgeLayer
from ansible_collections.daemonless.isolation.plugins.module_utils._cgroup.layer import CgroupLayer
from ansible_collections.daemonless.isolation.plugins.module_utils._portmap.layer import PortmapLayer
from ansible_collections.daemonless.isolation.plugins.module_utils._rollout import planning
from ansible_collections.daemonless.isolation.plugins.module_utils._rootfs.layer import RootfsLayer
from ansible_collections.daemonless.isolation.plugins.module_utils._service.layer import ServiceLayer

from .test_releases import ROLLOUT

INVENTORIES = pathlib.Path(__file__).resolve().parents[3] / "inventories"


def parse_all(layer: _runner.Layer[t.Any, t.Any], elements: t.Sequence[t.Mapping[str, t.Any]]) -> None:
    """Validate elements as the runner does."""
    defaults = {option: rule.get("default") for option, rule in layer.options.items()}
    for element in _runner.merge_elements(layer, {**defaults, "aggregate": elements}):
        layer.parse(element, _runner.Request("default"))


@pytest.mark.parametrize("name", ["demo", "fleet"])
def test_inventory(name: str) -> None:
    data = yaml.safe_load((INVENTORIES / name / "group_vars" / "isolation.yml").read_text())
    for service in data["isolation_services"]:
        for port in service["ports"]:
            if not isinstance(port["host_port"], int):
                port["host_port"] = 8080
    lists = {key: value for key, value in data.items() if key.startswith("isolation_services")}
    plan = planning.host_plan(
        {},
        {
            "project": data["isolation_project"],
            "bridges": data["isolation_bridges"],
            "services": lists,
            "rollout": {**ROLLOUT, **data["isolation_rollout"]},
            "only": [],
            "prune": False,
            "prune_max": 1,
        },
    )
    wave = planning.together(plan)
    addresses = [
        {"name": entry["name"], "service": {"addresses": [{"ipv4": "10.88.0.7", "ipv6": "fd88::7"}]}}
        for entry in wave["services"]
    ]
    parse_all(BridgeLayer(), plan["bridges"])
    parse_all(CgroupLayer(), plan["slices"])
    parse_all(RootfsLayer(), plan["rootfs"])
    parse_all(ServiceLayer(), wave["services"])
    parse_all(PortmapLayer(), _targets.portmaps(wave, addresses))
