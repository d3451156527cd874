# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Devices: what can be meant, what the host can give, and what the bundle and the unit say."""

from __future__ import annotations

import dataclasses
import typing as t

import pytest

from ansible_collections.daemonless.isolation.plugins.module_utils._errors import InvalidOption, IsolationError
from ansible_collections.daemonless.isolation.plugins.module_utils._host.devices import Device, observe
from ansible_collections.daemonless.isolation.plugins.module_utils._service.supervise import Start, unit_text
from ansible_collections.daemonless.isolation.tests.unit.service.test_bundle import config
from ansible_collections.daemonless.isolation.tests.unit.service.test_plan import bare, one, settled, spec

CARD = Device("c", 226, 128, 0o666, 0, 0)
HERE = {"/dev/card": CARD}
ASKED = [{"path": "/dev/card", "permissions": "rw"}]


def test_the_bundle_and_the_unit() -> None:
    asked = spec(devices=[{"path": "/dev/card", "target": "/dev/dri//mine", "permissions": "mr"}])
    made = config(asked, devices=HERE)
    assert made["linux"]["resources"]["devices"] == [
        {"allow": False, "access": "rwm"},
        {"allow": True, "type": "c", "major": 226, "minor": 128, "access": "rm"},
    ]
    (mount,) = [mount for mount in made["mounts"] if mount["source"] == "/dev/card"]
    assert mount["destination"] == "/dev/dri/mine"
    assert not {"nodev", "rnodev"} & set(mount["options"])
    assert {"nosuid", "noexec"} <= set(mount["options"])
    start = Start(asked, "/d", "crun", True, "isolation/web", None)
    assert "\nDevicePolicy=closed\nDeviceAllow=/dev/card rm\nTasksMax=" in unit_text(start)
    assert "DeviceAllow" not in unit_text(dataclasses.replace(start, spec=spec()))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "None is not an absolute path"),
        ({"path": "card"}, "'card' is not an absolute path"),
        ({"path": "/dev/../etc"}, "is not an absolute path without"),
        ({"path": "/dev/a b"}, "blanks"),
        ({"path": "/srv/node"}, "target: /srv/node: must be below /dev"),
        ({"path": "/dev/card", "target": "/dev"}, "must be below /dev"),
        ({"path": "/dev/card", "target": "/dev/null"}, "which every service has"),
        ({"path": "/dev/card", "target": "/dev/shm/card"}, "which every service has"),
        ({"path": "/dev/card", "permissions": ""}, "permissions: ''"),
        ({"path": "/dev/card", "permissions": "m"}, "permissions: 'm'"),
        ({"path": "/dev/card", "permissions": "rr"}, "permissions: 'rr'"),
        ({"path": "/dev/card", "permissions": "rx"}, "permissions: 'rx'"),
    ],
)
def test_what_can_not_be_meant(given: dict[str, t.Any], message: str) -> None:
    with pytest.raises(InvalidOption, match="web: devices: ") as refusal:
        spec(devices=[{"permissions": "rw", **given}])
    assert message in str(refusal.value)


def test_targets_are_apart() -> None:
    for other in ("/dev/card", "/dev/card/0"):
        with pytest.raises(InvalidOption, match="the target of another"):
            spec(devices=[*ASKED, {**ASKED[0], "target": other}])


@pytest.mark.parametrize(
    ("device", "message"),
    [
        (None, "is no character or block device of this host"),
        (Device("c", 1, 1, 0o666, 0, 0), "is the host's memory"),
        (dataclasses.replace(CARD, closed=True), "is mounted nodev"),
    ],
)
def test_what_the_host_can_not_give(device: Device | None, message: str) -> None:
    world = dataclasses.replace(bare("web"), devices={"/dev/card": device} if device else {})
    with pytest.raises(IsolationError, match="service web: devices: path: /dev/card") as refusal:
        one(spec(devices=ASKED), world)
    assert message in str(refusal.value)


@pytest.mark.parametrize(
    ("device", "warned"),
    [
        (CARD, False),
        (dataclasses.replace(CARD, mode=0o660), True),
        (dataclasses.replace(CARD, mode=0o664), True),
        (dataclasses.replace(CARD, mode=0o660, listed=True), False),
        (dataclasses.replace(CARD, mode=0o600, uid=2 << 20), False),
        (dataclasses.replace(CARD, mode=0o060, gid=2 << 20), False),
        (dataclasses.replace(CARD, mode=0o606, gid=2 << 20), True),
    ],
)
def test_a_mode_that_keeps_it_out_is_warned_of(device: Device, warned: bool) -> None:
    made = one(spec(devices=ASKED, id_base=2 << 20), dataclasses.replace(bare("web"), devices={"/dev/card": device}))
    assert any("which keeps the service's user 2097152:2097152 out" in warning for warning in made.warnings) is warned


def test_a_change_restarts() -> None:
    asked = spec(devices=ASKED)
    changed = one(asked, dataclasses.replace(settled(spec()), devices=HERE))
    assert [(change.key, change.after, change.effect) for change in changed.changes] == [
        ("devices", ["/dev/card rw"], "restart")
    ]
    assert "devices" not in {change.key for change in one(spec(), bare("web")).changes}


def test_the_hosts_own() -> None:
    found = observe(["/dev/null", "/dev", "/dev/nosuch", "/etc/passwd"])
    assert set(found) == {"/dev/null"}
    assert (found["/dev/null"].kind, found["/dev/null"].major, found["/dev/null"].minor) == ("c", 1, 3)
