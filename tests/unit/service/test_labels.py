# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""AppArmor profiles and SELinux labels: what the bundle says, and when they are refused."""

from __future__ import annotations

import dataclasses
import pathlib
import typing as t

import pytest

from ansible_collections.daemonless.isolation.plugins.module_utils._errors import InvalidOption, IsolationError
from ansible_collections.daemonless.isolation.plugins.module_utils._host import lsm
from ansible_collections.daemonless.isolation.plugins.module_utils._host.lsm import Modules
from ansible_collections.daemonless.isolation.plugins.module_utils._service.spec import ServiceSpec
from ansible_collections.daemonless.isolation.plugins.module_utils._service.state import World
from ansible_collections.daemonless.isolation.tests.unit.service.test_bundle import config
from ansible_collections.daemonless.isolation.tests.unit.service.test_plan import bare, one, settled, spec

LABEL = "system_u:system_r:container_t:s0:c1,c2"
APPARMOR = Modules(apparmor=True, profiles=frozenset(["web"]))
KEYS = {"apparmor_profile": "apparmorProfile", "selinux_label": "selinuxLabel"}


def asked(option: str, value: str) -> ServiceSpec:
    given: dict[str, t.Any] = {option: value}
    return spec(**given)


def on(host: Modules, world: World | None = None) -> World:
    return dataclasses.replace(world or bare("web"), lsm=host)


def test_the_bundle() -> None:
    made = config(spec(apparmor_profile="web", selinux_label=LABEL))
    assert (made["process"]["apparmorProfile"], made["process"]["selinuxLabel"]) == ("web", LABEL)
    assert "mountLabel" not in made["linux"]
    assert not set(KEYS.values()) & set(config()["process"])


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("apparmor_profile", ""), ("apparmor_profile", "a b"), ("apparmor_profile", "a\n"), ("apparmor_profile", "a" * 256),
        ("selinux_label", ""), ("selinux_label", "container_t"), ("selinux_label", "a:b"), ("selinux_label", "a:b:c:s0\n"),
        ("selinux_label", "a:b:c d:s0"), ("selinux_label", "a:b:c:s0:c1:c2"),
    ],
)  # fmt: skip
def test_what_can_not_be_meant(option: str, value: str) -> None:
    with pytest.raises(InvalidOption, match=f"web: {option}: "):
        asked(option, value)


@pytest.mark.parametrize("label", [LABEL, "system_u:system_r:container_t:s0", "u:r:t", "u:r:t:s0-s0:c0.c1023"])
def test_labels(label: str) -> None:
    assert asked("selinux_label", label).selinux_label == label


@pytest.mark.parametrize(
    ("option", "value", "host", "message"),
    [
        ("apparmor_profile", "web", Modules(), "AppArmor is not on in this host's kernel (/sys/module/apparmor/"),
        ("apparmor_profile", "unconfined", Modules(selinux="enforcing"), "AppArmor is not on"),
        ("apparmor_profile", "we", APPARMOR, "no profile we is loaded (/sys/kernel/security/apparmor/profiles)"),
        (
            "selinux_label",
            LABEL,
            APPARMOR,
            "SELinux is not on in this host's kernel (there is no /sys/fs/selinux/enforce)",
        ),
    ],
)
def test_what_the_kernel_would_not_enforce(option: str, value: str, host: Modules, message: str) -> None:
    with pytest.raises(IsolationError) as refusal:
        one(asked(option, value), on(host))
    assert str(refusal.value).startswith(f"service web: {option}: {message}")


@pytest.mark.parametrize(
    ("option", "value", "host", "warning"),
    [
        ("apparmor_profile", "web", APPARMOR, ""),
        ("apparmor_profile", "unconfined", APPARMOR, ""),
        ("apparmor_profile", "unconfined", Modules(apparmor=True), ""),
        ("apparmor_profile", "web", Modules(apparmor=True), "can't be read"),
        ("selinux_label", LABEL, Modules(selinux="enforcing"), ""),
        ("selinux_label", LABEL, Modules(selinux="permissive"), "SELinux is permissive"),
    ],
)
def test_what_it_would(option: str, value: str, host: Modules, warning: str) -> None:
    planned = one(asked(option, value), on(host))
    assert planned.changed
    assert [warning in text for text in planned.warnings] == ([True] if warning else [])
    changed = one(asked(option, value), on(host, settled(spec())))
    assert [(change.key, change.after, change.effect) for change in changed.changes] == [(option, value, "restart")]
    back = one(spec(), settled(asked(option, value), lsm=host))
    assert [(change.key, change.after, change.effect) for change in back.changes] == [(option, None, "restart")]


def test_the_host_s(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("APPARMOR", "PROFILES", "SELINUX"):
        monkeypatch.setattr(lsm, name, str(tmp_path / name))
    assert lsm.observe() == Modules()
    (tmp_path / "APPARMOR").write_text("N\n")
    (tmp_path / "PROFILES").write_text("web (enforce)\nan other (complain)\n/usr/sbin/x//y (unconfined)\n")
    (tmp_path / "SELINUX").write_text("0")
    assert lsm.observe() == Modules(selinux="permissive")
    (tmp_path / "APPARMOR").write_text("Y\n")
    (tmp_path / "SELINUX").write_text("1")
    assert lsm.observe() == Modules(True, frozenset(["web", "an other", "/usr/sbin/x//y"]), "enforcing")
