# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The last words of a service in the journal: its own, not what systemd has to say about it."""

from __future__ import annotations

import json
import typing as t

from ansible_collections.daemonless.isolation.plugins.module_utils._host.probe import journal_lines


def journal(*entries: tuple[int, t.Any]) -> str:
    """What journalctl prints: the pid and the message of each entry."""
    return "".join(json.dumps({"_PID": str(pid), "MESSAGE": message}) + "\n" for pid, message in entries)


def test_its_own_words_come_before_those_of_systemd() -> None:
    about = [(1, "Main process exited, status=3"), (1, "Scheduled restart job"), (1, "Starting it")]
    assert journal_lines(journal((70, "no luck"), *about, (71, "none again"), *about), 5) == ["no luck", "none again"]
    assert journal_lines(journal(*about), 2) == ["Scheduled restart job", "Starting it"]
    assert journal_lines("", 5) == []


def test_what_is_no_text_and_more_than_a_line() -> None:
    assert journal_lines(journal((70, list(b"\xffx")), (70, None), (70, "a\nb")), 2) == ["a", "b"]
    assert journal_lines(journal((70, list(b"\xffx"))), 2) == ["\ufffdx"]
