# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the way into services decides before it touches anything."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.daemonless.isolation.plugins.module_utils._host.helpers import enter

SERVICES = {"web-1": "web", "web-2": "web", "db": "db", "idle": "idle"}
ALIVE = {"web-1": 11, "db": 12}

HYBRID = {
    "cpu,cpuacct": ("/", "/sys/fs/cgroup/cpu,cpuacct"),
    "name=systemd": ("/", "/sys/fs/cgroup/systemd"),
    "": ("/", "/sys/fs/cgroup/unified"),
}

CONFIG = {
    "process": {
        "args": ["/dev/init", "--", "/srv/app"],
        "env": ["PATH=/bin", "A=1", "EMPTY="],
        "cwd": "/srv",
        "user": {"uid": 1000, "gid": 1001, "umask": 18, "additionalGids": [5]},
        "capabilities": {"bounding": ["CAP_CHOWN"]},
        "noNewPrivileges": True,
        "terminal": False,
    }
}


@pytest.mark.parametrize(
    ("asked", "found"), [("web", ("web-1", 11)), ("web-1", ("web-1", 11)), ("db", ("db", 12))], ids=str
)
def test_a_name_stands_for_the_instance_that_runs(asked: str, found: tuple[str, int]) -> None:
    assert enter.select(asked, SERVICES, ALIVE.get) == found


@pytest.mark.parametrize(
    ("asked", "alive", "message"),
    [
        ("we", ALIVE, "there is no service we"),
        ("web-2", ALIVE, "web-2 does not run"),
        ("idle", ALIVE, "idle does not run"),
        ("web", {"web-1": 1, "web-2": 2}, "2 instances that run, web-1, web-2"),
    ],
)
def test_names_that_stand_for_none(asked: str, alive: dict[str, int], message: str) -> None:
    with pytest.raises(enter.EnterError, match=message):
        enter.select(asked, SERVICES, alive.get)


@pytest.mark.parametrize(
    ("groups", "mounted", "files"),
    [
        ({"": "/isolation.slice/a.service"}, {"": ("/", "/sys/fs/cgroup")}, ["/sys/fs/cgroup/isolation.slice/a.service/cgroup.procs"]),
        (
            {"cpuacct,cpu": "/isolation/web", "name=systemd": "/", "memory": "/isolation/web"},
            HYBRID,
            ["/sys/fs/cgroup/cpu,cpuacct/isolation/web/cgroup.procs", "/sys/fs/cgroup/systemd/cgroup.procs"],
        ),
        ({"": "/outer/isolation/web"}, {"": ("/outer", "/sys/fs/cgroup")}, ["/sys/fs/cgroup/isolation/web/cgroup.procs"]),
    ],
    ids=["v2", "v1", "below another root"],
)  # fmt: skip
def test_control_groups(groups: dict[str, str], mounted: dict[str, tuple[str, str]], files: list[str]) -> None:
    assert enter.members(groups, mounted) == files


def _asked(**given: t.Any) -> dict[str, t.Any]:
    return {"command": ["id"], "env": [], "workdir": None, "user": None, **given}


def test_the_process_has_the_rights_of_the_services_own() -> None:
    own = enter.process(CONFIG, _asked())
    assert own == {**CONFIG["process"], "args": ["id"]}


def test_the_process_has_what_is_asked_for() -> None:
    own = enter.process(CONFIG, _asked(env=["A=x=y", "B="], workdir="/tmp", user="5"))
    assert own["env"] == ["PATH=/bin", "A=x=y", "EMPTY=", "B="]
    assert own["cwd"] == "/tmp"
    assert own["user"] == {"uid": 5, "gid": 5, "umask": 18}
    assert own["capabilities"] == {"bounding": ["CAP_CHOWN"]}
    assert own["noNewPrivileges"]
