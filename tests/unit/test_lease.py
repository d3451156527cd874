# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who may deploy, and who is known to be gone."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import pathlib
import subprocess
import time
import typing as t
from multiprocessing.connection import Connection

import pytest
from ansible.errors import AnsibleActionFail

from ansible_collections.daemonless.isolation.plugins.module_utils._host import lease
from ansible_collections.daemonless.isolation.plugins.module_utils._host.lease import Lease, in_the_way, parse
from ansible_collections.daemonless.isolation.plugins.plugin_utils import _holders


@pytest.mark.parametrize(
    ("kept", "displaces", "expected"),
    [
        (None, None, False),
        (Lease("me", 200.0), None, False),
        (Lease("other", 200.0), None, True),
        (Lease("other", 100.0), None, False),
        (Lease("other", 200.0), "other", False),
        (Lease("third", 200.0), "other", True),
    ],
    ids=str,
)
def test_whose_turn_it_is(kept: Lease | None, displaces: str | None, expected: bool) -> None:
    assert in_the_way(kept, "me", displaces, 100.0) == (kept if expected else None)


@pytest.mark.parametrize(
    "text", [None, "", "{", "[]", "{}", '{"holder": "x"}', '{"holder": "x", "until": "soon"}', "null"]
)
def test_a_file_that_tells_of_nobody(text: str | None) -> None:
    assert parse(text) is None
    assert parse('{"holder": "x", "until": 7}') == Lease("x", 7.0)


@pytest.fixture
def path(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> pathlib.Path:
    """Where leases are kept."""
    monkeypatch.setattr(lease, "PATH", str(tmp_path / "lease.json"))
    monkeypatch.setattr(lease, "host_lock", lambda _seconds: contextlib.nullcontext())
    return tmp_path / "lease.json"


def test_one_machine_that_a_deployment_knows_by_two_names(path: pathlib.Path) -> None:
    """As one of them there is nothing to do: what is done as the other is not over by that."""
    assert lease.take("me", "web1", 60.0, None) is None
    assert lease.take("me", "web2", 60.0, None) is None
    lease.release("me", "web1")
    lease.check("me")
    lease.renew("me", "web2", 60.0)
    lease.release("me", "web1")
    lease.release("you", "web2")
    assert (parse(path.read_text()) or Lease("", 0)).hosts == ("web2",)
    lease.release("me", "web2")
    assert not path.exists()


def test_a_lease_that_another_has_is_not_renewed(path: pathlib.Path) -> None:
    with pytest.raises(lease.LeaseLost, match="other deployments have gone on with this host"):
        lease.renew("me", "web1", 60.0)
    assert lease.take("me", "web1", 60.0, None) is None
    lease.renew("me", "web1", 90.0)
    lease.check("me")
    assert lease.take("you", "web1", 60.0, None) == parse(path.read_text())
    assert lease.take("you", "web9", 60.0, "me") is None
    assert parse(path.read_text()) is not None
    assert json.loads(path.read_text())["hosts"] == ["web9"]
    with pytest.raises(lease.LeaseLost, match="another deployment, you, has gone on with this host"):
        lease.check("me")


def test_a_process_that_is_gone_is_known_to_be() -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        who = _holders.holder(process.pid)
        assert not _holders.is_gone(who)
        process.kill()
        process.wait()
    assert _holders.is_gone(who)
    assert not _holders.is_gone(_holders.holder(os.getpid()))


@pytest.mark.parametrize("who", ["", "somebody", "else/boot/pid:[1]/1/1", "a/b/c/1/", "/////"])
def test_of_others_nothing_is_known(who: str) -> None:
    assert not _holders.is_gone(who)


def test_a_number_that_another_process_has_got_is_not_that_process() -> None:
    who = _holders.holder(os.getpid())
    assert _holders.is_gone(who + "1")


FORK = multiprocessing.get_context("fork")


def _task(answers: Connection, play: int, ended: bool) -> None:
    """What a task of a play does, which may have ended before."""
    while ended and os.getppid() == play:
        time.sleep(0.01)
    try:
        answers.send(_holders.deployer())
    except AnsibleActionFail as error:
        answers.send(str(error))
    os._exit(0)


def _play(answers: Connection, ends: bool) -> None:
    task = FORK.Process(target=_task, args=(answers, os.getpid(), ends))
    task.start()
    if not ends:
        task.join()
    os._exit(0)


@pytest.mark.parametrize("ends", [False, True])
def test_a_task_deploys_for_its_play_and_for_nobody_once_that_has_ended(ends: bool) -> None:
    answers, end = FORK.Pipe()
    play = FORK.Process(target=_play, args=(end, ends))
    play.start()
    answer = answers.recv()
    play.join()
    if ends:
        assert answer == f"the deployment of process {play.pid} has ended: nothing more is done for it"
    else:
        assert f"/{play.pid}/" in answer
        assert _holders.is_gone(answer)


def waits(held_by: str | None) -> tuple[list[dict[str, t.Any]], list[str]]:
    """What is asked for a lease that somebody has, if anybody, and what is told meanwhile."""
    asked: list[dict[str, t.Any]] = []
    told: list[str] = []

    def execute(lease: dict[str, t.Any]) -> dict[str, t.Any]:
        asked.append(lease)
        return {"held_by": held_by} if held_by and len(asked) == 1 else {"waited": 0.0}

    assert _holders.patiently(execute, {"ttl": "1m", "wait": "30m"}, "web1", told.append) == {"waited": 0.0}
    return asked, told


def test_who_waits_is_told_and_who_is_gone_is_not_waited_for() -> None:
    me = _holders.holder(os.getpid())
    first = {"holder": me, "host": "web1", "ttl": "1m", "wait": "0s"}
    assert waits(None) == ([first], [])
    assert waits("elsewhere") == (
        [first, {**first, "wait": "30m"}],
        ["another deployment is at work; waiting for it"],
    )
    gone = _holders.holder(os.getpid()) + "1"
    assert waits(gone) == ([first, {**first, "wait": "30m", "displaces": gone}], [])
