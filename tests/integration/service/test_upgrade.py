# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""F14: another version of the collection, of Python or of pyroute2 leaves running services alone."""

from __future__ import annotations

import json
import pathlib
import shutil
import typing as t

import pytest
from services import Host
from world import COLLECTIONS

EDITS = (
    ("_version.py", 'VERSION = "', 'VERSION = "99.'),
    ("_service/paths.py", 'READ_ONLY = ("/proc/bus", ', 'READ_ONLY = ("/proc/bus", "/proc/acpi", '),
    ("_host/oci.py", "an OCI createRuntime hook that joins", "an OCI hook that joins"),
    ("_service/supervise.py", "mkfifo -m 0222", "mkfifo -m 222"),
)
"""What another version may do otherwise: its number, the content of a bundle, a helper, the supervisor's files."""


@pytest.fixture
def newer(tmp_path: pathlib.Path) -> pathlib.Path:
    """A tree of collections with another version of this one."""
    own = pathlib.PurePath("ansible_collections", "daemonless", "isolation")
    shutil.copytree(COLLECTIONS / own / "plugins", tmp_path / own / "plugins")
    for name, old, new in EDITS:
        path = tmp_path / own / "plugins" / "module_utils" / name
        text = path.read_text(encoding="utf-8")
        assert text.count(old) == 1, (name, old)
        path.write_text(text.replace(old, new), encoding="utf-8")
    return tmp_path


def test_another_version_of_the_collection(host: Host, newer: pathlib.Path) -> None:
    world = host.world
    before = host.run("web")

    world.collections = newer
    upgraded = world.cycle("namespaced_service", **host.options("web"))
    lines = upgraded["diff"][0]["before"].splitlines()
    assert {"artifact config.json: as rendered before", "helper network: other version"} <= set(lines)
    assert _life(host.see("web")) == _life(before)
    assert host.ask(before) == "hello world"
    record = json.loads(world.sh("cat /etc/isolation/service/web.json"))
    assert record["version"].startswith("99.")

    again = world.apply("namespaced_service", **{**host.options("web"), "state": "restarted"})["service"]
    assert again["pid"] != before["pid"]
    assert host.ask(again) == "hello world"


def test_another_python(host: Host) -> None:
    """Debian's own Python, with another pyroute2 than the one that made the service."""
    before = host.run("web")
    host.world.python = "/usr/bin/python3"
    assert not host.world.apply("namespaced_service", **host.options("web"))["changed"]
    assert _life(host.see("web")) == _life(before)


def _life(service: dict[str, t.Any]) -> tuple[t.Any, ...]:
    return service["pid"], service["namespaces"], service["state"]
