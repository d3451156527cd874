# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ask services whether they are well: an HTTP request, a TCP connection, or a command in them. Many at the same time, each with its
own deadline, in one thread.

The gate of a start and the periodic check ask by the same words. No http.client: loading it takes longer than asking fifty services.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
import socket
import time
import typing as t

__all__ = ["Answer", "Asker", "Check", "ask_one", "check_of", "status_of"]

ENTER = "/usr/local/libexec/isolation/enter"
_REFUSED = 125
"""What the helper exits with if nothing could be executed."""
_LONGEST = 65536
"""Bytes of an HTTP answer in which its status must be."""
COMMANDS = max(8, 4 * len(os.sched_getaffinity(0)))
"""Commands that run at the same time: each takes the machine's time, so that all of a host would keep each other from ending in time."""
_SHOWN = 200
"""Characters of a command's output that are shown."""


class Check(t.NamedTuple):
    """How to ask a service: `kind` is http, tcp or exec; `timeout` in seconds; `shown` the characters of a command's output that are told."""

    name: str
    kind: str
    timeout: float
    address: str = ""
    port: int = 0
    path: str = "/"
    command: tuple[str, ...] = ()
    shown: int = _SHOWN


def check_of(name: str, health: t.Mapping[str, t.Any], address: str | None) -> Check:
    """The check that the recorded option `health` of a service stands for."""
    return Check(
        name,
        health["kind"],
        float(health["timeout"]),
        address or "",
        health.get("port") or 0,
        health.get("path") or "/",
        tuple(health.get("command") or ()),
    )


def status_of(answer: bytes) -> tuple[int | None, bytes]:
    """The status of an HTTP answer as far as it has come, and what is left of it; None if more is needed, 0 if it is no HTTP. Pure.

    An interim answer (1xx) is passed over (RFC 9110, section 15.2).
    """
    while True:
        line, end, rest = answer.partition(b"\n")
        if not end:
            return (None if b"HTTP/1."[: len(line)] == line[:7] and len(line) < _LONGEST else 0), answer
        words = line.split(None, 2)
        if len(words) < 2 or not words[0].startswith(b"HTTP/1.") or len(words[1]) != 3 or not words[1].isdigit():
            return 0, answer
        code = int(words[1])
        if code >= 200 or code == 101:
            return code, answer
        _head, end, after = (b"\n" + rest.replace(b"\r\n", b"\n")).partition(b"\n\n")
        if not end:
            return None, answer
        answer = after


class _Talk:
    """A connection to a service. `answer` is None until it is known; then empty if the service is well, else what is wrong."""

    def __init__(self, check: Check) -> None:
        self.check = check
        self.answer: str | None = None
        self.asked = True
        self._got = b""
        self._asked = False
        shown = f"[{check.address}]" if ":" in check.address else check.address
        self._what = (
            f"GET http://{shown}:{check.port}{check.path}"
            if check.kind == "http"
            else f"connecting to {check.address} port {check.port}"
        )
        family = socket.AF_INET6 if ":" in check.address else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            code = self._socket.connect_ex((check.address, check.port))
        except OSError as error:
            code = error.errno or errno.EINVAL
        if code not in (0, errno.EINPROGRESS):
            self._fail(os.strerror(code))

    def _fail(self, reason: str) -> None:
        self.answer = f"{self._what}: {reason}"

    def descriptors(self) -> list[tuple[int, int]]:
        """What to wait for."""
        return [(self._socket.fileno(), select.POLLIN if self._asked else select.POLLOUT)]

    def go_on(self) -> None:
        """Do what can be done now."""
        try:
            if self._asked:
                self._receive()
                return
            code = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code:
                self._fail(os.strerror(code))
            elif self.check.kind == "tcp":
                self.answer = ""
            else:
                self._socket.sendall(self._request())
                self._asked = True
        except BlockingIOError:
            return
        except OSError as error:
            self._fail(str(error.strerror or error))

    def _request(self) -> bytes:
        check = self.check
        shown = f"[{check.address}]" if ":" in check.address else check.address
        host = shown if check.port == 80 else f"{shown}:{check.port}"
        return (
            f"GET {check.path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: isolation-health\r\nAccept: */*\r\nConnection: close\r\n\r\n"
        ).encode("utf-8", "surrogateescape")

    def _receive(self) -> None:
        more = self._socket.recv(4096)
        self._got += more
        code, self._got = status_of(self._got)
        if code is None:
            if not more or len(self._got) > _LONGEST:
                self._fail("no answer" if not self._got else "no whole answer")
        elif code == 0:
            self._fail("the answer is no HTTP")
        elif 200 <= code < 400:
            self.answer = ""
        else:
            self._fail(f"status {code}")

    def give_up(self) -> None:
        """The time is over."""
        self._fail(f"no answer within {self.check.timeout:g} s")

    def close(self) -> None:
        """Leave nothing behind."""
        self._socket.close()


def _descendants(pid: int) -> list[int]:
    """All that a process has started and that started from there, the youngest first."""
    parents: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        with contextlib.suppress(OSError, ValueError), open(f"/proc/{int(entry)}/stat", "rb") as stream:
            parents.setdefault(int(stream.read().rpartition(b")")[2].split()[1]), []).append(int(entry))
    found = [pid]
    for one in found:
        found += parents.get(one, [])
    return found[:0:-1]


class _Command:
    """A command that runs in a service. Its exit status tells: 0 is well."""

    def __init__(self, check: Check) -> None:
        import subprocess  # here, as most hosts have no such check

        self.check = check
        self.answer: str | None = None
        self.asked = True
        self._output = b""
        self._what = "exec " + " ".join(check.command)
        self._process: subprocess.Popen[bytes] | None = None
        self._ended = -1
        try:
            self._process = subprocess.Popen(
                [ENTER, "exec", check.name, "--", *check.command],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                cwd="/",
            )
            self._ended = os.pidfd_open(self._process.pid)
            os.set_blocking(self._pipe(), False)
        except OSError as error:
            self.answer, self.asked = f"{self._what}: {error}", False

    def _pipe(self) -> int:
        return self._process.stdout.fileno() if self._process and self._process.stdout else -1

    def descriptors(self) -> list[tuple[int, int]]:
        """What to wait for: its end, and its output, of which a full pipe would stop it."""
        found = [(self._ended, select.POLLIN)]
        return found if self._pipe() < 0 else [*found, (self._pipe(), select.POLLIN)]

    def _read(self) -> None:
        """Its output so far, of which the end is kept. What it has left running may hold the pipe: only its own end counts."""
        while self._pipe() >= 0:
            try:
                more = os.read(self._pipe(), 65536)
            except OSError:
                return
            if not more:
                self._process.stdout.close()  # type: ignore[union-attr]
                self._process.stdout = None  # type: ignore[union-attr]
                return
            self._output = (self._output + more)[-4096:]

    def go_on(self) -> None:
        """Do what can be done now."""
        self._read()
        if self._process is None or self._process.poll() is None:
            return
        self._read()
        code = self._process.returncode
        said = " ".join(self._output.decode(errors="replace").split())[-self.check.shown :]
        ended = f"status {code}" if code >= 0 else f"ended by signal {-code}"
        self.answer = "" if code == 0 else f"{self._what}: {ended}" + (f": {said}" if said else "")
        self.asked = code != _REFUSED

    def give_up(self) -> None:
        """The time is over."""
        self.answer = f"{self._what}: no end within {self.check.timeout:g} s; it was killed"

    def close(self) -> None:
        """Leave nothing behind: what has not ended is killed. The runtime does not pass a signal on to the command that it waits for."""
        if self._process is not None:
            if self._process.poll() is None:
                for pid in (*_descendants(self._process.pid), self._process.pid):
                    with contextlib.suppress(ProcessLookupError, PermissionError):
                        os.kill(pid, signal.SIGKILL)
                self._process.wait()
            if self._process.stdout is not None:
                self._process.stdout.close()
        if self._ended >= 0:
            os.close(self._ended)


class Answer(t.NamedTuple):
    """What a service has answered: `wrong` is empty if it is well. `asked` is false where it could not even be asked."""

    name: str
    wrong: str
    seconds: float
    asked: bool


class Asker:
    """Services that are being asked."""

    def __init__(self) -> None:
        self._busy: dict[str, tuple[_Talk | _Command, float]] = {}
        self._later: dict[str, Check] = {}

    @property
    def names(self) -> t.Collection[str]:
        """Whom it waits for, or is still to ask."""
        return [*self._busy, *self._later]

    @property
    def running(self) -> t.Collection[str]:
        """The services in which a command runs."""
        return [name for name, (talk, _began) in self._busy.items() if isinstance(talk, _Command)]

    def ask(self, check: Check) -> None:
        """Ask one: now, or a command when there is room for it."""
        if check.kind == "exec" and len(self.running) >= COMMANDS:
            self._later[check.name] = check
        else:
            self._begin(check)

    def _begin(self, check: Check) -> None:
        talk: _Talk | _Command = _Command(check) if check.kind == "exec" else _Talk(check)
        self._busy[check.name] = (talk, time.monotonic())

    def wait(self, longest: float) -> list[Answer]:
        """Those that have answered within `longest` seconds, or were too late."""
        poll, owners = select.poll(), {}
        for name, (talk, _began) in self._busy.items():
            for descriptor, events in [] if talk.answer is not None else talk.descriptors():
                poll.register(descriptor, events)
                owners[descriptor] = name
        now = time.monotonic()
        ends = [began + talk.check.timeout for talk, began in self._busy.values()]
        settled = any(talk.answer is not None for talk, _began in self._busy.values())
        pause = 0.0 if settled else max(0.0, min([longest, *(end - now for end in ends)]))
        for name in {owners[descriptor] for descriptor, _events in poll.poll(pause * 1000 + 1)}:
            self._busy[name][0].go_on()
        now = time.monotonic()
        answers = []
        for name, (talk, began) in list(self._busy.items()):
            if talk.answer is None and now >= began + talk.check.timeout:
                talk.give_up()
            if talk.answer is not None:
                talk.close()
                del self._busy[name]
                answers.append(Answer(name, talk.answer, now - began, talk.asked))
        while self._later and len(self.running) < COMMANDS:
            self._begin(self._later.pop(next(iter(self._later))))
        return answers


def ask_one(check: Check) -> str | None:
    """Ask one service; None if it is well, else what is wrong."""
    asker = Asker()
    asker.ask(check)
    while True:
        for answer in asker.wait(check.timeout):
            return answer.wrong or None
