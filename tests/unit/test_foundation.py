# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Names, units, id ranges, files and records."""

from __future__ import annotations

import os
import pathlib
import re
import threading
import time

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.daemonless.isolation.plugins.module_utils import _idrange, _names, _paths, _units
from ansible_collections.daemonless.isolation.plugins.module_utils._errors import InvalidOption, IsolationError
from ansible_collections.daemonless.isolation.plugins.module_utils._host import files, process, records, systemd
from ansible_collections.daemonless.isolation.plugins.module_utils._version import VERSION

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]


def test_version_is_the_one_of_galaxy() -> None:
    assert yaml.safe_load((REPOSITORY / "galaxy.yml").read_text())["version"] == VERSION


@pytest.mark.parametrize("name", ["a", "web", "web-1", "0a", "a" * 48])
def test_names(name: str) -> None:
    assert _names.check_name(name) == name


@pytest.mark.parametrize("name", ["", "-a", "a-", "A", "a_b", "a.b", "a/b", "a" * 49, "a\n", "ä"])
def test_bad_names(name: str) -> None:
    with pytest.raises(InvalidOption, match="not a valid name"):
        _names.check_name(name)


@pytest.mark.parametrize("name", ["web/", "/web", "web//a", "web/../x"])
def test_bad_paths(name: str) -> None:
    with pytest.raises(InvalidOption):
        _names.check_path_name(name)


@given(st.text(), st.text())
def test_derived_names_fit_the_kernel(first: str, second: str) -> None:
    assert re.fullmatch("iso[0-9a-f]{12}", _names.interface_name(first, second))
    octets = [int(octet, 16) for octet in _names.mac_address(first, second).split(":")]
    assert len(octets) == 6
    assert octets[0] & 0x03 == 0x02, "locally administered, unicast"


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("4096", 4096), ("64M", 64 << 20), ("2G", 2 << 30), ("1.5K", 1536), ("1KiB", 1024), ("8mb", 8 << 20)],
)
def test_sizes(text: str, size: int) -> None:
    assert _units.parse_size(text, "memory_max") == size


@pytest.mark.parametrize("text", ["12Q", "", "M", "-1M", "1 2M", "0x10", "1e9"])
def test_bad_sizes(text: str) -> None:
    with pytest.raises(InvalidOption, match=r"memory_max: .* is not a size"):
        _units.parse_size(text, "memory_max")


@given(st.integers(min_value=0, max_value=1 << 60))
def test_sizes_come_back(size: int) -> None:
    assert _units.parse_size(_units.format_size(size), "size") == size


@pytest.mark.parametrize(
    ("text", "seconds"), [("100ms", 0.1), ("30s", 30), ("5m", 300), ("2min", 120), ("1h", 3600), ("7", 7), ("0", 0)]
)
def test_durations(text: str, seconds: float) -> None:
    assert _units.parse_seconds(text, "timeout") == pytest.approx(seconds)


@pytest.mark.parametrize(("text", "share"), [("50%", 0.5), ("150%", 1.5), ("1.5", 1.5), ("2", 2.0)])
def test_shares_of_cpu(text: str, share: float) -> None:
    assert _units.parse_cpu(text, "cpu_max") == pytest.approx(share)


@pytest.mark.parametrize("text", ["0", "0%", "-1", "half", "%", "nan", "inf"])
def test_bad_shares_of_cpu(text: str) -> None:
    with pytest.raises(InvalidOption):
        _units.parse_cpu(text, "cpu_max")


@given(st.lists(st.text(min_size=1), max_size=30, unique=True))
def test_id_ranges_are_disjoint_and_stable(services: list[str]) -> None:
    taken: list[tuple[int, int]] = [(100000, 65536)]
    for service in services:
        base = _idrange.assign(service, taken)
        assert base >= _idrange.FIRST
        assert not _idrange.overlaps(base, taken)
        assert _idrange.assign(service, taken) == base
        taken.append((base, _idrange.SIZE))


def test_an_id_range_probes_on_when_its_place_is_taken() -> None:
    first = _idrange.assign("web", [])
    assert _idrange.assign("web", [(first + 1000, 1)]) in (first + _idrange.SIZE, _idrange.FIRST)


def test_no_id_range_left() -> None:
    with pytest.raises(IsolationError, match="no free range"):
        _idrange.assign("web", [(0, 1 << 32)])


@pytest.mark.parametrize(
    ("text", "escaped"),
    [("web", "web"), ("web-api", r"web\x2dapi"), ("a/b", "a-b"), (".a", r"\x2ea"), ("a_b:c", "a_b:c")],
)
def test_systemd_escape(text: str, escaped: str) -> None:
    assert systemd.escape(text) == escaped


def test_a_file_is_replaced_as_a_whole(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "deep" / "file"
    files.write_atomic(str(path), "one", 0o600)
    inode = path.stat().st_ino
    files.write_atomic(str(path), "two")
    assert path.read_text() == "two"
    assert path.stat().st_ino != inode
    assert path.stat().st_mode & 0o777 == 0o644
    assert os.listdir(path.parent) == ["file"]


def test_a_write_that_fails_leaves_the_old_file(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(TypeError):
        files.write_atomic(str(path), None)  # type: ignore[arg-type]
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]


def test_empty_parents_go_up_to_the_top(tmp_path: pathlib.Path) -> None:
    (tmp_path / "top" / "a" / "b").mkdir(parents=True)
    (tmp_path / "top" / "keep").write_text("")
    files.remove_empty_directories(str(tmp_path / "top" / "a" / "b"), str(tmp_path / "top"))
    assert os.listdir(tmp_path / "top") == ["keep"]


@pytest.mark.parametrize("there", [False, True])
def test_a_directory_that_some_systems_have_goes_only_if_it_was_made_here(
    there: bool, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Debian 13 comes with an empty /usr/local/libexec, Debian 12 without."""
    shared = tmp_path / "libexec"
    monkeypatch.setattr(_paths, "LIBEXEC", str(shared / "isolation"))
    if there:
        shared.mkdir()
    for _time in range(2):
        files.write_atomic(str(shared / "isolation" / "helper"), "")
        files.RemoveFile(str(shared / "isolation" / "helper"), str(shared)).run()
        assert shared.exists() is there
    files.write_atomic(str(shared / "isolation" / "helper"), "")
    (shared / "other").write_text("")
    files.RemoveFile(str(shared / "isolation" / "helper"), str(shared)).run()
    assert (shared / "other").exists()


def test_the_lock_goes_with_the_last_of_ours(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = tmp_path / "run" / "lock"
    monkeypatch.setattr(_paths, "LOCK", str(lock))
    monkeypatch.setattr(_paths, "ETC", str(tmp_path / "etc"))
    (tmp_path / "etc").mkdir()
    with files.host_lock(0):
        pass
    assert lock.exists()
    (tmp_path / "etc").rmdir()
    with files.host_lock(0):
        assert lock.exists()
    assert not lock.parent.exists()


def test_a_lock_that_was_removed_while_waiting_is_no_lock(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = tmp_path / "run" / "lock"
    monkeypatch.setattr(_paths, "LOCK", str(lock))
    monkeypatch.setattr(_paths, "ETC", str(tmp_path))
    inside: list[int] = []

    def other() -> None:
        with files.host_lock(5):
            inside.append(lock.stat().st_ino)

    with files.host_lock(0):
        thread = threading.Thread(target=other)
        thread.start()
        time.sleep(0.2)
        lock.unlink()
    thread.join()
    assert inside == [lock.stat().st_ino]


@pytest.fixture
def etc(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """A folder for records."""
    monkeypatch.setattr(_paths, "ETC", str(tmp_path / "isolation"))
    return tmp_path / "isolation"


def test_records_come_back(etc: pathlib.Path) -> None:
    record = records.Record("cgroup", "web/3fa91c2", "default", {"pids_max": 64}, {"id_base": 1})
    records.SaveRecord(record).run()
    assert (etc / "cgroup" / "web.3fa91c2.json").stat().st_mode & 0o777 == 0o600
    assert records.load_records("cgroup") == {"web/3fa91c2": record}
    assert records.load_records("bridge") == {}
    records.DropRecord(record).run()
    assert not etc.exists()


def test_a_newer_record_is_refused(etc: pathlib.Path) -> None:
    (etc / "bridge").mkdir(parents=True)
    (etc / "bridge" / "iso0.json").write_text('{"format": 99, "version": "7.0"}')
    with pytest.raises(records.RecordError, match=r"newer version .*format 99, version 7.0.*upgrade the collection"):
        records.load_records("bridge")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 1}', '{"format": "x"}'])
def test_a_damaged_record_is_refused(etc: pathlib.Path, text: str) -> None:
    (etc / "bridge").mkdir(parents=True)
    (etc / "bridge" / "iso0.json").write_text(text)
    with pytest.raises(records.RecordError, match=r"iso0.json: not a record"):
        records.load_records("bridge")


def test_a_foreign_project_is_refused() -> None:
    record = records.Record("bridge", "iso0", "theirs")
    with pytest.raises(records.RecordError, match="belongs to project 'theirs', not 'ours'"):
        records.check_project("bridge", "iso0", "ours", record)
    records.check_project("bridge", "iso0", "theirs", record)
    records.check_project("bridge", "iso0", "ours", None)


def test_a_missing_tool_names_its_package() -> None:
    with pytest.raises(process.ToolError, match="install the package no-such-package"):
        process.require_tool("no-such-tool", "no-such-package")


def test_a_failing_tool_is_quoted() -> None:
    with pytest.raises(process.ToolError, match=r"sh -c .* failed with status 3: no room"):
        process.run(["sh", "-c", "echo no room >&2; exit 3"])


def test_a_tool_that_hangs_is_ended() -> None:
    with pytest.raises(process.ToolError, match=r"no end after 0\.1 s"):
        process.run(["sleep", "10"], timeout=0.1)
