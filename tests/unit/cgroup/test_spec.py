# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Options of a slice: canonical values in, refusals by name out."""

from __future__ import annotations

import typing as t

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.daemonless.isolation.plugins.module_utils._cgroup.limits import (
    DiskLatency,
    DiskLimit,
    PageLimit,
    format_list,
    own_list,
    parse_list,
)
from ansible_collections.daemonless.isolation.plugins.module_utils._cgroup.spec import Spec, parse
from ansible_collections.daemonless.isolation.plugins.module_utils._errors import InvalidOption


def spec(**options: t.Any) -> Spec:
    return parse({"name": "web", "state": "present", "force": False, "unified": {}, **options})


@pytest.mark.parametrize(
    ("option", "given_value", "canonical"),
    [
        ("cpu_max", "50%", "50000/100000"),
        ("cpu_max", "1.5", "150000/100000"),
        ("cpu_max", "33.33%", "33330/100000"),
        ("cpu_max", "5000/1000000", "5000/1000000"),
        ("cpu_max", "max", "max"),
        ("cpu_weight", 10000, 10000),
        ("cpuset_cpus", "3,0-1,2", "0-3"),
        ("cpuset_cpus", "max", "max"),
        ("memory_max", "64M", 67108864),
        ("memory_low", "max", "max"),
        ("memory_swap_max", "0", 0),
        ("pids_max", "64", 64),
        ("pids_max", "max", "max"),
    ],
)
def test_values_have_one_form(option: str, given_value: t.Any, canonical: t.Any) -> None:
    assert spec(**{option: given_value}).limits == {option: canonical}


def test_an_option_that_is_not_given_is_not_there() -> None:
    assert spec(memory_max=None).limits == {}


def test_disks() -> None:
    found = spec(io_max=[{"device": "/dev/vda", "rbps": "1M", "wbps": "max", "riops": None, "wiops": "100"}])
    assert found.limits["io_max"] == (DiskLimit("/dev/vda", rbps=1 << 20, wiops=100),)
    more = spec(io_latency=[{"device": "/dev/vdb", "target": "2.5ms"}])
    assert more.limits["io_latency"] == (DiskLatency("/dev/vdb", 2_500),)
    assert [*found.disks(), *more.disks()] == [("io_max", "/dev/vda"), ("io_latency", "/dev/vdb")]


def test_huge_pages_have_the_kernels_names() -> None:
    pages = [
        {"page_size": "2M", "limit": "64M"},
        {"page_size": "1GiB", "limit": "0"},
        {"page_size": "64K", "limit": "max"},
    ]
    assert spec(hugetlb_max=pages).limits["hugetlb_max"] == (PageLimit("1GB", 0), PageLimit("2MB", 64 << 20))
    assert spec(hugetlb_max=pages[2:]).limits["hugetlb_max"] == ()


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"name": "a_b"}, "name"),
        ({"name": "a/"}, "name"),
        ({"cpu_max": "none"}, "cpu_max"),
        ({"cpu_max": "-5%"}, "cpu_max"),
        ({"cpu_max": "nan"}, "cpu_max"),
        ({"cpu_max": "999/1000"}, "at least 1000"),
        ({"cpu_max": "1000/999"}, "period"),
        ({"cpu_weight": 10001}, "cpu_weight"),
        ({"cpuset_cpus": "2-1"}, "cpuset_cpus"),
        ({"cpuset_cpus": ""}, "cpuset_cpus"),
        ({"memory_max": "12Q"}, "memory_max"),
        ({"pids_max": "-1"}, "pids_max"),
        ({"io_max": [{"device": "/dev/vda", "riops": "1.5"}]}, "riops"),
        ({"io_max": [{"device": "/dev/vda", "rbps": "0"}]}, "rbps"),
        ({"memory_zswap_max": "x"}, "memory_zswap_max"),
        ({"io_latency": [{"device": "/dev/vda", "target": "soon"}]}, "io_latency: /dev/vda: target"),
        ({"io_latency": [{"device": "/dev/vda", "target": "0"}]}, "less than a microsecond"),
        ({"hugetlb_max": [{"page_size": "big", "limit": "1G"}]}, "hugetlb_max: page_size"),
        ({"hugetlb_max": [{"page_size": "2M", "limit": "x"}]}, "hugetlb_max: 2MB: limit"),
        ({"hugetlb_max": [{"page_size": "2M", "limit": "0"}, {"page_size": "2MB", "limit": "max"}]}, "more than once"),
        ({"unified": {"hugetlb.2MB.max": "0"}}, "use hugetlb_max"),
        ({"unified": {"io.latency": "254:0 target=1"}}, "use io_latency"),
        ({"unified": {"memory.oom.group": True}}, "quotes"),
        ({"unified": {"memory.oom.group": "1\n2"}}, "one line"),
        ({"unified": {"../x.y": "1"}}, "unified"),
    ],
)
def test_refusals_name_slice_and_option(options: dict[str, t.Any], word: str) -> None:
    with pytest.raises(InvalidOption, match=word) as caught:
        spec(**options)
    assert "name" in options or str(caught.value).startswith("web: ")


@given(st.frozensets(st.integers(0, 300), min_size=1))
def test_lists_round_trip(numbers: frozenset[int]) -> None:
    assert parse_list(format_list(numbers)) == numbers


def test_a_list_of_all_that_the_parent_has_is_no_restriction() -> None:
    assert own_list("0-3", "0-3") == "max"
    assert own_list("0-1", "0-3") == "0-1"
    assert own_list("", "0-3") == "max"
    assert own_list("0-1", None) == "0-1"
