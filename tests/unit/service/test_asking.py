# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Services are asked by a request, a connection or a command, many at the same time."""

from __future__ import annotations

import contextlib
import pathlib
import socket
import threading
import time

import pytest

from ansible_collections.daemonless.isolation.plugins.module_utils._host.helpers import asking

STATUSES: list[tuple[bytes, int | None]] = [
    (b"", None), (b"HTTP", None), (b"HTTP/1.1 200 OK", None), (b"HTTP/1.1 200 OK\r\n", 200), (b"HTTP/1.0 404\n", 404),
    (b"HTTP/1.1 103 Early\r\nLink: a\r\n", None), (b"HTTP/1.1 100 Go on\r\n\r\n", None),
    (b"HTTP/1.1 100 Go on\r\n\r\nHTTP/1.1 204 No\r\n", 204), (b"HTTP/1.1 101 Other\r\n", 101),
    (b"SSH-2.0-x\r\n", 0), (b"SSH-2.0", 0), (b"HTTP/1.1 2x0 OK\r\n", 0), (b"HTTP/1.1\r\n", 0), (b"\n", 0),
]  # fmt: skip


@pytest.mark.parametrize(("answer", "status"), STATUSES)
def test_status(answer: bytes, status: int | None) -> None:
    assert asking.status_of(answer)[0] == status


def serve(answer: bytes | None, pause: float = 0) -> int:
    """A server for one connection; returns its port. Without an answer it only accepts."""
    server = socket.create_server(("127.0.0.1", 0))

    def talk() -> None:
        connection, _address = server.accept()
        if answer is not None:
            connection.recv(4096)
            time.sleep(pause)
            with contextlib.suppress(OSError):  # whoever asks has heard enough after the first line
                for index in range(len(answer)):
                    connection.sendall(answer[index : index + 1])
        connection.close()
        server.close()

    threading.Thread(target=talk, daemon=True).start()
    return server.getsockname()[1]  # type: ignore[no-any-return]


def check(kind: str, port: int, name: str = "web", timeout: float = 2) -> asking.Check:
    return asking.Check(name, kind, timeout, "127.0.0.1", port, "/x")


@pytest.mark.parametrize(
    ("answer", "wrong"),
    [
        (b"HTTP/1.1 204 Nothing\r\n\r\n", None), (b"HTTP/1.1 302 There\r\n\r\n", None), (b"HTTP/1.1 500 No\r\n\r\n", "status 500"),
        (b"220 mail\r\n", "no HTTP"), (b"", "no answer"), (b"HTTP/1.1 2", "no whole answer"),
    ],
)  # fmt: skip
def test_http(answer: bytes, wrong: str | None) -> None:
    port = serve(answer)
    said = asking.ask_one(check("http", port))
    assert (said is None) == (wrong is None)
    assert wrong is None or (said or "").startswith(f"GET http://127.0.0.1:{port}/x: ")
    assert (wrong or "") in (said or "")


def test_tcp_and_nobody() -> None:
    port = serve(None)
    assert asking.ask_one(check("tcp", port)) is None
    with socket.create_server(("127.0.0.1", 0)) as server:
        nobody = server.getsockname()[1]
    assert "refused" in (asking.ask_one(check("tcp", nobody)) or "")


def test_not_all_commands_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    """A command takes the machine's time: many at once would keep each other from ending in time. Each has its own time from its begin."""
    program = tmp_path / "enter"
    program.write_text("#!/bin/sh\nsleep 0.3\n")
    program.chmod(0o755)
    monkeypatch.setattr(asking, "ENTER", str(program))
    monkeypatch.setattr(asking, "COMMANDS", 2)
    asker, found = asking.Asker(), []
    for index in range(5):
        asker.ask(asking.Check(f"web{index}", "exec", 0.8, command=("true",)))
    assert len(asker.names) == 5
    assert len(asker.running) == 2
    while asker.names:
        found += asker.wait(5)
        assert len(asker.running) <= 2
    assert [answer.wrong for answer in found] == [""] * 5
    assert all(answer.seconds < 0.8 for answer in found)


def test_at_the_same_time() -> None:
    """One that is slow holds up no other, and is given up at its own time."""
    asker, found, begin = asking.Asker(), {}, time.monotonic()
    asker.ask(check("http", serve(b"HTTP/1.1 200 OK\r\n", 30), "slow", 0.6))
    for index in range(20):
        asker.ask(check("http", serve(b"HTTP/1.1 200 OK\r\n", 0.1), f"web{index}"))
    while asker.names:
        for answer in asker.wait(5):
            found[answer.name] = answer
    assert found["slow"].wrong.endswith("no answer within 0.6 s")
    assert all(found[f"web{index}"].wrong == "" and found[f"web{index}"].seconds < 0.5 for index in range(20))
    assert time.monotonic() - begin < 2
