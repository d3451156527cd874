# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Instances that are named alone, and those that start beside another."""

from __future__ import annotations

import dataclasses
import typing as t

import pytest

from ansible_collections.daemonless.isolation.plugins.module_utils._errors import IsolationError
from ansible_collections.daemonless.isolation.plugins.module_utils._host.records import SaveRecord
from ansible_collections.daemonless.isolation.plugins.module_utils._service.gate import AwaitHealth
from ansible_collections.daemonless.isolation.plugins.module_utils._service.options import OPTIONS
from ansible_collections.daemonless.isolation.plugins.module_utils._service.parse import parse
from ansible_collections.daemonless.isolation.plugins.module_utils._service.plan import plan
from ansible_collections.daemonless.isolation.plugins.module_utils._service.spec import ServiceSpec

from .test_plan import bare, but, kinds, one, settled, spec

WEB = {
    "health": {"tcp": {"port": 80}, "timeout": "2s", "retries": 3},
    "networks": [{"bridge": "iso0", "address": ["auto"]}],
}


def named(name: str = "web-1", **given: t.Any) -> ServiceSpec:
    return parse({**{option: rule.get("default") for option, rule in OPTIONS.items()}, "name": name, **given})


def test_stopping_one_by_its_name_leads_nobody_to_it_first() -> None:
    world = settled(spec("web-1", **WEB))
    stop = one(named(state="stopped"), world)
    assert kinds(stop.prepare + stop.steps) == ["Boot", "RenewHosts", "Stop"]
    assert [(change.key, change.after) for change in stop.changes] == [("state", "stopped"), ("at boot", "not started")]
    assert (stop.effect, stop.result["state"], stop.result["command"]) == ("restart", "stopped", ["/bin/app"])
    stopped = but(world, "web-1", running=None, wanted=False, at_boot=False)
    assert one(named(state="stopped"), stopped).changed is False


def test_starting_one_by_its_name_waits_for_what_its_record_asks_for() -> None:
    asked = spec("web-1", **WEB)
    stopped = but(settled(asked), "web-1", running=None, wanted=False, at_boot=False)
    start = one(named(state="started", gate={"min_healthy_time": "1s", "deadline": "9s", "auto_revert": True}), stopped)
    assert kinds(start.prepare + start.steps) == ["Boot", "Start"]
    (gate,) = start.finish
    assert isinstance(gate, AwaitHealth)
    assert (gate.health, gate.gate.deadline) == (asked.health, 9.0)
    assert gate.address == start.result["addresses"][0]["ipv4"]
    assert one(named(), settled(asked)).changed is False


def test_a_release_is_held_and_let_go() -> None:
    world = settled(spec("web-1"))
    held = one(named(state="started", held=True), world)
    (save,) = held.steps
    assert isinstance(save, SaveRecord)
    assert (save.record.spec["held"], save.record.spec["command"]) == (True, ["/bin/app"])
    assert [(change.key, change.before, change.after, change.effect) for change in held.changes] == [
        ("held", False, True, "live")
    ]
    again = settled(spec("web-1", held=True))
    assert one(named(held=True), again).changed is False
    assert one(named(), again).changed is False, "what is not said stays"
    assert [change.key for change in one(spec("web-1"), again).changes] == ["held"], "deployed again, it is not held"


def test_one_that_keeps_failing_is_held_without_being_started() -> None:
    failing = but(settled(spec("web-1")), "web-1", running=None, wanted=True)
    held = one(named(state="present", held=True), failing)
    assert (kinds(held.prepare + held.steps), held.finish, held.result["state"]) == (["SaveRecord"], (), "failing")
    assert one(named(state="present"), failing).changed is False


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"user": "5:5"},
            "user: without command and rootfs only beside, drain, gate, held, keep_running, name, replaces, state",
        ),
        ({"command": ["/bin/app"]}, "rootfs: needed"),
        ({"rootfs": "web"}, "command: needed"),
        ({"state": "present", "workdir": "/srv"}, "workdir: without command and rootfs only"),
        ({"state": "reloaded", "reload_signal": "SIGHUP"}, "rootfs: needed"),
    ],
    ids=str,
)
def test_one_that_is_named_alone_is_named_alone(given: dict[str, t.Any], message: str) -> None:
    with pytest.raises(IsolationError, match=message):
        named(**given)


def test_one_that_is_not_there_is_refused() -> None:
    with pytest.raises(IsolationError, match="no such instance on this host"):
        one(named(state="stopped"), bare("web-1"))
    with pytest.raises(IsolationError, match="belongs to project 'default'"):
        plan([named()], settled(spec("web-1")), {}, "other")


def test_beside_another_it_is_started_at_boot_once_it_is_well() -> None:
    old, new = spec("web-1"), spec("web-2", beside="web-1")
    both = bare("web-1", "web-2")
    first = one(new, but_with(both, settled(old)))
    assert kinds(first.steps) == ["SaveRecord", "Start"]
    (gate,) = first.finish
    assert isinstance(gate, AwaitHealth)
    assert gate.beside
    assert kinds(first.recall) == ["Stop", "Boot"]
    assert one(spec("web-1"), bare("web-1")).recall == ()
    running = settled(old, spec("web-2"))
    assert one(new, running).changed is False
    untried = one(new, but(running, "web-2", at_boot=False))
    assert [change.key for change in untried.changes] == ["at boot"]
    assert (kinds(untried.steps), kinds(untried.finish)) == (["SaveRecord"], ["AwaitHealth"])


def but_with(world: t.Any, there: t.Any) -> t.Any:
    """The host of `world`, with the instances of `there` on it."""
    instances = {**world.instances, **there.instances}
    return dataclasses.replace(world, records=there.records, instances=instances)


def test_beside_a_stranger_is_refused() -> None:
    with pytest.raises(IsolationError, match="web-9 is no instance of service web"):
        one(spec("web-2", beside="web-9"), bare("web-2"))
    with pytest.raises(IsolationError, match="give one"):
        spec("web-2", beside="web-1", replaces="web-1")
    with pytest.raises(IsolationError, match="is itself"):
        spec("web-2", beside="web-2")
