# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Addresses and ranges: chosen once, never twice."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.daemonless.isolation.plugins.module_utils import _idrange
from ansible_collections.daemonless.isolation.plugins.module_utils._errors import IsolationError
from ansible_collections.daemonless.isolation.plugins.module_utils._host.records import Record, SaveRecord
from ansible_collections.daemonless.isolation.plugins.module_utils._ranges import RangeError, Ranges
from ansible_collections.daemonless.isolation.plugins.module_utils._service.addresses import AddressError, Pool

BRIDGE = ["10.88.0.1/24", "fd88::1/64", "fe80::1/64"]
names = st.lists(st.from_regex(r"[a-z][a-z0-9]{0,10}", fullmatch=True), max_size=60, unique=True)


@given(names)
def test_assigned_addresses_are_disjoint_usable_and_the_same_each_time(instances: list[str]) -> None:
    pool, again = Pool("iso0", BRIDGE, {}), Pool("iso0", BRIDGE, {})
    first = [pool.assign(version, name) for name in instances for version in (4, 6)]
    assert first == [again.assign(version, name) for name in instances for version in (4, 6)]
    assert len(set(first)) == len(first)
    for text in first:
        address = ipaddress.ip_address(str(text))
        assert address in ipaddress.ip_network("10.88.0.0/24" if address.version == 4 else "fd88::/64")
        assert str(address) not in ("10.88.0.0", "10.88.0.1", "10.88.0.255", "fd88::", "fd88::1")


def test_a_full_subnet_is_used_to_its_last_address_and_then_refused() -> None:
    pool = Pool("iso0", ["10.0.0.1/29"], {})
    assert sorted(str(pool.assign(4, f"n{number}")) for number in range(5)) == [
        f"10.0.0.{last}" for last in range(2, 7)
    ]
    with pytest.raises(AddressError, match="no address is left"):
        pool.assign(4, "more")


def test_a_bridge_without_a_family_gives_none() -> None:
    assert Pool("iso0", ["10.0.0.1/24"], {}).assign(6, "web") is None
    assert Pool("iso0", ["10.0.0.1/24"], {}).gateway(6) is None
    assert Pool("iso0", BRIDGE, {}).gateway(6) == "fd88::1"


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("10.99.0.5", "outside of the subnets of bridge iso0 (10.88.0.0/24)"),
        ("10.88.0.0", "network's own"),
        ("10.88.0.255", "broadcast"),
        ("10.88.0.1", "address: choose another"),
        ("10.88.0.9", "belongs to db"),
        ("2001:db8::5", "outside"),
    ],
)
def test_given_addresses_that_can_not_be(address: str, message: str) -> None:
    pool = Pool("iso0", BRIDGE, {"10.88.0.9": "db"}, asked=[address])
    with pytest.raises(AddressError) as refusal:
        pool.take(address, "web")
    assert message in str(refusal.value)


def test_what_somebody_asks_for_is_not_assigned_to_others() -> None:
    wanted = Pool("iso0", ["10.0.0.1/24"], {}).assign(4, "web")
    assert wanted is not None
    pool = Pool("iso0", ["10.0.0.1/24"], {}, asked=[wanted])
    assert pool.assign(4, "web") != wanted
    assert pool.take(wanted, "other") == wanted
    with pytest.raises(AddressError, match="belongs to other"):
        pool.take(wanted, "third")


def ranges(foreign: tuple[tuple[int, int], ...] = (), **bases: int) -> Ranges:
    records = {name: Record(_idrange.LAYER, name, "default", {}, {"id_base": base}) for name, base in bases.items()}
    return Ranges("service", records, foreign, "default")


def test_a_service_keeps_its_range_and_instances_share_it() -> None:
    own = ranges(web=1 << 21)
    assert own.choose("web-1", "web", None, None) == (1 << 21, ())
    base, steps = own.choose("db-1", "db", None, None)
    assert isinstance(steps[0], SaveRecord)
    assert own.choose("db-2", "db", None, None)[0] == base
    assert not _idrange.overlaps(base, [(1 << 21, _idrange.SIZE)])


def test_a_promised_range_is_believed() -> None:
    assert ranges().choose("web", "web", None, 7 << 20)[0] == 7 << 20


@pytest.mark.parametrize(
    ("service", "asked", "message"),
    [
        ("web", 3 << 20, "has the range that begins with 2097152"),
        ("db", (1 << 21) + 5, "overlaps the range of service web"),
        ("db", 100000, "overlaps ids of the host's users"),
    ],
)
def test_ranges_that_can_not_be(service: str, asked: int, message: str) -> None:
    with pytest.raises(RangeError) as refusal:
        ranges(((100000, 65536),), web=1 << 21).choose("x", service, asked, None)
    assert message in str(refusal.value)


def test_another_project_s_range_is_refused() -> None:
    record = Record(_idrange.LAYER, "web", "other", {}, {"id_base": 1 << 21})
    with pytest.raises(IsolationError, match="belongs to project 'other'"):
        Ranges("service", {"web": record}, (), "default").choose("web-1", "web", None, None)
