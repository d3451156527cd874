# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Asking a service from the host whether it is well."""

from __future__ import annotations

import json
import os
import socket
import time

from .process import run


def ask_http(address: str, port: int, path: str, timeout: float, status: int | None = None) -> str | None:
    """GET a path; None if the answer has that status, or is a success or a redirection; else what happened instead."""
    import http.client  # here, as loading it takes longer than most tasks have to do

    connection = http.client.HTTPConnection(address, port, timeout=timeout)
    try:
        connection.request("GET", path, headers={"Connection": "close"})
        code = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return f"GET http://{address}:{port}{path}: {error or type(error).__name__}"
    finally:
        connection.close()
    if code == status or (status is None and 200 <= code < 400):
        return None
    return f"GET http://{address}:{port}{path}: status {code}" + (f", not {status}" if status else "")


def ask_tcp(address: str, port: int, timeout: float) -> str | None:
    """Connect to a port; None if that works, else what happened instead."""
    try:
        socket.create_connection((address, port), timeout=timeout).close()
    except OSError as error:
        return f"connecting to {address} port {port}: {error}"
    return None


def log_tail(path: str, lines: int) -> list[str]:
    """The last lines of a file that svlogd writes, without its time stamps; none if it is not there."""
    try:
        with open(path, "rb") as stream:
            stream.seek(max(0, os.fstat(stream.fileno()).st_size - 16384))
            text = stream.read().decode(errors="replace")
    except OSError:
        return []
    return [line.partition(" ")[2] for line in text.splitlines()[-lines:]]


def journal_lines(text: str, lines: int) -> list[str]:
    """The last lines of what a unit and its processes have logged, from journalctl's JSON; those that systemd has about it only where there are no others.
    Pure.
    """
    own: list[str] = []
    about: list[str] = []
    for line in text.splitlines():
        entry = json.loads(line)
        message = entry.get("MESSAGE") or ""
        if isinstance(message, list):  # what is no text is told as bytes
            message = bytes(message).decode(errors="replace")
        (about if entry.get("_PID") == "1" else own).extend(message.splitlines())
    return (own or about)[-lines:]


def journal_tail(unit: str, lines: int) -> list[str]:
    """The last lines that a unit has logged. With each end and start systemd adds some about it, among which they would be lost."""
    command = ["journalctl", "--no-pager", "--output=json", "--output-fields=MESSAGE,_PID", f"--lines={lines * 12}"]
    return journal_lines(run([*command, f"--unit={unit}"], check=False).stdout, lines)


def pause(seconds: float) -> None:
    """Wait."""
    time.sleep(seconds)


def now() -> float:
    """Seconds of a clock that nobody sets."""
    return time.monotonic()
