# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Batches of hosts, and when a rollout stops."""

from __future__ import annotations

import typing as t

import hypothesis as h
import hypothesis.strategies as st
import pytest

from ansible_collections.daemonless.isolation.plugins.module_utils._rollout.releases import PlanError
from ansible_collections.daemonless.isolation.plugins.plugin_utils._batches import batches, too_many_lost


def hosts(number: int) -> list[str]:
    return [f"web{index}" for index in range(number)]


@pytest.mark.parametrize(
    ("number", "rollout", "expected"),
    [
        (3, None, [1]),
        (8, {}, [1, 2]),
        (100, {}, [1, 2, 4, 8, 16, 25]),
        (100, {"canary": "5%", "max_parallel": 30}, [5, 10, 20, 30]),
        (100, {"max_parallel": "100%"}, [1, 2, 4, 8, 16, 32, 64]),
        (100, {"canary": 10, "max_parallel": 5}, [10, 5]),
        (1, {"canary": 3}, [3]),
        (0, {}, [1]),
    ],
    ids=str,
)
def test_sizes(number: int, rollout: dict[str, t.Any], expected: list[int]) -> None:
    assert batches(hosts(number), rollout) == expected


@pytest.mark.parametrize("value", ["many", 0, -1, "0%", "101%", "1.5", None, "%"])
def test_a_size_that_is_none_is_refused(value: t.Any) -> None:
    for option in ("canary", "max_parallel"):
        with pytest.raises(PlanError, match=f"{option}: .* is neither a number of hosts nor a share"):
            batches(hosts(10), {option: value})


@h.given(number=st.integers(0, 2000), canary=st.integers(1, 50), most=st.integers(1, 100))
def test_batches_reach_every_host_and_none_is_too_large(number: int, canary: int, most: int) -> None:
    sizes = batches(hosts(number), {"canary": canary, "max_parallel": f"{most}%"})
    assert sizes[0] == canary
    limit = max(1, number * most // 100)
    assert all(size <= limit for size in sizes[1:])
    if sum(sizes) < number:
        assert sizes[-1] == limit, "the last one is repeated"


def test_lost_hosts_stop_a_rollout() -> None:
    everybody = hosts(10)
    assert too_many_lost(everybody, everybody) == []
    assert too_many_lost(everybody, everybody[1:]) == ["web0"]
    assert too_many_lost(everybody, everybody[1:], {"max_failure_ratio": 0.1}) == []
    assert too_many_lost(everybody, everybody[2:], {"max_failure_ratio": "0.1"}) == ["web0", "web1"]
    for ratio in ("some", 1.1, -0.1, None):
        with pytest.raises(PlanError, match="is not a number from 0 to 1"):
            too_many_lost(everybody, everybody, {"max_failure_ratio": ratio})
