# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is shown of a rollout: from events to lines, and from lines to a terminal."""

from __future__ import annotations

import pathlib
import re
import typing as t

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.daemonless.isolation.plugins.module_utils._deploy import doing, layers
from ansible_collections.daemonless.isolation.plugins.plugin_utils._rollout_screen import (
    BAD,
    Line,
    Screen,
    clean,
    columns,
    fit,
    gauge,
)
from ansible_collections.daemonless.isolation.plugins.plugin_utils._rollout_view import (
    LAYERS,
    PHASES,
    ROLE,
    Host,
    Outcome,
    Part,
    Task,
    Totals,
    View,
    cut,
)
from ansible_collections.daemonless.isolation.tests.unit.releases.terminal import screen

REPOSITORY = pathlib.Path(__file__).resolve().parents[3]
DOING = (REPOSITORY / "plugins" / "module_utils" / "_deploy" / "doing.py").read_text()
TASKS = REPOSITORY / "roles" / "isolation" / "tasks"
GATE, PORTS, DRAIN, END = (
    Task(name, ROLE)
    for name in (
        "Services",
        "Published ports",
        "Stop earlier instances once nobody is connected",
        "Let other deployments go on",
    )
)
PLAN, UP, FINISH = (Task(name, ROLE) for name in ("Look, plan and begin", "Bring up", "Confirm, drain and stop"))
OTHER = Task("Install")
CHANGED = Outcome("ok", True, names=["web-1"])


def texts(lines: t.Sequence[Line]) -> list[str]:
    return [line.text for line in lines]


def begun(*hosts: str, sizes: t.Sequence[int] | None = None, **options: t.Any) -> View:
    """A view whose first batch has begun."""
    view = View(**options)
    sizes = sizes or [len(hosts)]
    view.play("Deploy", hosts[: sizes[0]], hosts, sizes, 0)
    view.task()
    return view


def do(view: View, host: str, task: Task, outcome: Outcome, now: float = 5) -> list[str]:
    view.begins(host, task, now - 1)
    return texts(view.result(host, task, outcome, now))


def modules(tasks: t.Any) -> t.Iterator[str]:
    """The names of tasks that are modules of the collection, in blocks too."""
    for task in tasks:
        for part in ("block", "rescue", "always"):
            yield from modules(task.get(part, []))
        if any(key.startswith("daemonless.isolation.") for key in task):
            yield task["name"]


def test_every_task_of_the_role_that_takes_time_is_known() -> None:
    names = {name for file in TASKS.glob("*.yml") for name in modules(yaml.safe_load(file.read_text()))}
    assert names == {*PHASES}
    parts = {
        *re.findall(r'work\.\w+\("(\w+)"', DOING),
        *layers.BELOW,
        *(f"remove:{name}" for name in doing.REMOVED),
    }
    assert parts == {*LAYERS}


@pytest.mark.parametrize(
    ("number", "serial", "sizes"),
    [(10, [1, 2, 4], [1, 2, 4, 3]), (3, [5], [3]), (3, [], [3]), (0, [1], []), (5, [0, 2], [2, 2, 1])],
)
def test_batches(number: int, serial: list[int], sizes: list[int]) -> None:
    assert cut(number, serial) == sizes


def test_a_rollout_from_the_canary_to_the_recap() -> None:
    view = View()
    hosts = ["web1", "web2", "web3"]
    assert view.play("Look", hosts, hosts, [3], 0) == []
    assert view.play("Deploy", ["web1"], hosts, [1, 2], 0) == [], "a play without a task is not told of"
    assert texts(view.task()) == ["", "Deploy: 3 hosts in 2 batches", "batch 1 of 2 (canary): web1"]
    do(view, "web1", PLAN, Outcome("ok", waves=2))
    assert do(view, "web1", GATE, CHANGED) == ["web1: wave 1 of 2: start and gate: web-1"]
    assert do(view, "web1", PORTS, CHANGED) == ["web1: wave 1 of 2: cut over: web-1"]
    assert do(view, "web1", GATE, Outcome("ok")) == []
    assert do(view, "web1", DRAIN, Outcome("skipped")) == []
    assert do(view, "web1", END, Outcome("ok"), 18) == [
        "web1: done: 2 changes in 14 s [######--------------] 1 of 3 hosts"
    ]
    assert view.play("Deploy", ["web2", "web3"], hosts, [1, 2], 20) == []
    assert texts(view.task()) == ["batch 2 of 2: web2, web3"]
    assert do(view, "web2", GATE, Outcome("ok", True, lost="service web-2: it ended\nTraceback\n  KeyError: 'x'")) == [
        "web2: start and gate: failed: service web-2: it ended",
        "  | Traceback",
        "  |   KeyError: 'x'",
    ]
    fails = Task("Fail, since a service did not come into service", ROLE)
    assert (
        do(view, "web2", fails, Outcome("failed", reason="service web-2: it ended\nTraceback\n  KeyError: 'x'")) == []
    )
    assert do(view, "web3", GATE, Outcome("unreachable", reason="no route")) == [
        "web3: unreachable: no route",
        "web3: failed after 1 s [#############-------] 2 of 3 hosts",
    ]
    recap = view.stats({"web1": Totals(), "web2": Totals(1), "web3": Totals(0, 1)}, 30)
    assert texts(recap) == [
        "web2: failed after 26 s [####################] 3 of 3 hosts",
        "",
        "3 hosts: 1 changed, 1 failed, 1 unreachable",
        "  web1  changed  2 changes",
        "  web2  failed",
        "    start and gate: service web-2: it ended",
        "      | Traceback",
        "      |   KeyError: 'x'",
        "  web3  unreachable",
        "    unreachable: no route",
    ]
    assert recap[4].style == BAD


def test_what_layers_did_in_one_task_is_told_of_each() -> None:
    view = begun("web1")
    do(view, "web1", PLAN, Outcome("ok", waves=2))
    parts = [Part("slices", ["web/1"]), Part("rootfs"), Part("services", ["web-1"]), Part("portmaps", ["web"])]
    assert do(view, "web1", UP, Outcome("ok", True, parts=parts)) == [
        "web1: wave 1 of 2: prepare slices: web/1",
        "web1: wave 1 of 2: start and gate: web-1",
        "web1: wave 1 of 2: cut over: web",
    ]
    ended = [Part("confirm", ["web"]), Part("ended", ["web-0"])]
    assert do(view, "web1", FINISH, Outcome("ok", True, parts=ended)) == ["web1: wave 1 of 2: drain and stop: web-0"]
    lost = Outcome("ok", True, lost="service web-2: it ended", parts=[Part("services", ["web-3"])])
    assert do(view, "web1", UP, lost) == [
        "web1: wave 2 of 2: start and gate: web-3",
        "web1: wave 2 of 2: start and gate: failed: service web-2: it ended",
    ]


def test_the_first_wave_may_begin_with_the_plan() -> None:
    view = begun("web1")
    first = Outcome("ok", True, parts=[Part("services", ["web-1"])], waves=2, begun=True)
    assert do(view, "web1", PLAN, first) == ["web1: wave 1 of 2: start and gate: web-1"]
    assert do(view, "web1", UP, Outcome("skipped")) == []
    ended = Outcome("ok", True, parts=[Part("ended", ["web-0"])])
    assert do(view, "web1", FINISH, ended) == ["web1: wave 1 of 2: drain and stop: web-0"]
    later = Outcome("ok", True, parts=[Part("services", ["db-1"])])
    assert do(view, "web1", UP, later) == ["web1: wave 2 of 2: start and gate: db-1"]

    view = begun("web1")
    failed = Outcome(
        "failed", reason="no answer", parts=[Part("services", ["web-1"])], at="portmaps", waves=2, begun=True
    )
    assert do(view, "web1", PLAN, failed) == [
        "web1: wave 1 of 2: start and gate: web-1",
        "web1: wave 1 of 2: cut over: failed: no answer",
    ]


def test_a_task_of_several_layers_fails_in_one() -> None:
    view = begun("web1")
    parts = [Part("services", ["web-1"]), Part("returns", ["web-1"])]
    failed = Outcome("failed", True, reason="verify of web: no answer", parts=parts, at="portmaps")
    assert do(view, "web1", UP, failed) == [
        "web1: start and gate: web-1",
        "web1: return: web-1",
        "web1: cut over: failed: verify of web: no answer",
    ]
    early = Outcome("failed", reason="host_lock: not to be had")
    assert do(view, "web1", UP, early) == ["web1: bring up: failed: host_lock: not to be had"]


def test_hosts_of_batches_that_did_not_begin() -> None:
    """The message why it stops is said by a host that is not begun."""
    view = begun("web1", "web2", sizes=[1, 1])
    do(view, "web1", GATE, Outcome("failed", reason="ill"))
    view.play("Deploy", ["web2"], ["web1", "web2"], [1, 1], 9)
    assert do(view, "web2", Task("Tell why", once=True), Outcome("ok", message="The rollout stops")) == [
        "batch 2 of 2: web2",
        "The rollout stops",
    ]
    assert texts(view.stats({"web1": Totals(1), "web2": Totals()}, 9)) == [
        "",
        "2 hosts: 1 failed, 1 not begun",
        "  web1  failed",
        "    start and gate: ill",
        "  web2  not begun",
    ]


def test_the_failure_of_a_check_beforehand_is_told() -> None:
    view = begun("a")
    assert do(view, "a", PLAN, Outcome("failed", reason="no such image")) == [
        "a: look, plan and begin: failed: no such image"
    ]
    assert view.hosts["a"].wave == 0


def test_check_mode() -> None:
    view = View(check=True)
    view.play("Deploy", ["a"], ["a"], [1], 0)
    assert texts(view.task()) == ["", "Deploy: 1 host (check mode: nothing is changed)"]
    do(view, "a", GATE, CHANGED)
    assert texts(view.stats({"a": Totals(changed=1)}, 1))[-1] == "  a  would change  1 change"


def test_other_plays() -> None:
    view = begun("a", "b")
    assert do(view, "a", OTHER, Outcome("ok")) == []
    assert do(view, "a", OTHER, Outcome("ok", True)) == ["a: Install: changed"]
    assert do(view, "a", OTHER, Outcome("ok", message="x\ny")) == ["a:", "x", "y"]
    assert do(view, "a", OTHER, Outcome("ok", message="x")) == ["a: x"]
    assert do(view, "b", OTHER, Outcome("ignored", reason="gone")) == ["b: Install: failed, ignored: gone"]
    assert do(view, "b", OTHER, Outcome("failed")) == ["b: Install: failed: no reason was given"]
    assert texts(view.stats({"a": Totals(changed=1), "b": Totals(rescued=1)}, 1)) == [
        "",
        "2 hosts: 1 changed, 1 unchanged",
        "  a  changed  1 change",
        "  b  unchanged",
    ]


def test_unchanged_tasks_are_told_where_that_is_asked_for() -> None:
    view = begun("a", unchanged=True)
    assert do(view, "a", OTHER, Outcome("ok")) == ["a: Install: unchanged"]


def test_live() -> None:
    hosts = [f"h{number}" for number in range(1, 8)]
    view = begun(*hosts, sizes=[6, 1])
    assert view.live(10) == []
    for host in hosts[:6]:
        view.begins(host, GATE, 1)
    assert texts(view.live(10))[:2] == ["[--------------------] 0 of 7 hosts, batch 1 of 2", "  h1: start and gate"]
    assert texts(view.live(4)) == [
        "[--------------------] 0 of 7 hosts, batch 1 of 2",
        "  h1: start and gate",
        "  h2: start and gate",
        "  and 4 more hosts",
    ]
    assert len(view.live(7)) == 7
    assert len(view.live(1)) == 1
    assert view.live(0) == []
    do(view, "h1", END, Outcome("ok"))
    assert "h1" not in "".join(texts(view.live(10)))


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", "c"]),
        st.sampled_from([GATE, PORTS, END, OTHER]),
        st.builds(
            Outcome,
            st.sampled_from(["ok", "failed", "ignored", "skipped", "unreachable"]),
            st.booleans(),
            st.text(max_size=9),
        ),
        st.integers(0, 15),
    ),
    max_size=30,
)


@given(EVENTS)
def test_whatever_happens(events: list[tuple[str, Task, Outcome, int]]) -> None:
    """Each host ends once, is in the recap once, and what is live has room."""
    view, ended = begun("a", "b", "c"), []
    for now, (host, task, outcome, height) in enumerate(events):
        lines = do(view, host, task, outcome, now)
        ended += [line.split(":")[0] for line in lines if " of 3 hosts" in line]
        assert len(view.live(height)) <= height
        assert not any(character in line for line in lines for character in "\x1b\r\n")
    recap = texts(view.stats({name: Totals() for name in "abc"}, 99))
    ended += [line.split(":")[0] for line in recap if "] " in line and " of 3 hosts" in line]
    assert len(ended) == len({*ended})
    assert [line[2] for line in recap[recap.index("") + 2 :] if line.startswith("  ") and line[2] != " "] == [
        "a",
        "b",
        "c",
    ]


def test_what_hosts_say_is_shown_and_not_obeyed() -> None:
    assert clean("a\x1b[2Jb\r\n\n\tc \u202e") == ["a?[2Jb", "    c ?"]
    assert clean("\n \n") == []


@given(st.text(), st.integers(0, 30))
def test_fit(text: str, width: int) -> None:
    text = Line(text).text
    found = fit(text, width)
    assert columns(found) <= width
    assert found == text or found == "" or found.endswith("…")


@given(st.integers(0, 100), st.integers(1, 100), st.integers(1, 40))
def test_gauge(done: int, of: int, width: int) -> None:
    found = gauge(done, of, width)
    assert len(found) == width + 2
    assert ("-" not in found) == (done >= of)


LINES = st.lists(st.text("abc d", min_size=1, max_size=50).map(lambda text: Line(text.strip() or "x")), max_size=5)


def rows(lines: t.Sequence[Line], width: int) -> list[str]:
    """What lines take on a terminal."""
    wrapped = [line.text[at : at + width] for line in lines for at in range(0, max(1, len(line.text)), width)]
    return [row.rstrip() for row in wrapped]


@given(st.lists(st.tuples(LINES, LINES, st.sampled_from(["", "", "warning\n"])), max_size=8), st.integers(8, 60))
def test_a_terminal_shows_what_stays_and_below_it_the_last_that_is_live(
    draws: list[tuple[list[Line], list[Line], str]], width: int
) -> None:
    """What others have written between stays, too."""
    drawn, stays, text, live = Screen(lambda line: line.text), [Line("before")], "before\n", [Line("")]
    for lines, live, other in draws:
        text += drawn.draw(lines, live, width)
        stays += lines
        region = [Line(""), *(Line(fit(line.text, width - 1)) for line in live)] if live else []
        assert [row.rstrip() for row in screen(text, width)] == rows([*stays, *region], width)
        if other:
            text += other
            stays.append(Line(other.strip()))
    text += drawn.draw([], [], width)
    assert [row.rstrip() for row in screen(text, width)] == rows(stays, width)


def test_a_host_says_where_it_is() -> None:
    assert Host("a", "cut over", 1, 3).place == "wave 1 of 3: cut over"
    assert Host("a", "cut over", 1, 1).place == "cut over"
