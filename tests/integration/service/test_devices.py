# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Devices of the host in a service: what is given can be used as far as it is given, all others can't."""

from __future__ import annotations

import json
import typing as t

import pytest
from services import Host

TELL = """
import errno, json, os, sys, time
def use(path, flags):
    try:
        os.close(os.open(path, flags))
    except OSError as error:
        return errno.errorcode[error.errno]
    return "yes"
found = {path: [use(path, os.O_RDONLY), use(path, os.O_WRONLY)] for path in sys.argv[1:]}
print(json.dumps(found), flush=True)
time.sleep(600)
"""


def asked(paths: t.Sequence[str], *devices: dict[str, t.Any], **options: t.Any) -> dict[str, t.Any]:
    return {
        "name": "web", "rootfs": "web", "command": ["/usr/bin/python3", "-B", "-c", TELL, *paths], "devices": list(devices), **options,
    }  # fmt: skip


def told(host: Host, times: int) -> dict[str, list[str]]:
    """What it has told at its last start, of so many."""

    def lines() -> list[str]:
        return [line for line in host.log("web").splitlines() if "{" in line]

    host.world.wait(lambda: len(lines()) >= times, 5, "it tells")
    line = lines()[-1]
    return json.loads(line[line.index("{") :])  # type: ignore[no-any-return]


def test_devices_are_usable_as_far_as_they_are_given(host: Host) -> None:
    """/dev/loop7's numbers and /dev/fuse's: neither is among those that every service has."""
    world = host.world
    world.sh(
        "mknod -m 666 /run/card c 10 229; mknod -m 666 /run/disk b 7 7; mknod -m 600 /run/closed c 10 229; ln -s /run/card /run/link"
    )
    host.rootfs("web")
    world.sh("mknod -m 666 /var/lib/isolation/instances/web/rootfs/srv/node c 10 229")
    paths = ["/dev/card", "/dev/disk/one", "/dev/closed", "/srv/node", "/dev/mine"]
    first = world.cycle("namespaced_service", **asked(paths))["service"]
    seen = told(host, 1)
    assert seen.pop("/srv/node")[0] in ("EACCES", "EPERM"), "of the root filesystem"
    assert {answer[0] for answer in seen.values()} == {"ENOENT"}

    given = [
        {"path": "/run/card", "target": "/dev/card", "permissions": "rw"},
        {"path": "/run/disk", "target": "/dev/disk/one", "permissions": "r"},
        {"path": "/run/closed", "target": "/dev/closed"},
        {"path": "/dev/full", "target": "/dev/mine"},
    ]
    changed = world.cycle("namespaced_service", **asked(paths, *given))
    assert changed["service"]["pid"] != first["pid"]
    warning = str(changed["warnings"])
    assert warning.count("devices") == 1
    assert "/run/closed has mode 0600 and owner 0:0, which keeps the service's user" in warning
    seen = told(host, 2)
    assert seen["/dev/card"] == ["yes", "yes"]
    assert seen["/dev/disk/one"] == ["yes", "EPERM"], "the control group allows reading only"
    assert seen["/dev/closed"] == ["EACCES", "EACCES"], "by its mode"
    assert seen["/dev/mine"] == ["yes", "yes"]

    base = changed["service"]["id_base"]
    world.sh(f"chown {base} /run/closed")
    given[0] = {"path": "/run/link", "target": "/dev/card", "permissions": "r"}
    again = world.apply("namespaced_service", **asked(paths, *given))
    assert "devices" not in str(again.get("warnings"))
    seen = told(host, 3)
    assert seen["/dev/closed"] == ["yes", "yes"], "its owner is the service's user"
    assert seen["/dev/card"][0] == "yes"


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ({"path": "/etc/passwd", "target": "/dev/a"}, "service web: devices: path: /etc/passwd is no character or block device"),
        ({"path": "/dev/nosuch"}, "service web: devices: path: /dev/nosuch is no character or block device"),
        ({"path": "/run/nodev/card", "target": "/dev/a"}, "service web: devices: path: /run/nodev/card is on a file system"),
        ({"path": "/run/memory", "target": "/dev/a"}, "service web: devices: path: /run/memory is the host's memory"),
        ({"path": "/dev/fuse", "target": "/srv/a"}, "service: web: devices: target: /srv/a: must be below /dev"),
    ],
)  # fmt: skip
def test_what_is_refused(host: Host, device: dict[str, t.Any], message: str) -> None:
    host.rootfs("web")
    host.world.sh(
        "mkdir /run/nodev; mount -t tmpfs -o nodev none /run/nodev; mknod /run/nodev/card c 10 229; mknod /run/memory c 1 1"
    )
    answer = host.world.refused("namespaced_service", **asked([], device))
    assert answer.startswith(message), answer
