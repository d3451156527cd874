# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How a service is asked whether it is well, from its options. Pure."""

from __future__ import annotations

import re
import typing as t

from .._errors import InvalidOption
from .._units import parse_seconds
from .spec import Health

_KINDS = ("http", "tcp", "exec")


def _port(check: t.Mapping[str, t.Any], where: str) -> int:
    port = check.get("port")
    if port is None or not 1 <= port <= 65535:
        raise InvalidOption(f"{where}: port: {port!r} is not a port (1 to 65535)")
    return int(port)


def parse_health(given: t.Mapping[str, t.Any] | None, name: str) -> Health | None:
    """The option `health` as a canonical value.

    :raises InvalidOption: it can't be meant.
    """
    if given is None:
        return None
    kinds = [kind for kind in _KINDS if given.get(kind) is not None]
    if len(kinds) != 1:
        raise InvalidOption(f"{name}: health: exactly one of http, tcp and exec is needed")
    kind, where = kinds[0], f"{name}: health: {kinds[0]}"
    check = given[kind]
    port, path, command = 0, "/", tuple(check.get("command") or ())
    if kind == "exec":
        if not command or not command[0] or any("\0" in word for word in command):
            raise InvalidOption(f"{where}: command: a program and its arguments are needed, as a list")
    else:
        port = _port(check, where)
        path = check.get("path", "/")
        if not path.startswith("/") or re.search(r"[\s\0]", path):
            raise InvalidOption(f"{where}: path: {path!r} must begin with / and have no blanks")
    on_failure = given.get("on_failure")
    interval = parse_seconds(given.get("interval") or ("10s" if on_failure else "500ms"), f"{name}: health: interval")
    timeout = parse_seconds(given["timeout"], f"{name}: health: timeout")
    if interval < 0.01 or timeout < 0.01 or given["retries"] < 1:
        raise InvalidOption(f"{name}: health: interval and timeout must be at least 10ms, retries at least 1")
    if on_failure and interval < 1:
        raise InvalidOption(f"{name}: health: interval must be at least 1s with on_failure")
    if given.get("start_period") is not None and not on_failure:
        raise InvalidOption(f"{name}: health: start_period is of the periodic check: set on_failure, too")
    grace = parse_seconds(given.get("start_period") or "30s", f"{name}: health: start_period")
    return Health(kind, port, path, interval, timeout, given["retries"], command, on_failure, grace)
