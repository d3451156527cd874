# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""F14: what earlier versions wrote is planned for without a restart. Files in `golden` are theirs, and never written again."""

from __future__ import annotations

import copy
import dataclasses
import json
import pathlib
import typing as t

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ansible_collections.daemonless.isolation.plugins.module_utils._host.records import Record
from ansible_collections.daemonless.isolation.plugins.module_utils._plan import Plan
from ansible_collections.daemonless.isolation.plugins.module_utils._service import upgrade
from ansible_collections.daemonless.isolation.plugins.module_utils._service.instances import Instance
from ansible_collections.daemonless.isolation.plugins.module_utils._service.options import OPTIONS
from ansible_collections.daemonless.isolation.plugins.module_utils._service.parse import parse
from ansible_collections.daemonless.isolation.plugins.module_utils._service.spec import ServiceSpec
from ansible_collections.daemonless.isolation.plugins.module_utils._service.state import World
from ansible_collections.daemonless.isolation.tests.unit.service.test_plan import RUNNING, bare, kinds, one, spec

GOLDEN = sorted(pathlib.Path(__file__).with_name("golden").glob("*.json"))
Data = t.Dict[str, t.Any]


def host(written: Data) -> World:
    """The host as an earlier version has left it: the instance runs."""
    document, on_systemd = written["record"], written["systemd"]
    record = Record("service", document["name"], document["project"], document["spec"], document["assigned"])
    files = {path: (text, mode) for path, (text, mode) in written["files"].items()}
    links = () if on_systemd else ("/etc/service/isolation-web",)
    instance = Instance(record, RUNNING, True, True, True, links, files, 1.0)
    world = bare("web", systemd=on_systemd, watched=() if on_systemd else ("/etc/service",))
    there = dataclasses.replace(world.volumes, records={"web-data": Record("volume", "web-data", "default")})
    there = dataclasses.replace(there, directories=frozenset({"web-data"}))
    return dataclasses.replace(world, records={"web": record}, instances={"web": instance}, volumes=there)


def planned(written: Data, **more: t.Any) -> Plan:
    """The plan of this version for the options that the earlier one was given."""
    given = ArgumentSpecValidator(OPTIONS).validate({**written["options"], **more})
    return one(parse(given.validated_parameters), host(written))


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_what_an_earlier_version_started_runs_on(path: pathlib.Path) -> None:
    plan = planned(json.loads(path.read_text()))
    assert {change.effect for change in plan.changes} <= {"live"}, plan.changes
    told = [change for change in plan.changes if not change.key.startswith(("artifact ", "helper "))]
    assert told == [], "nothing that was asked for has changed"
    assert {change.before for change in plan.changes if change.key.startswith("artifact ")} <= {
        "as rendered before",
        "not rendered before",
    }
    assert kinds([*plan.steps, *plan.finish]) in ([], ["SaveRecord"]), "neither a stop nor a start"


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_a_later_option_counts_as_its_default(path: pathlib.Path) -> None:
    """As if each of them were unknown to the version that wrote the record."""
    written = json.loads(path.read_text())
    for key, default in (("workdir", "/"), ("rlimits", {}), ("capabilities", [])):
        earlier = copy.deepcopy(written)
        del earlier["record"]["spec"][key]
        as_before = planned(earlier, **{key: default})
        assert key not in {change.key for change in as_before.changes}


def test_a_later_option_with_a_bad_default_is_found() -> None:
    """What the tests above would say of an option whose default is not what its absence meant."""
    written = json.loads(GOLDEN[0].read_text())
    del written["record"]["spec"]["workdir"]
    bad = planned(written, workdir="/srv")
    assert {change.key: change.effect for change in bad.changes}["workdir"] == "restart"


def test_the_defaults_of_the_options_are_those_of_earlier_records() -> None:
    """Every option that an element may leave out means what a record without it means."""
    asked = parse(
        ArgumentSpecValidator(OPTIONS)
        .validate({"name": "web", "rootfs": "web", "command": ["/bin/app"]})
        .validated_parameters
    ).record()
    assumed = ServiceSpec("web", "web").record()
    given = {"rootfs", "command", "hostname", "environment"}  # in every record since the first version
    assert {key: value for key, value in asked.items() if key not in given} == {
        key: value for key, value in assumed.items() if key not in given
    }


def test_suboptions_that_came_later() -> None:
    kept = {
        "service": "web",
        "mounts": [{"source": "/a", "target": "/b", "read_only": True}],
        "restart": {"policy": "no"},
    }
    found = upgrade.completed(kept)
    assert found["mounts"][0]["exec"] is True
    assert found["restart"] == {"policy": "no", "delay": 0.1, "max_delay": 60.0}
    assert upgrade.completed(found) == found


def test_a_new_file_of_the_bundle_takes_no_restart_but_one_that_is_gone_does() -> None:
    written = json.loads(next(path for path in GOLDEN if path.stem.endswith("plain-runit")).read_text())
    hosts = "/var/lib/isolation/instances/web/hosts"
    del written["files"][hosts]
    gone = planned(written)
    assert {"artifact hosts": "restart"}.items() <= {change.key: change.effect for change in gone.changes}.items()
    del written["record"]["assigned"]["artifacts"][hosts]
    new = planned(written)
    assert {"artifact hosts": "live"}.items() <= {change.key: change.effect for change in new.changes}.items()
    assert {change.effect for change in new.changes} == {"live"}


def test_what_an_earlier_version_did_not_assign_is_no_change() -> None:
    written = json.loads(next(path for path in GOLDEN if path.stem.endswith("rich-runit")).read_text())
    del written["record"]["assigned"]["networks"][0]["mac"]
    del written["record"]["assigned"]["user"]
    assert {change.effect for change in planned(written).changes} <= {"live"}


def test_a_new_instance_is_told_in_whole() -> None:
    keys = [change.key for change in one(spec(), bare("web")).changes]
    assert {"command", "id_base", "runtime", "ids", "state"} <= set(keys)
