# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Guides and examples name no option that is not there, and what they declare is accepted by the planner and by every layer."""

from __future__ import annotations

import pathlib
import re
import typing as t

import pytest
import yaml

from ansible_collections.daemonless.isolation.plugins.module_utils import _targets
from ansible_collections.daemonless.isolation.plugins.module_utils._bridge.layer import BridgeLayer
from ansible_collections.daemonless.isolation.plugins.module_utils._cgroup.layer import CgroupLayer
from ansible_collections.daemonless.isolation.plugins.module_utils._portmap.layer import PortmapLayer
from ansible_collections.daemonless.isolation.plugins.module_utils._rollout import planning, releases
from ansible_collections.daemonless.isolation.plugins.module_utils._rootfs.layer import RootfsLayer
from ansible_collections.daemonless.isolation.plugins.module_utils._service.layer import ServiceLayer

from .releases.test_inventories import parse_all
from .releases.test_releases import ROLLOUT

Data = t.Dict[str, t.Any]

TOP = pathlib.Path(__file__).resolve().parents[2]
GUIDES = ("first-deploy", "from-compose", "rollouts", "thousands-of-hosts", "when-a-host-fails")
ROLES = {
    role: yaml.safe_load((TOP / "roles" / role / "meta" / "argument_specs.yml").read_text())["argument_specs"]["main"][
        "options"
    ]
    for role in ("isolation", "isolation_host")
}
OPTIONS = {**ROLES["isolation"], **ROLES["isolation_host"]}
PLAYBOOKS = {path.stem: path.read_text() for path in (TOP / "playbooks").iterdir()}
MODULES = {path.stem for path in (TOP / "plugins" / "modules").iterdir()}
CALLBACKS = {path.stem for path in (TOP / "plugins" / "callback").glob("*.py")}


def blocks(guide: str) -> list[t.Any]:
    """The YAML of a page, but for that of Compose."""
    text = (TOP / "docs" / f"{guide}.md").read_text()
    found = re.findall(r"^```yaml\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [yaml.safe_load(block) for block in found if not block.startswith("# compose")]


def declared_in(data: t.Any) -> t.Iterator[Data]:
    """The mappings of variables in it."""
    if isinstance(data, dict):
        own = {key: value for key, value in data.items() if str(key).startswith("isolation_")}
        if own:
            yield own
        for value in data.values():
            yield from declared_in(value)


def plain(value: t.Any) -> t.Any:
    """With a text for what a template would give."""
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items()}
    if isinstance(value, list):
        return [plain(one) for one in value]
    return f"template of {value.strip('{ }')}" if isinstance(value, str) and "{{" in value else value


def known(variable: str) -> bool:
    return (
        variable in OPTIONS
        or variable.startswith("isolation_services_")
        or any(variable in text for text in PLAYBOOKS.values())
    )


def check(data: Data) -> None:
    """As a deployment would: plan, then every layer's own validation."""
    assert [variable for variable in data if not known(variable)] == []
    rollout = data.get("isolation_rollout", {})
    assert set(rollout) <= set(OPTIONS["isolation_rollout"]["options"])
    lists = {key: plain(value) for key, value in data.items() if key.startswith("isolation_services")}
    for services in lists.values():
        for service in services:
            if isinstance(service["rootfs"]["source"], str):
                service["rootfs"]["source"] = {"tar": {"path": "/srv/image.tar"}}
    declared = {
        "project": data.get("isolation_project", "default"),
        "bridges": data.get("isolation_bridges", []),
        "services": lists,
        "secret_values": plain(data.get("isolation_secret_values", {})),
        "rollout": {**ROLLOUT, **rollout},
        "only": [],
        "prune": False,
        "prune_max": 1,
    }
    plan = planning.host_plan({}, declared)
    wave = planning.together(plan)
    results = [
        {"name": entry["name"], "service": {"addresses": [{"ipv4": f"10.88.0.{number}"}]}}
        for number, entry in enumerate(wave["services"], 7)
    ]
    parse_all(BridgeLayer(), plan["bridges"])
    parse_all(CgroupLayer(), plan["slices"])
    parse_all(RootfsLayer(), plan["rootfs"])
    parse_all(ServiceLayer(), wave["services"])
    parse_all(PortmapLayer(), _targets.portmaps(wave, results))


@pytest.mark.parametrize("guide", GUIDES)
def test_what_a_guide_declares(guide: str) -> None:
    for block in blocks(guide):
        for data in declared_in(block):
            check(data)


def test_the_guides_declare_something() -> None:
    counts = {guide: sum(1 for block in blocks(guide) for _data in declared_in(block)) for guide in GUIDES}
    assert counts["from-compose"] == counts["first-deploy"] == 1


@pytest.mark.parametrize("name", sorted(path.name for path in (TOP / "examples").iterdir()))
def test_what_an_example_declares(name: str) -> None:
    data: Data = {}
    for path in sorted((TOP / "examples" / name / "group_vars" / "isolation").iterdir()):
        data.update(yaml.safe_load(path.read_text()))
    check({key: value for key, value in data.items() if key.startswith("isolation_")})


@pytest.mark.parametrize("guide", GUIDES)
def test_what_a_guide_names(guide: str) -> None:
    """Playbooks, modules, variables and pages."""
    text = (TOP / "docs" / f"{guide}.md").read_text()
    named = set(re.findall(r"daemonless\.isolation\.(\w+)", text))
    assert named <= {*PLAYBOOKS, *MODULES, *CALLBACKS, "isolation", "isolation_host"}
    variables = {
        one
        for one in re.findall(r"\b(isolation_[a-z_]+|status_[a-z]+|teardown_[a-z]+)\b", text)
        if not one.endswith("_")
    }
    elsewhere = {"isolation_nat", "isolation_bridge", "isolation_host"}
    assert [one for one in sorted(variables) if one not in elsewhere and not known(one)] == []
    for link in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text):
        assert (TOP / "docs" / link).exists(), link


def suboptions(options: Data, path: str) -> bool:
    """Whether an option such as `health.http` is there."""
    first, _dot, rest = path.partition(".")
    found = options.get(first)
    if found is None:
        return False
    return not rest or suboptions(found.get("options") or {}, rest)


def test_every_option_of_the_table_of_compose_is_there() -> None:
    text = (TOP / "docs" / "from-compose.md").read_text()
    table = text[text.index("## Key by key") : text.index("## Commands")]
    service, bridge, portmap = ServiceLayer().options, BridgeLayer().options, PortmapLayer().options
    own: Data = {
        **{key: {} for key in planning.SERVICE_ONLY},
        **service,
        "rootfs": {"options": {**RootfsLayer().options}},
        "resources": {"options": CgroupLayer().options},
        "ports": {"options": portmap["mappings"]["options"]},
        **{key: {} for key in OPTIONS},
    }
    assert set(releases.ROOTFS_KEYS) <= set(own["rootfs"]["options"])
    beside = {
        *own["ports"]["options"],
        *bridge,
        *service["mounts"]["options"],
        *service["tmpfs"]["options"],
        *service["devices"]["options"],
        *service["networks"]["options"],
        *service["health"]["options"],
        *RootfsLayer().options["source"]["options"],
        *CgroupLayer().options,
    }
    rows = [line.split(" | ") for line in table.splitlines() if line.startswith("| `")]
    assert len(rows) > 50
    for _compose, here, *_rest in rows:
        for word in re.findall(r"`([a-z_]+(?:\.[a-z_]+)*)`", here):
            assert suboptions(own, word) or word in beside or word in VALUES, word


VALUES = {"missing", "always", "no"}
"""Values that the second column of that table names."""
