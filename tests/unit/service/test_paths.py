# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Masked and read-only paths: those of every service stay, and no more are taken than the service can do without."""

from __future__ import annotations

import dataclasses
import typing as t

import pytest

from ansible_collections.daemonless.isolation.plugins.module_utils._errors import InvalidOption, IsolationError
from ansible_collections.daemonless.isolation.plugins.module_utils._service.paths import MASKED, READ_ONLY
from ansible_collections.daemonless.isolation.plugins.module_utils._service.roots import Root
from ansible_collections.daemonless.isolation.plugins.module_utils._service.spec import ServiceSpec
from ansible_collections.daemonless.isolation.tests.unit.service.test_bundle import config
from ansible_collections.daemonless.isolation.tests.unit.service.test_plan import bare, one, settled, spec

BOTH = ("masked_paths", "readonly_paths")


def asked(option: str, *paths: str) -> ServiceSpec:
    given: dict[str, t.Any] = {option: [*paths]}
    return spec(**given)


def test_the_bundle_has_more_and_never_fewer() -> None:
    more = spec(masked_paths=["/srv/a", "/proc/keys", "/proc/cpuinfo"], readonly_paths=["/var//lib/b/", "/proc/sys"])
    made = config(more, masked=("/sys/more",))["linux"]
    assert made["maskedPaths"] == sorted([*MASKED, "/sys/more", "/srv/a", "/proc/cpuinfo"])
    assert made["readonlyPaths"] == sorted([*READ_ONLY, "/var/lib/b"])
    plain = config(masked=("/sys/more",))["linux"]
    assert plain["maskedPaths"] == sorted([*MASKED, "/sys/more"])
    assert plain["readonlyPaths"] == sorted(READ_ONLY)


@pytest.mark.parametrize("option", BOTH)
@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("srv", "'srv' is not an absolute path"),
        ("/srv/../etc", "must not contain '..'"),
        ("/", "/ as a whole"),
        ("//", "/ as a whole"),
        ("/proc/", "/proc as a whole"),
    ],
)
def test_what_can_not_be_meant(option: str, path: str, message: str) -> None:
    with pytest.raises(InvalidOption, match=f"web: {option}: ") as refusal:
        asked(option, path)
    assert message in str(refusal.value)


@pytest.mark.parametrize(
    ("path", "hidden", "given"),
    [
        ("/etc", "/etc/hosts", {}),
        ("/etc/resolv.conf", "/etc/resolv.conf", {}),
        ("/dev", "/dev/init", {}),
        ("/data", "/data/in", {"mounts": [{"source": "/srv", "target": "/data/in", "read_only": True, "exec": True}]}),
        ("/data", "/data", {"tmpfs": [{"target": "/data", "size": "1M", "mode": "1777"}]}),
        ("/dev/card", "/dev/card", {"devices": [{"path": "/dev/card", "permissions": "rw"}]}),
        ("/srv", "/srv/app", {"workdir": "/srv/app"}),
    ],
)
def test_a_mask_does_not_hide_what_is_asked_for(path: str, hidden: str, given: dict[str, t.Any]) -> None:
    with pytest.raises(InvalidOption) as refusal:
        spec(masked_paths=[path], **given)
    assert str(refusal.value) == f"web: masked_paths: {path} would hide {hidden}, which the service is given"
    assert spec(masked_paths=[path + "x"], **given).masked_paths == (path + "x",)
    assert spec(readonly_paths=[path], **given).readonly_paths == (path,)


def test_a_mask_does_not_hide_the_program() -> None:
    for path in ("/bin/app", "/bin"):
        with pytest.raises(IsolationError, match=f"masked_paths: {path} would hide the service's own program /bin/app"):
            one(spec(masked_paths=[path]), bare("web"))
    assert one(spec(masked_paths=["/bin/ap"], readonly_paths=["/bin"]), bare("web")).changed


def test_what_is_not_there_is_warned_of() -> None:
    paths = ["/srv/a", "/proc/nosuch", "/sys/nosuch", "/mnt/x"]
    more = spec(
        masked_paths=[*paths, "/srv/there"],
        readonly_paths=["/srv/b"],
        tmpfs=[{"target": "/mnt", "size": "1M", "mode": "1777"}],
    )
    root = Root("/i/web", "/bin/app", "", "", lacking=frozenset([*paths, "/srv/b"]))
    planned = one(more, dataclasses.replace(bare("web"), roots={"web": root}))
    assert list(planned.warnings) == [
        "service web: masked_paths: /srv/a is not in the root filesystem /i/web: there is nothing to mask",
        "service web: readonly_paths: /srv/b is not in the root filesystem /i/web: there is nothing to make read-only",
    ]


@pytest.mark.parametrize("option", BOTH)
def test_changes_restart(option: str) -> None:
    changed = one(asked(option, "/srv/a"), settled(spec()))
    assert [(change.key, change.after, change.effect) for change in changed.changes] == [
        (option, ["/srv/a"], "restart")
    ]
    assert not one(asked(option, "/srv/b", "/srv/a", "/srv/a"), settled(asked(option, "/srv/a", "/srv/b"))).changed
