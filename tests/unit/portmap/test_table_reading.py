# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""When a reading of the table is believed, while others change the ruleset. The kernel's part: tests/integration/portmap/test_reading.py."""

from __future__ import annotations

import functools
import itertools
import typing as t

import pytest

from ansible_collections.daemonless.isolation.plugins.module_utils._host.nfnetlink import ChangedMeanwhile
from ansible_collections.daemonless.isolation.plugins.module_utils._portmap import state


@pytest.fixture
def readings(monkeypatch: pytest.MonkeyPatch) -> t.Callable[[t.Iterable[str]], None]:
    """Let the ruleset change at every look, and the table be read as these texts, one after the other."""

    def prepare(texts: t.Iterable[str]) -> None:
        numbers, told = itertools.count(1), iter(texts)
        monkeypatch.setattr(state.nft, "available", lambda: True)
        monkeypatch.setattr(state, "generation", lambda: next(numbers))
        monkeypatch.setattr(state, "_table_at", functools.lru_cache(maxsize=1)(lambda _number: ({}, next(told))))

    return prepare


def test_two_readings_that_agree_are_believed(readings: t.Callable[[t.Iterable[str]], None]) -> None:
    readings(["a", "b", "b", "c"])
    assert state._read_table() == ({}, "b")


def test_no_reading_is_believed_for_want_of_time(
    readings: t.Callable[[t.Iterable[str]], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What may have been read half before and half after a change is refused, not acted on."""
    monkeypatch.setattr(state, "_PATIENCE", -1.0)
    readings(map(str, itertools.count()))
    with pytest.raises(ChangedMeanwhile, match="run again"):
        state._read_table()
