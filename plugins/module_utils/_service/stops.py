# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How a service is asked to end and to read its configuration again, and what is waited for before. Pure."""

from __future__ import annotations

import signal
import typing as t

from .._errors import InvalidOption
from .._units import parse_seconds


def parse_signal(text: str, name: str, option: str = "stop_signal", deed: str = "end") -> str:
    """A signal by its name.

    :raises InvalidOption: it is none that a program can handle.
    """
    full = text.upper() if text.upper().startswith("SIG") else "SIG" + text.upper()
    if full not in {item.name for item in signal.Signals} or full in ("SIGKILL", "SIGSTOP", "SIGCHLD"):
        raise InvalidOption(f"{name}: {option}: {text!r} is not a signal that can ask a process to {deed}")
    return full


def parse_reload(options: t.Mapping[str, t.Any], name: str, pids: str) -> tuple[str | None, tuple[str, ...]]:
    """The signal of a reload or its command, if there is one. `pids` is whose pid namespace the service has.

    :raises InvalidOption: both are given, one is none, or there is a need for one.
    """
    given, words = options.get("reload_signal"), tuple(options.get("reload_command") or ())
    if given and words:
        raise InvalidOption(f"{name}: reload_command: not beside reload_signal: give the one by which it is reloaded")
    if words:
        if not words[0] or any("\0" in word for word in words):
            raise InvalidOption(f"{name}: reload_command: a program and its arguments are needed, as a list")
        if pids != "private":
            raise InvalidOption(
                f"{name}: reload_command: nothing can be executed in it, since its pid namespace is {pids}: use reload_signal"
            )
        return None, words
    if given:
        return parse_signal(given, name, "reload_signal", "read its configuration again"), ()
    if any(item.get("on_change") == "reload" for item in options.get("secrets") or []):
        raise InvalidOption(
            f"{name}: reload_signal: needed with on_change: reload of a secret, such as SIGHUP, or reload_command"
        )
    if options["state"] == "reloaded":
        raise InvalidOption(
            f"{name}: reload_signal: needed with state: reloaded, such as SIGHUP, if the service handles it, or reload_command"
        )
    return None, ()


def parse_stop_timeout(text: str, name: str) -> float:
    """Seconds that a service has to end.

    :raises InvalidOption: they are too few.
    """
    seconds = parse_seconds(text, f"{name}: stop_timeout")
    if seconds < 0.1:
        raise InvalidOption(f"{name}: stop_timeout: {text!r}: must be at least 100ms")
    return seconds


def parse_drain(options: t.Mapping[str, t.Any], name: str, network: str = "private") -> float | None:
    """How long connections are waited for before a stop; None if they are not.

    :raises InvalidOption: nothing is stopped, or its connections can't be told from those of others.
    """
    given = options.get("drain")
    if given is None:
        return None
    if options["state"] not in ("stopped", "absent"):
        raise InvalidOption(
            f"{name}: drain: only with state: stopped or absent, after its ports lead elsewhere: with state: {options['state']}"
            " new connections would come all the time"
        )
    if network != "private":
        raise InvalidOption(f"{name}: drain: {shared_network(network)}")
    seconds = parse_seconds(given["timeout"], f"{name}: drain: timeout")
    if seconds < 0.1:
        raise InvalidOption(f"{name}: drain: timeout: {given['timeout']!r}: must be at least 100ms")
    return seconds


def parse_keep_running(options: t.Mapping[str, t.Any], name: str) -> float:
    """For how many seconds an instance runs on that is stopped; 0 if it does not.

    :raises InvalidOption: nothing is stopped, or its connections are waited for, too.
    """
    given = options["keep_running"]
    seconds = parse_seconds(given, f"{name}: keep_running")
    if seconds and options["state"] != "stopped":
        raise InvalidOption(f"{name}: keep_running: only with state: stopped, which it puts off")
    if seconds and options.get("drain") is not None:
        raise InvalidOption(f"{name}: keep_running: not beside drain: nobody waits for its end: give one of them")
    if 0 < seconds < 1:
        raise InvalidOption(f"{name}: keep_running: {given!r}: must be at least 1s, or 0s")
    return seconds


def shared_network(network: str) -> str:
    """Why connections can't be waited for in a network namespace that is not a service's own."""
    return f"its network namespace is {network}, where connections of others can't be told from its own: stop it without drain"
