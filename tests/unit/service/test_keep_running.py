# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An instance that runs on after it was stopped, until the host ends it."""

from __future__ import annotations

import re

import pytest

from ansible_collections.daemonless.isolation.plugins.module_utils._errors import InvalidOption
from ansible_collections.daemonless.isolation.plugins.module_utils._host.ending import EndLater
from ansible_collections.daemonless.isolation.plugins.module_utils._service.state import World

from .test_plan import but, kinds, one, settled, spec
from .test_recorded import named


def ending(world: World) -> World:
    """The host ends it in a minute."""
    return but(world, "web-1", ending=60.0, at_boot=False)


def test_it_is_ended_later() -> None:
    asked = spec("web-1")
    for stop in (
        one(named(state="stopped", keep_running="10m"), settled(asked)),
        one(spec("web-1", state="stopped", keep_running="10m"), settled(asked)),
    ):
        assert [step for step in kinds(stop.steps) if step not in ("RenewHosts", "SaveRecord")] == ["Boot", "EndLater"]
        assert EndLater("web-1", "isolation-web\\x2d1.service", asked.stop_timeout, 600.0) in stop.steps
        assert [(change.key, change.before, change.after) for change in stop.changes] == [
            ("state", "started", "stopped in 600s"),
            ("at boot", "started", "not started"),
        ]
        assert (stop.effect, stop.result["state"], stop.result["stops_in"]) == ("live", "started", 600.0)


def test_until_then_it_is_as_it_is_to_be() -> None:
    world = ending(settled(spec("web-1")))
    for asked in (named(state="stopped", keep_running="10m"), spec("web-1", state="stopped", keep_running="10m")):
        assert not one(asked, world).changed
        assert not one(asked, but(world, "web-1", running=None, wanted=False, ending=None)).changed
    assert one(named(state="present"), world).result["stops_in"] == 60.0


def test_one_that_does_not_run_is_stopped_at_once() -> None:
    failing = but(settled(spec("web-1")), "web-1", running=None, wanted=True)
    stop = one(named(state="stopped", keep_running="10m"), failing)
    assert kinds(stop.steps)[-1] == "Stop"
    assert stop.result["state"] == "stopped"


def test_it_is_stopped_before_its_time() -> None:
    stop = one(named(state="stopped"), ending(settled(spec("web-1"))))
    assert kinds(stop.steps) == ["RenewHosts", "Stop"]
    assert [(change.key, change.after) for change in stop.changes] == [("state", "stopped")]


@pytest.mark.parametrize("beside", [None, "web-2"])
def test_it_serves_again_without_a_start(beside: str | None) -> None:
    world = ending(settled(spec("web-1", service="web"), spec("web-2", service="web")))
    for asked in (named(beside=beside), spec("web-1", service="web", beside=beside)):
        start = one(asked, world)
        assert "Start" not in kinds(start.steps)
        assert "RunOn" in kinds(start.steps)
        assert kinds(start.finish) == (["AwaitHealth"] if beside else [])
        assert ("stops in", "60s", None) in [(change.key, change.before, change.after) for change in start.changes]
        assert start.effect == "live"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"state": "started"}, "web: keep_running: only with state: stopped"),
        ({"state": "absent"}, "web: keep_running: only with state: stopped"),
        ({"state": "stopped", "drain": {"timeout": "5s"}}, "web: keep_running: not beside drain"),
        ({"state": "stopped", "keep_running": "10ms"}, "web: keep_running: '10ms': must be at least 1s, or 0s"),
        ({"state": "stopped", "keep_running": "soon"}, "web: keep_running: 'soon'"),
    ],
    ids=str,
)
def test_what_can_not_be_meant(given: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidOption, match=re.escape(message)):
        spec("web", **{"keep_running": "10m", **given})
