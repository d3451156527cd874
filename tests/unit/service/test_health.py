# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The periodic check as pure functions: who is due, what an answer means, and what follows."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.daemonless.isolation.plugins.module_utils._errors import InvalidOption
from ansible_collections.daemonless.isolation.plugins.module_utils._host import health as host_health
from ansible_collections.daemonless.isolation.plugins.module_utils._host import libexec
from ansible_collections.daemonless.isolation.plugins.module_utils._host.helpers import health
from ansible_collections.daemonless.isolation.plugins.module_utils._host.helpers.asking import Answer
from ansible_collections.daemonless.isolation.plugins.module_utils._service.health import parse_health

RULE = {"retries": 3, "start_period": 10.0}
RUN = health.Run(7, 100.0)
OPTIONS: dict[str, t.Any] = {"exec": {"command": ["/bin/true"]}, "timeout": "1s", "retries": 1}


def after(*answers: tuple[float, str], asked: bool = True) -> dict[str, t.Any]:
    """What is remembered after answers: when, and what was wrong."""
    state = health.renewed({}, RUN, 1.0)
    for now, wrong in answers:
        state = health.judged(state, RULE, Answer("web", wrong, 0.01, asked), now, now)
    return state


JUDGED: list[tuple[list[tuple[float, str]], str, int]] = [
    ([], "starting", 0),
    ([(101, "no"), (102, "no"), (103, "no")], "starting", 0),  # within its start period
    ([(111, "no"), (112, "no")], "starting", 2),
    ([(111, "no"), (112, "no"), (113, "no")], "unhealthy", 3),
    ([(101, "")], "healthy", 0),
    ([(101, ""), (102, "no"), (103, "no")], "healthy", 2),  # it was well: failures count from then on
    ([(101, ""), (102, "no"), (103, "no"), (104, "no")], "unhealthy", 3),
    ([(101, ""), (102, "no"), (103, "no"), (104, "")], "healthy", 0),
]


@pytest.mark.parametrize(("answers", "status", "failures"), JUDGED)
def test_judged(answers: list[tuple[float, str]], status: str, failures: int) -> None:
    state = after(*answers)
    assert (state["status"], state["failures"]) == (status, failures)
    assert len(state.get("last", [])) == min(len(answers), health.HISTORY)


def test_what_could_not_be_asked_is_told_and_not_counted() -> None:
    state = after((111, "no"), (112, "no"), (113, "no"), asked=False)
    assert (state["status"], state["failures"], len(state["last"])) == ("starting", 0, 3)


def test_another_run_begins_anew() -> None:
    ill = {**after((111, "no"), (112, "no"), (113, "no")), "restarts": 2}
    again = health.renewed(ill, health.Run(8, 200.0), 2.0)
    assert (again["status"], again["failures"], again["restarts"], again["told"]) == ("starting", 0, 2, None)
    assert health.renewed(ill, RUN, 2.0) == ill


@pytest.mark.parametrize(
    ("state", "on_failure", "deployed", "action"),
    [
        ({"status": "healthy"}, "restart", None, None),
        ({"status": "unhealthy"}, "none", None, None),
        ({"status": "unhealthy"}, "restart", None, "restart"),
        ({"status": "unhealthy"}, "stop", None, "stop"),
        ({"status": "unhealthy"}, "restart", 90.0, None),  # a task that still runs has started it
        ({"status": "unhealthy"}, "restart", 110.0, "restart"),  # it was there before
        ({"status": "unhealthy", "told": 999.0}, "restart", None, None),
        ({"status": "unhealthy", "told": 900.0}, "restart", None, "kill"),
    ],
)
def test_action(state: dict[str, t.Any], on_failure: str, deployed: float | None, action: str | None) -> None:
    assert health.next_action({"began": 100.0, **state}, on_failure, 10.0, 1000.0, deployed) == action


@pytest.mark.parametrize(("asked", "now", "due"), [(None, 0.0, True), (10.0, 19.0, False), (10.0, 19.6, True)])
def test_due(asked: float | None, now: float, due: bool) -> None:
    assert health.is_due({"asked": asked}, 10.0, 1.0, now) == due


def test_the_shortest_interval_counts() -> None:
    specs: list[dict[str, t.Any]] = [{"health": None}, {"health": {"interval": 0.5, "on_failure": None}}]
    assert health.interval_of(specs) is None
    specs += [{"health": {"interval": number, "on_failure": "none"}} for number in (30.0, 10.0)]
    assert health.interval_of(specs) == 10.0


@pytest.mark.parametrize("on_systemd", [True, False])
def test_files(on_systemd: bool) -> None:
    files = host_health.files(10.0, on_systemd, libexec.program(health))
    text = files.pop(host_health.HELPER)[0]
    compile(text, "health", "exec")
    assert text == libexec.program(health)
    assert "from ." not in text.replace("from . import", "")
    told = "".join(content for content, _mode in files.values())
    assert ("OnUnitActiveSec=10s" if on_systemd else "exec sleep 10\n") in told


def test_options() -> None:
    plain = parse_health(OPTIONS, "web")
    assert plain is not None
    assert (plain.interval, plain.on_failure, plain.start_period) == (0.5, None, 30.0)
    checked = parse_health({**OPTIONS, "on_failure": "none"}, "web")
    assert checked is not None
    assert checked.interval == 10.0
    with pytest.raises(InvalidOption, match="at least 1s with on_failure"):
        parse_health({**OPTIONS, "on_failure": "none", "interval": "500ms"}, "web")
    with pytest.raises(InvalidOption, match="set on_failure, too"):
        parse_health({**OPTIONS, "start_period": "1s"}, "web")
