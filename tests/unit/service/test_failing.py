# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is known of services that keep ending."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.daemonless.isolation.plugins.module_utils._host.restarts import Ends, parse
from ansible_collections.daemonless.isolation.plugins.module_utils._service.failing import HIDDEN, without


@pytest.mark.parametrize(
    ("text", "ends"),
    [
        ("", Ends()),
        ("nonsense", Ends()),
        ("0 1000", Ends()),
        ("0 1000 0 0\n", Ends()),
        ("400 1000 3 99900\n", Ends(3, 0.1, 0.3)),
        ("400 1000 3 90000\n", Ends(3, 10.0, 0.0)),
        ("400 1000 3 200000\n", Ends(3, 0.0, 0.4)),
        ("400 1000 3 200000 -\n", Ends(3, 0.0, 0.4)),
        ("400 1000 3 200000 7\n", Ends(3, 0.0, 0.4, "7")),
        ("400 1000 3 200000 KILL\n", Ends(3, 0.0, 0.4, "KILL")),
    ],
)
def test_the_helpers_file(text: str, ends: Ends) -> None:
    found = parse(text, 100.0)
    assert (found.count, round(found.since, 3), round(found.wait, 3), found.status) == tuple(vars(ends).values())


@given(st.text(), st.floats(0, 10**6))
def test_any_content_is_taken(text: str, now: float) -> None:
    found = parse(text, now)
    assert found.count >= 0
    assert found.wait >= 0


@given(st.lists(st.text(), max_size=4), st.sets(st.text("abc", min_size=3, max_size=6), max_size=4))
def test_nothing_of_a_secret_is_left(lines: list[str], texts: set[str]) -> None:
    shown = without([line + text + line for line in lines for text in sorted(texts)] or lines, texts)
    assert not any(text in line for text in texts for line in shown)
    assert without(lines, ()) == lines
    assert HIDDEN in "".join(shown) or not texts or not lines
