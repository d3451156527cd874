# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Orders of starts."""

from __future__ import annotations

import typing as t

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.daemonless.isolation.plugins.module_utils._errors import InvalidOption
from ansible_collections.daemonless.isolation.plugins.module_utils._host.records import Record
from ansible_collections.daemonless.isolation.plugins.module_utils._service import ordering
from ansible_collections.daemonless.isolation.plugins.module_utils._service.promises import ServiceRefused
from ansible_collections.daemonless.isolation.plugins.module_utils._service.spec import ServiceSpec


def spec(
    name: str, *after: str, service: str = "", requires: tuple[str, ...] = (), state: str = "started"
) -> ServiceSpec:
    return ServiceSpec(name, service or name, state, after=after, requires=requires)


def record(name: str, *after: str, project: str = "default") -> Record:
    return Record("service", name, project, {"service": name, "after": list(after)})


@pytest.mark.parametrize(
    ("specs", "expected"),
    [
        ([spec("a"), spec("b")], (0, 1)),
        ([spec("a", "b"), spec("b")], (1, 0)),
        ([spec("a", "b"), spec("c"), spec("b", "c")], (1, 2, 0)),
        ([spec("a", requires=("b",)), spec("b-1", service="b"), spec("b-2", service="b")], (1, 2, 0)),
        ([spec("a", "elsewhere")], (0,)),
        ([], ()),
    ],
    ids=lambda value: None,
)
def test_order(specs: list[ServiceSpec], expected: tuple[int, ...]) -> None:
    assert ordering.order(specs) == expected


@given(st.lists(st.sets(st.integers(0, 7), max_size=3), min_size=1, max_size=8))
def test_each_place_once_and_after_what_it_waits_for(edges: list[set[int]]) -> None:
    """Of any graph without circles, given in any order."""
    specs = [
        spec(f"s{index}", *(f"s{other}" for other in sorted(after) if other > index))
        for index, after in enumerate(edges)
    ]
    found = ordering.order(specs)
    assert sorted(found) == list(range(len(specs)))
    for index, one in enumerate(specs):
        for name in one.after:
            other = int(name[1:])
            if other < len(specs):
                assert found.index(other) < found.index(index)


REFUSED: list[tuple[list[ServiceSpec], dict[str, Record], str]] = [
    ([spec("a", "b")], {}, "a: after: there is no service b of project default"),
    ([spec("a", requires=("b",))], {"b": record("b", project="other")}, "a: requires: there is no service b"),
    ([spec("a", "b"), spec("b", state="absent")], {"b": record("b")}, "there is no service b"),
    ([spec("a", "b"), spec("b", "a")], {}, "a after b after a"),
    ([spec("a", "b")], {"b": record("b", "c"), "c": record("c", "a")}, "a after b after c after a"),
    ([spec("a-2", "a-1", service="a"), spec("a-1", service="a")], {}, "a after a"),
]


@pytest.mark.parametrize(("specs", "records", "message"), REFUSED, ids=range(len(REFUSED)))
def test_refusals(specs: list[ServiceSpec], records: dict[str, Record], message: str) -> None:
    with pytest.raises(ServiceRefused, match=message):
        ordering.check(specs, records, {}, "default")


def test_what_is_there_or_promised_can_be_waited_for() -> None:
    ordering.check(
        [spec("a", "b", "c", "d")],
        {"b": record("b")},
        {"services": [{"name": "c-1", "service": "c"}, {"name": "d"}]},
        "default",
    )
    # A record that is replaced by this task no longer counts.
    ordering.check([spec("a", "b"), spec("b")], {"b": record("b", "a")}, {}, "default")


@pytest.mark.parametrize("given", [["a"], ["web"], ["Not a name"]])
def test_names_that_can_not_be_meant(given: list[t.Any]) -> None:
    with pytest.raises(InvalidOption, match="a: after"):
        ordering.parse_names({"after": given}, "after", "a", "web")
