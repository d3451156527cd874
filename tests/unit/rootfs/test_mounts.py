# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""mountinfo, by lines that kernels print."""

from __future__ import annotations

import dataclasses

from ansible_collections.daemonless.isolation.plugins.module_utils._host.helpers.rootfs import (
    Layout,
    find,
    matches,
    parse_mountinfo,
)
from ansible_collections.daemonless.isolation.plugins.module_utils._host.mounts import overlay_layers

LAYOUT = Layout("web", "/var/lib/isolation/images/sha256-00/rootfs", 1048576, "overlay")
OVERLAY = (
    "143 90 0:58 / /var/lib/isolation/instances/web/rootfs rw,nosuid,nodev,relatime shared:7 master:1 - overlay none"
    " rw,lowerdir=/var/lib/isolation/images/sha256-00/rootfs,upperdir=/var/lib/isolation/instances/web/layers/upper,"
    "workdir=/var/lib/isolation/instances/web/layers/work,uuid=on"
)


def test_fields() -> None:
    mount = parse_mountinfo("36 35 98:0 /mnt1 /mnt\\0402 rw,noatime master:1 - ext3 /dev/root rw,errors=continue\n")[0]
    assert (mount.device, mount.root, mount.target, mount.kind, mount.source) == (
        "98:0",
        "/mnt1",
        "/mnt 2",
        "ext3",
        "/dev/root",
    )
    assert mount.options == {"rw", "noatime"}
    assert mount.super_options == {"rw": "", "errors": "continue"}


def test_no_optional_fields_and_an_empty_source() -> None:
    mount = parse_mountinfo("1 0 0:1 / / rw - tmpfs  rw")[0]
    assert (mount.kind, mount.source, mount.super_options) == ("tmpfs", "", {"rw": ""})


def test_what_is_no_line_is_left_out() -> None:
    assert parse_mountinfo("\n1 2 3\n") == []


def test_the_last_mount_is_on_top() -> None:
    lines = "1 0 0:1 / /a rw - tmpfs one rw\n2 1 0:2 / /a rw - tmpfs two rw\n3 1 0:3 / /ab rw - tmpfs three rw"
    found = find("/a", parse_mountinfo(lines))
    assert found is not None
    assert found.source == "two"
    assert find("/nowhere", parse_mountinfo(lines)) is None


def test_matches() -> None:
    mount = parse_mountinfo(OVERLAY)[0]
    assert matches(mount, LAYOUT)
    assert overlay_layers(mount) == {LAYOUT.image, LAYOUT.upper}
    assert not matches(mount, dataclasses.replace(LAYOUT, mode="read_only"))
    assert not matches(mount, dataclasses.replace(LAYOUT, mode="ephemeral", size=65536))
    assert not matches(mount, dataclasses.replace(LAYOUT, image="/var/lib/isolation/images/sha256-01/rootfs"))
    assert not matches(mount, dataclasses.replace(LAYOUT, name="web-2"))


def test_missing_nosuid_does_not_match() -> None:
    assert not matches(parse_mountinfo(OVERLAY.replace("nosuid,", ""))[0], LAYOUT)
    assert not matches(parse_mountinfo(OVERLAY.replace("rw,nosuid", "ro,nosuid"))[0], LAYOUT)


def test_a_read_only_one_has_its_own_layer_below() -> None:
    layout = dataclasses.replace(LAYOUT, mode="read_only")
    assert layout.overlay() == {"lowerdir": f"{layout.upper}:{layout.image}"}
    assert layout.overlay(writable=True)["upperdir"] == layout.upper
