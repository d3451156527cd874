# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A service's time zone, as its programs tell it, and what can't have one."""

from __future__ import annotations

import typing as t

import pytest
from services import Host

ROOT = "/var/lib/isolation/instances/web/rootfs"
EMPTY = {"path": "/etc/localtime", "content": ""}


def quiet(**options: t.Any) -> dict[str, t.Any]:
    return {
        "name": "web",
        "rootfs": "web",
        "command": ["/usr/bin/python3", "-c", "import time; time.sleep(600)"],
        **options,
    }


def inside(host: Host, *command: str) -> str:
    return host.world.run(["/usr/local/libexec/isolation/enter", "exec", "web", "--", *command]).stdout.strip()


@pytest.mark.parametrize("mode", ["overlay", "read_only", "ephemeral"])
def test_programs_tell_the_zone(host: Host, mode: str) -> None:
    world = host.world
    host.rootfs("web", mode=mode, files=[EMPTY, {"path": "/etc/timezone", "content": "Etc/UTC\n"}])
    world.cycle("namespaced_service", **quiet(timezone="Europe/Vienna"))
    for month, wanted in ((1, "CET 13"), (7, "CEST 14")):
        assert inside(host, "date", "-d", f"2026-0{month}-01 12:00Z", "+%Z %H") == wanted
    assert inside(host, "/usr/bin/python3", "-c", "import time; print(time.tzname)") == "('CET', 'CEST')"
    assert inside(host, "cat", "/etc/timezone") == "Europe/Vienna"
    writing = "try: open('/etc/localtime', 'wb')\nexcept OSError as error: print(error.strerror)"
    assert inside(host, "/usr/bin/python3", "-c", writing) == "Read-only file system"

    world.cycle("namespaced_service", **quiet(timezone="Asia/Tokyo"))
    assert inside(host, "date", "+%Z") == "JST"
    world.cycle("namespaced_service", **quiet())
    assert inside(host, "date", "+%Z") == "UTC"
    assert inside(host, "cat", "/etc/timezone") == "Etc/UTC"
    assert "timezone" not in world.sh("ls /var/lib/isolation/instances/web").split()


def test_a_root_that_has_no_file_for_it(host: Host) -> None:
    host.rootfs("web")
    host.world.cycle("namespaced_service", **quiet(timezone="Europe/Vienna"))
    assert inside(host, "date", "-d", "2026-07-01 12:00Z", "+%Z") == "CEST"
    host.rootfs("other", mode="read_only")
    answer = host.world.refused(
        "namespaced_service", **{**quiet(timezone="Europe/Vienna"), "name": "other", "rootfs": "other"}
    )
    assert answer.startswith("service other: timezone: the root filesystem is read-only and has no /etc/localtime"), (
        answer
    )


def test_a_link_is_refused_and_the_remedy_works(host: Host) -> None:
    world = host.world
    host.rootfs("web")
    world.sh(f"mkdir -p {ROOT}/usr/share/zoneinfo/Etc; cp /usr/share/zoneinfo/Etc/UTC {ROOT}/usr/share/zoneinfo/Etc/")
    world.sh(f"ln -s /usr/share/zoneinfo/Etc/UTC {ROOT}/etc/localtime")
    answer = world.refused("namespaced_service", **quiet(timezone="Europe/Vienna"))
    assert answer.startswith(f"service web: timezone: in the root filesystem {ROOT}, /etc/localtime is a link: "), (
        answer
    )
    assert "files: [{path: /etc/localtime, content: ''}]" in answer
    world.cycle("namespaced_service", **quiet())

    world.apply("namespaced_service", name="web", state="absent")
    files = [{"path": "/srv/probe.py", "content": ""}, EMPTY]
    world.apply("rootfs_prepare", name="web", source={"tar": {"path": str(host.archive)}}, files=files)
    world.cycle("namespaced_service", **quiet(timezone="Europe/Vienna"))
    when = "2026-07-01 12:00Z"
    assert inside(host, "date", "-d", when, "+%Z") == "CEST"
    assert inside(host, "env", "TZ=Etc/UTC", "date", "-d", when, "+%Z %H") == "UTC 12", (
        "the zone of that name is left alone"
    )


def test_a_zone_that_the_host_lacks(host: Host) -> None:
    host.rootfs("web")
    answer = host.world.refused("namespaced_service", **quiet(timezone="Europe/Wien"))
    assert answer.startswith("service web: timezone: this host has no time zone in /usr/share/zoneinfo/Europe/Wien: ")
    assert "tzdata" in answer
    assert host.world.refused("namespaced_service", **quiet(timezone="../../etc/passwd")).startswith(
        "service: web: timezone: '../../etc/passwd' is not the name"
    )
