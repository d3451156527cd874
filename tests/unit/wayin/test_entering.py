# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Command lines that lead into services, and what is made of their answers."""

from __future__ import annotations

import os
import pathlib
import shlex
import subprocess
import tempfile
import typing as t

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.daemonless.isolation.plugins.plugin_utils import _entering as entering

NAMES = st.text(st.characters(blacklist_characters="\0/", blacklist_categories=["Cs"]), min_size=1, max_size=12)


@given(st.lists(NAMES, min_size=1, max_size=4))
def test_a_command_arrives_as_it_was(command: list[str]) -> None:
    line = entering.command_line("web", command, user="1:2", become=["sudo", "-n"])
    assert shlex.split(line)[4:] == ["sudo", "-n", entering.ENTER, "exec", "--user", "1:2", "web", "--", *command]


@pytest.mark.parametrize(("own", "told"), [(0, 0), (7, 7), (125, 125), (254, 254), (255, 254)])
def test_exit_statuses(own: int, told: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entering, "ENTER", "/usr/bin/env")
    line = entering.command_line("web", [], become=["/bin/sh", "-c", f"exit {own}"])
    assert subprocess.run(["/bin/sh", "-c", line], check=False).returncode == told


@given(NAMES, st.binary(max_size=50))
@settings(deadline=None)
def test_files_have_the_names_that_were_meant(name: str, content: bytes) -> None:
    """Whatever a name is made of, a shell writes and reads the file of that name."""
    if name in (".", ".."):
        return
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, name)
        write = entering.write(path, 0, empty=not content)
        subprocess.run(["/bin/sh", "-c", write], input=content, check=True)
        assert os.listdir(os.fsencode(folder)) == [os.fsencode(name)]
        done = subprocess.run(["/bin/sh", "-c", entering.read(path, 0)], stdout=subprocess.PIPE, check=True)
        assert done.stdout == content
        past = subprocess.run(["/bin/sh", "-c", entering.read(path, 1)], stdout=subprocess.PIPE, check=True)
        assert past.stdout == b""


def test_a_block_that_is_sent_twice_is_there_once(tmp_path: pathlib.Path) -> None:
    """ssh repeats a command after a lost connection, if it is told to."""
    path = str(tmp_path / "it's -n")
    blocks = [os.urandom(entering.BLOCK), os.urandom(entering.BLOCK), b"end"]
    for number, block in enumerate(blocks):
        for _again in range(2):
            script = ["/bin/sh", "-c", entering.write(path, number)]
            subprocess.run(script, input=block, check=True, stderr=subprocess.DEVNULL)
    assert pathlib.Path(path).read_bytes() == b"".join(blocks)


def test_nothing_is_waited_for_where_there_is_no_data(tmp_path: pathlib.Path) -> None:
    """For a command without data, ssh leaves the input open."""
    (tmp_path / "file").write_text("before")
    with subprocess.Popen(
        ["/bin/sh", "-c", entering.write(str(tmp_path / "file"), 0, empty=True)], stdin=subprocess.PIPE
    ) as writer:
        assert writer.wait(timeout=10) == 0
    assert (tmp_path / "file").read_bytes() == b""


def test_a_file_that_is_not_there_is_told() -> None:
    done = subprocess.run(["/bin/sh", "-c", entering.read("/no where", 0)], capture_output=True, check=False)
    assert done.returncode == 1
    assert b"/no where" in done.stderr


@pytest.mark.parametrize(
    ("status", "errors", "message"),
    [
        (0, "", None),
        (1, "enter: no", None),
        (125, "docker: no", None),
        (125, "Warning: key\nenter: service web does not run: start it\n", "service web does not run: start it"),
        (127, f"bash: line 1: {entering.ENTER}: No such file or directory", "its host has no "),
        (126, f"bash: line 1: {entering.ENTER}: Permission denied", "its host has no "),
        (127, "sh: 1: nothing: not found", None),
        (255, "executable file `/bin/sh` not found in $PATH: No such file or directory", "there is no /bin/sh in its root"),
        (255, 'exec: "/bin/sh": executable file "/bin/sh" not found', "there is no /bin/sh in its root"),
    ],
)  # fmt: skip
def test_what_answers_mean(status: int, errors: str, message: t.Optional[str]) -> None:
    found = entering.trouble("web", "/bin/sh", status, errors)
    assert found is None if message is None else found is not None and message in found


FOUND: dict[str, t.Any] = {"name": "web-1", "service": "web", "project": "default", "addresses": [], "slice": None}


@pytest.mark.parametrize(
    ("own", "expected", "missing"),
    [
        ({}, {"ansible_host": "alpha", "ansible_isolation_connection": "ssh"}, "ansible_isolation_become"),
        ({"ansible_connection": "local", "ansible_become": False}, {"ansible_isolation_connection": "local"}, "ansible_isolation_become"),
        ({"ansible_host": "192.0.2.1", "ansible_port": 2222}, {"ansible_host": "192.0.2.1", "ansible_port": 2222}, "ansible_become"),
        ({"ansible_become": True, "ansible_python_interpreter": "/opt/python"}, {"ansible_isolation_become": True}, "ansible_python_interpreter"),
    ],
)  # fmt: skip
def test_variables_of_a_service(own: dict[str, t.Any], expected: dict[str, t.Any], missing: str) -> None:
    made = entering.variables("alpha", FOUND, own)
    assert {key: made[key] for key in expected} == expected
    assert missing not in made
    assert made["ansible_connection"] == "daemonless.isolation.service"
    assert made["ansible_isolation_service"] == "web-1"
