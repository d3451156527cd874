# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The runner's contract, with a small layer of real files: a note is a file with a text and a mode."""

from __future__ import annotations

import fcntl
import json
import os
import pathlib
import threading
import typing as t
from dataclasses import dataclass, field

import pytest
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.testing import patch_module_args

from ansible_collections.daemonless.isolation.plugins.module_utils import _paths, _runner
from ansible_collections.daemonless.isolation.plugins.module_utils._errors import InvalidOption, IsolationError
from ansible_collections.daemonless.isolation.plugins.module_utils._host.files import RemoveFile, WriteFile
from ansible_collections.daemonless.isolation.plugins.module_utils._plan import Change, Plan, Step, TaskPlan, compare


@dataclass(frozen=True)
class Note:
    """What is asked for."""

    name: str
    text: str
    state: str


@dataclass(frozen=True)
class Refuse:
    """Step: the host says no."""

    def run(self) -> None:
        """Say no."""
        raise IsolationError("write: no space left on device: make room")


@dataclass(frozen=True)
class Meet:
    """Step: wait until three are waiting, and tell of it. `lonely` fails then."""

    lonely: bool
    everybody: t.ClassVar[threading.Barrier]
    waits: t.ClassVar[bool] = True
    told: dict[str, str] = field(default_factory=dict)

    def run(self) -> None:
        """Wait."""
        self.everybody.wait(10)
        if self.lonely:
            raise IsolationError("meet: it went home")
        self.told["met"] = "all"


class NoteLayer(_runner.Layer[Note, t.Dict[str, str]]):
    """Notes in one folder. The text `refuse` can't be written, `ignore` is silently not written."""

    kind = "note"
    folder: t.ClassVar[pathlib.Path]
    options: t.ClassVar[t.Dict[str, t.Any]] = {
        "name": {"type": "str"},
        "text": {"type": "str", "default": "empty"},
        "from": {"type": "dict", "options": {"user": {"type": "str"}, "password": {"type": "str", "no_log": True}}},
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    }
    rules: t.ClassVar[t.Dict[str, t.Any]] = {"required_if": [("state", "present", ["text"])]}

    def parse(self, options: _runner.Options, request: _runner.Request) -> Note:
        if options["text"] == "bad":
            raise InvalidOption("text: 'bad' is not a text")
        return Note(options["name"], options["text"], options["state"])

    def observe(self, specs: t.Sequence[Note], request: _runner.Request) -> dict[str, str]:
        return {path.name: path.read_text() for path in self.folder.iterdir()}

    def plan(self, specs: t.Sequence[Note], world: dict[str, str], request: _runner.Request) -> TaskPlan:
        return TaskPlan(tuple(self._plan(spec, world.get(spec.name)) for spec in specs))

    def _plan(self, spec: Note, text: str | None) -> Plan:
        path = str(self.folder / spec.name)
        wanted = spec.text if spec.state == "present" else None
        changes = compare({"text": text}, {"text": wanted})
        step: Step = RemoveFile(path) if wanted is None else WriteFile(path, wanted)
        if wanted == "refuse":
            step = Refuse()
        if wanted == "ignore":
            step = WriteFile(path, "something else")
        undo = (RemoveFile(path + ".claim"),) if text is None else ()
        claim = (WriteFile(path + ".claim", "claimed"),) if wanted == "refuse" else ()
        steps = (step,) if changes else ()
        recall = (RemoveFile(path),) if spec.name == "beside" else ()
        finish = (Meet(wanted == "lonely"),) if changes and wanted in ("meet", "lonely") else ()
        return Plan(
            spec.name,
            changes,
            claim,
            steps,
            finish,
            undo=undo,
            recall=recall,
            result={"name": spec.name, "text": wanted},
        )


Run = t.Callable[..., t.Dict[str, t.Any]]


@pytest.fixture
def run(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the module with arguments; returns its result."""
    NoteLayer.folder = tmp_path / "notes"
    NoteLayer.folder.mkdir()
    monkeypatch.setattr(_paths, "LOCK", str(tmp_path / "run" / "lock"))

    def call(**args: t.Any) -> dict[str, t.Any]:
        with patch_module_args(args), pytest.raises(SystemExit):
            _runner.run_module(NoteLayer())
        return json.loads(capsys.readouterr().out)  # type: ignore[no-any-return]

    return call


def notes() -> dict[str, str]:
    return {path.name: path.read_text() for path in NoteLayer.folder.iterdir()}


def test_applies_once(run: Run) -> None:
    first = run(name="a", text="hello")
    assert first["changed"]
    assert first["note"] == {"name": "a", "text": "hello"}
    assert first["diff"] == [
        {"before_header": "note a", "after_header": "note a", "before": "", "after": "text: hello\n"}
    ]
    second = run(name="a", text="hello")
    assert not second["changed"]
    assert second["diff"] == []
    assert notes() == {"a": "hello"}


def test_check_mode_predicts_and_touches_nothing(run: Run, tmp_path: pathlib.Path) -> None:
    predicted = run(name="a", text="hello", _ansible_check_mode=True)
    assert notes() == {}
    assert not (tmp_path / "run").exists()
    applied = run(name="a", text="hello")
    assert {key: predicted[key] for key in ("changed", "diff", "note")} == {
        key: applied[key] for key in ("changed", "diff", "note")
    }


def test_aggregate_element_over_beside_over_default(run: Run) -> None:
    run(text="beside", aggregate=[{"name": "a", "text": "own"}, {"name": "b"}])
    run(aggregate=[{"name": "c"}])
    assert notes() == {"a": "own", "b": "beside", "c": "empty"}


@pytest.mark.parametrize("key", ["password", "pasword"])
@pytest.mark.parametrize("aggregate", [True, False])
def test_a_password_is_shown_nowhere(run: Run, key: str, aggregate: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    logged: list[str] = []
    monkeypatch.setattr(AnsibleModule, "log", lambda self, msg, log_args=None: logged.append(f"{msg} {log_args}"))
    element = {"name": "a", "text": "one", "from": {"user": "root", key: "canary-4711"}}
    result = run(aggregate=[element]) if aggregate else run(**element)
    assert result.get("failed", False) is (key == "pasword")
    assert logged or (result["failed"] and not aggregate)  # AnsibleModule refuses before it logs
    assert "canary" not in json.dumps([result, logged])
    assert "pasword" in json.dumps(result) or key == "password"


def test_state_beside_aggregate_holds_for_all(run: Run) -> None:
    run(aggregate=[{"name": "a"}, {"name": "b"}])
    assert run(state="absent", aggregate=[{"name": "a"}, {"name": "b"}])["changed"]
    assert notes() == {}


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({}, "one of the following is required: name, aggregate"),
        ({"name": "a", "aggregate": []}, "mutually exclusive"),
        ({"aggregate": [{"text": "x"}]}, "every element needs a name"),
        ({"aggregate": [{"name": "a"}, {"name": "a"}]}, "a is given more than once"),
        ({"aggregate": [{"name": "a", "txt": "x"}]}, "aggregate element a: unsupported options: txt"),
        ({"aggregate": [{"name": "ok"}, {"name": "b", "text": "bad"}]}, "'bad' is not a text"),
        ({"aggregate": [{"name": "ok"}, {"name": "b", "state": "gone"}]}, "value of state must be one of"),
        ({"name": "a", "project": "No Good"}, "project: 'No Good' is not a valid name"),
    ],
)
def test_bad_input_fails_before_anything_is_changed(run: Run, args: dict[str, t.Any], message: str) -> None:
    for check in (False, True):
        result = run(**args, _ansible_check_mode=check)
        assert result["failed"]
        assert message in result["msg"]
    assert notes() == {}


def test_one_failure_does_not_stop_the_others(run: Run) -> None:
    result = run(aggregate=[{"name": "a", "text": "refuse"}, {"name": "b"}])
    assert result["failed"]
    assert "note a: write: no space left on device: make room" in result["msg"]
    assert [(entry["name"], entry["failed"]) for entry in result["results"]] == [("a", True), ("b", False)]
    assert notes() == {"b": "empty"}


def test_a_failed_element_gives_back_what_it_has_claimed(run: Run) -> None:
    assert run(name="a", text="refuse")["failed"]
    assert notes() == {}
    run(name="a", text="old")
    assert run(name="a", text="refuse")["failed"]
    assert notes() == {"a": "old", "a.claim": "claimed"}, "what was there before is not taken back"


def test_on_error_stop(run: Run) -> None:
    result = run(on_error="stop", aggregate=[{"name": "a", "text": "refuse"}, {"name": "b"}])
    assert [entry["failed"] for entry in result["results"]] == [True, True]
    assert "not carried out" in result["results"][1]["msg"]
    assert notes() == {}


def test_what_only_waits_does_so_at_the_same_time(run: Run) -> None:
    Meet.everybody = threading.Barrier(3)
    texts = {"a": "meet", "b": "lonely", "c": "refuse", "d": "meet"}
    result = run(aggregate=[{"name": name, "text": text} for name, text in texts.items()])
    assert [entry["failed"] for entry in result["results"]] == [False, True, True, False]
    assert result["results"][1]["msg"] == "meet: it went home"
    assert [entry["note"].get("met") for entry in result["results"]] == ["all", None, None, "all"]


def test_on_error_stop_waits_for_one_after_the_other(run: Run) -> None:
    Meet.everybody = threading.Barrier(1)
    texts = {"a": "meet", "b": "lonely", "c": "meet"}
    result = run(on_error="stop", aggregate=[{"name": name, "text": text} for name, text in texts.items()])
    assert [entry.get("msg", "")[:15] for entry in result["results"]] == ["", "meet: it went h", "not carried out"]


def test_what_does_not_take_effect_is_a_failure(run: Run) -> None:
    result = run(name="a", text="ignore")
    assert result["failed"]
    assert "the host still differs: text is something else, not ignore" in result["msg"]


def test_what_does_not_take_effect_beside_something_else_goes(run: Run) -> None:
    assert run(aggregate=[{"name": "beside", "text": "ignore"}, {"name": "a", "text": "ignore"}])["failed"]
    assert notes() == {"a": "something else"}
    assert run(name="beside", text="new")["changed"]
    assert notes()["beside"] == "new"


def test_lock_held_by_another_run(run: Run, tmp_path: pathlib.Path) -> None:
    (tmp_path / "run").mkdir()
    descriptor = os.open(tmp_path / "run" / "lock", os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        os.write(descriptor, b"4711\n")
        result = run(name="a", lock_timeout=0)
        assert result["failed"]
        assert "process 4711" in result["msg"]
        assert not run(name="a", state="absent", lock_timeout=0)["changed"], "no change needs no lock"
    finally:
        os.close(descriptor)
    assert run(name="a", lock_timeout=0)["changed"]


def test_long_diffs_are_capped_and_counted() -> None:
    plan = Plan("many", tuple(Change(f"key{number}", None, number) for number in range(_runner.DIFF_LINES + 5)))
    lines = _runner.make_diff("note", plan)["after"].splitlines()
    assert len(lines) == _runner.DIFF_LINES + 1
    assert lines[-1] == "… and 5 more"
