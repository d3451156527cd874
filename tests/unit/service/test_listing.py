# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What host_info makes of records."""

from __future__ import annotations

import os
import pathlib
import typing as t

import pytest

from ansible_collections.daemonless.isolation.plugins.module_utils._host import oci, records, traffic, volumes
from ansible_collections.daemonless.isolation.plugins.module_utils._host.records import Record
from ansible_collections.daemonless.isolation.plugins.module_utils._service.listing import asked, blank, ids, published


def test_values_of_the_environment_are_not_told() -> None:
    spec = {"service": "web", "environment": {"TOKEN": "s3cret", "A": "b"}, "user": "0:0", "command": ["/bin/x"]}
    assert asked(spec) == {"environment": ["A", "TOKEN"], "user": "0:0"}
    assert asked({}) == {}


@pytest.mark.parametrize(
    ("assigned", "expected"),
    [
        ({"user": "0:5", "id_base": 1 << 20}, {"uid": 0, "gid": 5, "host_uid": 1 << 20, "host_gid": (1 << 20) + 5}),
        ({"user": "0:5"}, None),
        ({"user": "web:5", "id_base": 1 << 20}, None),
        ({"id_base": 1 << 20}, None),
        ({}, None),
    ],
)
def test_ids(assigned: dict[str, t.Any], expected: t.Any) -> None:
    assert ids(assigned) == expected


def test_the_blank_form_needs_no_host(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a name there is nothing to read, also where other services have failed."""
    monkeypatch.setattr(oci, "DELAYS", str(tmp_path))
    assert {"name", "restarts", "failure", "usage"} <= {*blank()}


def test_published_ports_by_address_and_by_backend() -> None:
    one = {"host_port": 80, "address": "10.88.0.2", "port": 8080}
    many = {"host_port": 81, "backends": [{"address": "10.88.0.2", "port": 1}, {"address": "10.88.0.3", "port": 1}]}
    portmaps = [
        Record("portmap", "a", "default", {"mappings": [one]}),
        Record("portmap", "b", "default", {"mappings": [many]}),
    ]
    assert published({"10.88.0.2"}, portmaps) == [{"portmap": "a", **one}, {"portmap": "b", **many}]
    assert published({"10.88.0.3"}, portmaps) == [{"portmap": "b", **many}]
    assert published({"10.88.0.30"}, portmaps) == []
    assert published((), portmaps) == []


def test_the_size_of_a_tree(tmp_path: pathlib.Path) -> None:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    file = tmp_path / "deep" / "er" / "file"
    file.write_bytes(b"x" * 100_000)
    before = volumes.size(str(tmp_path))
    assert before is not None
    assert 100_000 <= before < 200_000
    os.link(file, tmp_path / "again")
    (tmp_path / "loop").symlink_to("/")
    after = volumes.size(str(tmp_path))
    assert after is not None
    assert after - before < 50_000, "a second name costs nothing, and no link is followed"
    assert volumes.size(str(tmp_path / "nosuch")) is None


def test_a_link_that_is_not_there() -> None:
    assert traffic.of_service("nosuch0") is None
    found = traffic.of_service("lo")
    assert found is not None
    assert found["rx_bytes"] >= 0


def test_unreadable_records_are_named_only_where_that_is_tolerated(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records._paths, "ETC", str(tmp_path))
    (tmp_path / "cgroup").mkdir()
    (tmp_path / "cgroup" / "web.one.json").write_text("{}")

    def refuse(path: str) -> str:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(records, "read_text", refuse)
    with records.tolerant() as hidden:
        assert records.load_records("cgroup") == {}
        assert records.load_records("cgroup") == {}
    assert hidden == [("cgroup", "web/one", f"{tmp_path}/cgroup/web.one.json: Permission denied")]
    with pytest.raises(PermissionError):
        records.load_records("cgroup")
