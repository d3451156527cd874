# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Variables from files: how lines are read, who wins, what is refused, and that no value is told."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import typing as t

import pytest

from ansible_collections.daemonless.isolation.plugins.module_utils._errors import InvalidOption, IsolationError
from ansible_collections.daemonless.isolation.plugins.module_utils._hidden import Hidden
from ansible_collections.daemonless.isolation.plugins.module_utils._host import environment as host
from ansible_collections.daemonless.isolation.plugins.module_utils._host.environment import EnvironmentFile
from ansible_collections.daemonless.isolation.plugins.module_utils._host.records import SaveRecord
from ansible_collections.daemonless.isolation.plugins.module_utils._plan import Plan
from ansible_collections.daemonless.isolation.plugins.module_utils._service.environment import with_files
from ansible_collections.daemonless.isolation.plugins.module_utils._service.listing import asked
from ansible_collections.daemonless.isolation.plugins.module_utils._service.parse import DEFAULT_PATH
from ansible_collections.daemonless.isolation.plugins.module_utils._service.spec import Secret, ServiceSpec
from ansible_collections.daemonless.isolation.plugins.module_utils._service.state import World
from ansible_collections.daemonless.isolation.tests.unit.service.test_bundle import config
from ansible_collections.daemonless.isolation.tests.unit.service.test_plan import bare, one, settled, spec


def files(**content: str | bytes) -> dict[str, EnvironmentFile]:
    """Files of /e, by name."""
    return {
        f"/e/{name}": EnvironmentFile(text if isinstance(text, bytes) else text.encode())
        for name, text in content.items()
    }


def read(given: dict[str, EnvironmentFile], **options: t.Any) -> ServiceSpec:
    return with_files(spec(env_files=list(given), **options), given)


def having(world: World, **content: str) -> World:
    return dataclasses.replace(world, env_files=files(**content))


def record(planned: Plan) -> t.Any:
    return next(step.record for step in planned.steps if isinstance(step, SaveRecord))


def test_lines_are_read_as_docker_reads_them() -> None:
    text = "# a comment\n\n   \nA=1\n  B = 2 \nC=\nD=\"x\" y='z'\nE=a=b#c\\n\nF=1\r\nA=last"
    with pytest.raises(IsolationError, match="line 5: is not NAME=VALUE"):
        read(files(one=text))
    found = read(files(one=text.replace("B = 2 ", "B= 2 "))).variables
    assert found == {
        "A": "last", "B": " 2 ", "C": "", "D": "\"x\" y='z'", "E": "a=b#c\\n", "F": "1", "PATH": DEFAULT_PATH,
    }  # fmt: skip


def test_who_wins() -> None:
    given = files(one="A=1\nB=1\nC=1\nPATH=/one", two="B=2\nC=2")
    found = read(given, environment={"C": "3"})
    assert found.variables == {"A": "1", "B": "2", "C": "3", "PATH": "/one"}
    assert found.path == ("/one",), "the command is looked for there"
    assert config(found)["process"]["env"] == ["A=1", "B=2", "C=3", "PATH=/one"]
    assert read(given, environment={"PATH": "/own"}).path == ("/own",)
    assert read(files(two="B=2\nC=2", one="A=1\nB=1\nC=1")).variables["B"] == "1"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("NAME canary", "is not NAME=VALUE"),
        ("NAME", "is not NAME=VALUE"),
        ("=canary", "is not NAME=VALUE"),
        ("export A=canary", "is not NAME=VALUE"),
        ("A =canary", "is not NAME=VALUE"),
        ("9A=canary", "is not NAME=VALUE"),
        ("A=canary\0", "is not NAME=VALUE"),
        (b"A=canary\xff", "is not UTF-8"),
        ("DB_PASSWORD=canary", "DB_PASSWORD looks like a secret"),
        ("A=ghp_" + "canary" * 6, "A looks like a secret"),
    ],
)
def test_bad_lines_are_told_by_number_and_not_by_value(line: str | bytes, message: str) -> None:
    text = line if isinstance(line, bytes) else line.encode()
    with pytest.raises(IsolationError) as refusal:
        read(files(one=b"# first\n" + text + b"\nB=2"))
    assert str(refusal.value).startswith(f"service web: env_files: /e/one: line 2: {message}")
    assert "canary" not in str(refusal.value)


def test_secrets_are_taken_where_that_is_wanted() -> None:
    found = read(files(one="DB_PASSWORD=canary"), allow_secrets_in_environment=True)
    assert found.variables["DB_PASSWORD"] == "canary"
    assert "canary" not in repr(found)


def test_the_value_of_a_secret_of_the_task_is_refused() -> None:
    asked_for = spec(env_files=["/e/one"])
    hidden = dataclasses.replace(asked_for, secrets=(Secret("db", "db", value=Hidden(b"canary-canary")),))
    with pytest.raises(IsolationError, match="line 1: DSN has the value of secret db in it") as refusal:
        with_files(hidden, files(one="DSN=pg://u:canary-canary@h"))
    assert "canary" not in str(refusal.value)


def test_a_file_that_can_not_be_read_is_refused() -> None:
    with pytest.raises(IsolationError, match="web: env_files: /e/one: No such file or directory: it is read on the"):
        one(
            spec(env_files=["/e/one"]),
            dataclasses.replace(bare("web"), env_files={"/e/one": EnvironmentFile(error="No such file or directory")}),
        )


@pytest.mark.parametrize("given", [["e"], ["/e/../f"], ["/e/one", "/e//one"]])
def test_paths_that_can_not_be_meant(given: list[str]) -> None:
    with pytest.raises(InvalidOption, match="web: env_files: "):
        spec(env_files=given)


def test_what_is_kept_and_told_has_no_value() -> None:
    asked_for = spec(env_files=["/e/one"])
    planned = one(asked_for, having(bare("web"), one="A=canary"))
    kept = record(planned)
    assert kept.spec["env_files"] == ["/e/one"]
    assert set(kept.assigned["env_files"]) == {"/e/one"}
    assert "canary" not in kept.text() + str(planned.changes) + str(asked(kept.spec))
    assert asked(kept.spec)["env_files"] == ["/e/one"]
    (bundle,) = [step for step in planned.prepare if getattr(step, "path", "").endswith("config.json")]
    assert "A=canary" in json.loads(bundle.text)["process"]["env"]  # type: ignore[attr-defined]


def test_changed_content_restarts_and_names_the_file() -> None:
    asked_for = spec(env_files=["/e/one", "/e/two"], environment={"C": "3"})
    before = settled(asked_for, env_files=files(one="A=1\nB=1\nC=1", two="B=2"))
    assert not one(asked_for, before).changed
    assert not one(asked_for, having(before, one="# of no account\nA=1\n\nB=7\nC=9", two="B=2")).changed, (
        "no other value"
    )
    changed = one(asked_for, having(before, one="A=canary\nB=1\nC=1", two="B=2"))
    assert [(change.key, change.effect) for change in changed.changes] == [("env_files /e/one", "restart")]
    assert "canary" not in str(changed.changes)
    assert changed.effect == "restart"
    assert not one(asked_for, having(settled(asked_for, env_files=files(one="A=1", two="")), one="A=1", two="")).changed


def test_another_list_restarts() -> None:
    world = having(settled(spec()), one="A=1")
    changed = one(spec(env_files=["/e/one"]), world)
    assert [(change.key, change.after, change.effect) for change in changed.changes] == [
        ("env_files", ["/e/one"], "restart")
    ]
    assert "env_files" not in {change.key for change in one(spec(), bare("web")).changes}


def test_the_host_s_files(tmp_path: pathlib.Path) -> None:
    good, big, pipe = (str(tmp_path / name) for name in ("good", "big", "pipe"))
    pathlib.Path(good).write_bytes(b"A=1\r\n")
    pathlib.Path(big).write_bytes(b"A" * (host.MOST + 1))
    os.mkfifo(pipe)
    found = host.read([good, big, pipe, str(tmp_path), str(tmp_path / "nosuch")])
    assert found[good] == EnvironmentFile(b"A=1\r\n")
    assert [found[path].error for path in found if path != good] == [
        "longer than 1 MiB",
        "not a regular file",
        "not a regular file",
        "No such file or directory",
    ]
