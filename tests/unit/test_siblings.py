# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What services call each other."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.daemonless.isolation.plugins.module_utils._errors import InvalidOption
from ansible_collections.daemonless.isolation.plugins.module_utils._host.files import NEXT, UpdateFile
from ansible_collections.daemonless.isolation.plugins.module_utils._host.records import Record
from ansible_collections.daemonless.isolation.plugins.module_utils._service.netoptions import parse_networks
from ansible_collections.daemonless.isolation.plugins.module_utils._siblings import (
    ServiceAddress,
    differing,
    hosts_of,
    siblings,
)


def instance(name: str, service: str, *networks: tuple[str, str], project: str = "default", **spec: t.Any) -> Record:
    """An instance on bridges, with the last octet of its address on each."""
    given = spec.pop("given", [{} for _network in networks])
    return Record(
        "service",
        name,
        project,
        {
            "service": service,
            "hostname": service,
            "networks": [
                {"bridge": bridge, "address": ["auto"], **more} for (bridge, _last), more in zip(networks, given)
            ],
            **spec,
        },
        {"networks": [{"bridge": bridge, "ipv4": address, "ipv6": None} for bridge, address in networks]},
    )


WEB = instance("web", "web", ("iso0", "10.88.0.2"), ("iso1", "10.89.0.2"))
DB1 = instance("db-1", "db", ("iso0", "10.88.0.11"), given=[{"aliases": ["store", "cache"]}])
DB2 = instance("db-2", "db", ("iso0", "10.88.0.12"))
CACHE = instance("cache", "cache", ("iso1", "10.89.0.20"))
FAR = instance("far", "far", ("iso2", "10.90.0.3"))
ALIEN = instance("alien", "alien", ("iso0", "10.88.0.77"), project="b")
ALL = {record.name: record for record in (WEB, DB1, DB2, CACHE, FAR, ALIEN)}
STABLE = ServiceAddress("db", "default", "10.88.255.7", "10.88.0.11")


def called(
    record: Record, booted: set[str], *stable: ServiceAddress, among: dict[str, Record] | None = None
) -> list[tuple[str, str]]:
    return [(one.name, one.address) for one in siblings(record, among or ALL, booted, stable)]


def test_the_instances_that_are_started_at_boot_have_the_name() -> None:
    assert called(WEB, {"db-2", "cache"}) == [("cache", "10.89.0.20"), ("db", "10.88.0.12")]
    both = [("db", "10.88.0.11"), ("db", "10.88.0.12"), ("store", "10.88.0.11"), ("store", "10.88.0.12")]
    assert called(WEB, {"db-1", "db-2"})[1:] == both
    assert called(WEB, set())[1:] == both, "where none is, all that there are"


def test_a_service_comes_before_an_alias_and_others_never_appear() -> None:
    assert ("cache", "10.88.0.11") not in called(WEB, {"db-1"})
    assert called(FAR, {"db-1", "cache"}) == []
    assert called(ALIEN, {"db-1"}) == []
    assert called(DB1, {"db-2", "web"}) == [("web", "10.88.0.2")], "not its own service"


def test_own_names_and_extra_hosts_win() -> None:
    own = instance("web", "web", ("iso0", "10.88.0.2"), hostname="store", extra_hosts={"db": "192.0.2.1"})
    among = {**ALL, "web": own}
    assert called(own, {"db-1"}, among=among) == [("cache", "10.88.0.11")], "the service cache is not on its bridge"
    text = hosts_of(own, siblings(own, among, {"db-1"}, ()))
    assert "192.0.2.1 db\n" in text
    assert "10.88.0.11 db\n" not in text
    assert "10.88.0.11 store\n" not in text


def test_a_service_address_counts_where_it_leads_to_somebody_who_is_reached() -> None:
    assert called(WEB, {"db-1"}, STABLE)[1:] == [("db", "10.88.255.7"), ("store", "10.88.255.7")]
    other = ServiceAddress("cache", "default", "10.88.255.8", "10.89.0.20")
    # Behind the second bridge: the default route would lead to the first one.
    assert called(WEB, {"cache"}, other)[0] == ("cache", "10.89.0.20")
    first = instance(
        "web", "web", *(("iso0", "10.88.0.2"), ("iso1", "10.89.0.2")), given=[{"default_route": False}, {}]
    )
    assert called(first, {"cache"}, other, among={**ALL, "web": first})[0] == ("cache", "10.88.255.8")
    assert called(WEB, {"db-1"}, ServiceAddress("db", "b", "10.88.255.9", "10.88.0.11"))[1] == ("db", "10.88.0.11")
    assert called(WEB, {"db-1"}, ServiceAddress("db", "default", "10.88.255.9", "10.88.0.99"))[1][1] == "10.88.0.11"


def test_what_differs_is_told_by_name() -> None:
    old, new = siblings(WEB, ALL, {"db-1"}, ()), siblings(WEB, ALL, {"db-2"}, ())
    assert differing(old, new) == {
        ("db", "db"): (["10.88.0.11"], ["10.88.0.12"]),
        ("db", "store"): (["10.88.0.11"], []),
    }
    assert differing(old, old) == {}


@pytest.mark.parametrize("alias", ["localhost", "a b", "", "-a", "a" * 64, "a\n10.0.0.1 b"])
def test_aliases_that_no_host_can_have_are_refused(alias: str) -> None:
    with pytest.raises(InvalidOption, match="is not a name that a host can have"):
        parse_networks([{"bridge": "iso0", "address": ["auto"], "aliases": [alias]}], "web")


@pytest.mark.parametrize("text", ["short\n", "long " * 1000, ""])
def test_a_file_is_renewed_in_place(tmp_path: t.Any, text: str) -> None:
    file = tmp_path / "hosts"
    file.write_text("what was there\n")
    before = file.stat().st_ino
    with open(file, encoding="utf-8") as stream:
        UpdateFile(str(file), text).run()
        assert stream.read() == text
    assert (file.stat().st_ino, file.read_text()) == (before, text)
    assert not (tmp_path / f"hosts{NEXT}").exists()
