# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Time zones: their names, what of a root filesystem can be mounted on, and what the bundle says."""

from __future__ import annotations

import dataclasses
import pathlib
import typing as t

import pytest

from ansible_collections.daemonless.isolation.plugins.module_utils._errors import InvalidOption, IsolationError
from ansible_collections.daemonless.isolation.plugins.module_utils._host import zones
from ansible_collections.daemonless.isolation.plugins.module_utils._host.inroot import kind
from ansible_collections.daemonless.isolation.plugins.module_utils._rootfs.state import RootfsView
from ansible_collections.daemonless.isolation.plugins.module_utils._service import bundle
from ansible_collections.daemonless.isolation.plugins.module_utils._service.roots import Root
from ansible_collections.daemonless.isolation.plugins.module_utils._service.state import World
from ansible_collections.daemonless.isolation.tests.unit.service.test_bundle import config, facts
from ansible_collections.daemonless.isolation.tests.unit.service.test_plan import bare, one, settled, spec

VIENNA = "Europe/Vienna"


def having(read_only: bool = False, **root: t.Any) -> World:
    """A host that has the zone, with another root filesystem."""
    world = bare("web", zones=frozenset([VIENNA]))
    views = {"web": dataclasses.replace(world.rootfs["web"], mode="read_only" if read_only else "overlay")}
    assert isinstance(views["web"], RootfsView)
    roots = {"web": Root("/i/web", "/bin/app", "", "", **root)}
    return dataclasses.replace(world, rootfs=views, roots=roots)


@pytest.mark.parametrize(
    "name", ["", "..", "../Europe/Vienna", "Europe/../Vienna", "/Europe/Vienna", "Europe/", "a b", "a/b/c/d", "x\n"]
)
def test_what_is_no_name(name: str) -> None:
    with pytest.raises(InvalidOption, match=r"web: timezone: .* is not the name of a time zone"):
        spec(timezone=name)


@pytest.mark.parametrize("target", ["/etc/localtime", "/etc/timezone"])
def test_another_mount_in_its_place(target: str) -> None:
    mount = {"source": "/srv/zone", "target": target, "read_only": True, "exec": True}
    with pytest.raises(InvalidOption, match=f"web: timezone: {target} is the target of another mount"):
        spec(timezone=VIENNA, mounts=[mount])
    assert spec(mounts=[mount]).timezone is None


@pytest.mark.parametrize("localtime", ["file", None])
def test_what_can_be_mounted_on(localtime: str | None) -> None:
    assert one(spec(timezone=VIENNA), having(localtime=localtime)).changed


@pytest.mark.parametrize(
    ("root", "message"),
    [
        ({"localtime": "link"}, "/etc/localtime is a link: what is mounted on a link"),
        ({"localtime": "directory"}, "/etc/localtime is a directory"),
        ({"localtime": None, "read_only": True}, "is read-only and has no /etc/localtime"),
    ],
)
def test_what_can_not(root: dict[str, t.Any], message: str) -> None:
    with pytest.raises(IsolationError, match=r"^service web: timezone: ") as refusal:
        one(spec(timezone=VIENNA), having(**root))
    assert message in str(refusal.value)
    assert str(refusal.value).endswith("rootfs_prepare (files: [{path: /etc/localtime, content: ''}])")
    assert one(spec(), having(**root)).changed, "nobody else is refused"


def test_a_zone_that_the_host_lacks() -> None:
    with pytest.raises(IsolationError, match=r"no time zone in /usr/share/zoneinfo/Europe/Wien: .* package tzdata"):
        one(spec(timezone="Europe/Wien"), having())


def test_the_bundle() -> None:
    asked = spec(timezone=VIENNA)

    def shown(**parts: t.Any) -> dict[str, str]:
        return {item["destination"]: item["source"] for item in config(asked, **parts)["mounts"]}

    folder = facts().directory
    assert shown()["/etc/localtime"] == f"{zones.FOLDER}/{VIENNA}"
    assert "/etc/timezone" not in shown()
    assert shown(timezone=True)["/etc/timezone"] == f"{folder}/timezone"
    assert bundle.files(asked, facts(timezone=True))[f"{folder}/timezone"] == (VIENNA + "\n", 0o644)
    assert f"{folder}/timezone" not in bundle.files(asked, facts())
    plain = config(timezone=True)
    assert not {"/etc/localtime", "/etc/timezone"} & {item["destination"] for item in plain["mounts"]}
    assert f"{folder}/timezone" not in bundle.files(spec(), facts(timezone=True))
    (mount,) = [item for item in config(asked)["mounts"] if item["destination"] == "/etc/localtime"]
    assert mount["options"] == ["bind", "ro", "nosuid", "noexec", "nodev", "private"], (
        "crun 1.8 can't set flags of files otherwise"
    )
    assert not any(text.startswith("TZ=") for text in config(asked)["process"]["env"])


def test_a_change_restarts() -> None:
    world = dataclasses.replace(settled(spec()), zones=frozenset([VIENNA]))
    changed = one(spec(timezone=VIENNA), world)
    assert [(change.key, change.after, change.effect) for change in changed.changes] == [
        ("timezone", VIENNA, "restart")
    ]


def test_the_host_s_zones(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zones, "FOLDER", str(tmp_path))
    (tmp_path / "Europe").mkdir()
    (tmp_path / "Europe" / "Vienna").write_bytes(b"TZif2")
    (tmp_path / "Vienna").symlink_to("Europe/Vienna")
    (tmp_path / "zone.tab").write_text("# a table")
    assert zones.present([VIENNA, "Vienna", "Europe", "zone.tab", "Nosuch"]) == {VIENNA, "Vienna"}


def test_what_is_in_a_root(tmp_path: pathlib.Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "etc").symlink_to("/real")
    (tmp_path / "real" / "file").touch()
    (tmp_path / "real" / "link").symlink_to("/etc/passwd")
    (tmp_path / "out").symlink_to("/../../../../etc")
    root = str(tmp_path)
    found = {name: kind(root, f"/etc/{name}") for name in ("file", "link", "nosuch", ".")}
    assert found == {"file": "file", "link": "link", "nosuch": None, ".": "directory"}
    assert kind(root, "/out/file") == "file", "the host's /etc has none"
    assert kind(root, "/nosuch/file") is None
