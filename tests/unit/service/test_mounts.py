# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Links on the way to sources, targets that can't be made, and what is passed on."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import typing as t

import pytest

from ansible_collections.daemonless.isolation.plugins.module_utils._errors import IsolationError
from ansible_collections.daemonless.isolation.plugins.module_utils._host.files import WriteFile
from ansible_collections.daemonless.isolation.plugins.module_utils._host.helpers import sources
from ansible_collections.daemonless.isolation.plugins.module_utils._host.helpers.mounting import parse_mountinfo
from ansible_collections.daemonless.isolation.plugins.module_utils._service.mounts import above, in_read_only
from ansible_collections.daemonless.isolation.tests.unit.service.test_plan import bare, one, spec

BIND = {"type": "bind", "source": "/srv/a", "target": "/a", "read_only": False, "exec": True, "propagation": "private"}


def test_a_link_that_root_alone_can_change_is_followed(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    """Owners are made up, so that any user can run this; links and directories are real."""
    real, link = tmp_path / "real", tmp_path / "link"
    real.mkdir()
    link.symlink_to("real")
    others: set[str] = set()
    genuine = os.lstat

    def owned(path: t.Any, **_given: t.Any) -> os.stat_result:
        found: list[t.Any] = list(genuine(path))
        found[4] = 1000 if str(path) in others else 0
        if str(path) not in others:
            found[0] &= ~0o022
        return os.stat_result(found)

    monkeypatch.setattr(sources.os, "lstat", owned)
    assert sources.loose_link(f"{link}/data") is None
    assert sources.loose_link(f"{tmp_path}/none/data") is None
    for one_of in (link, tmp_path):
        others = {str(one_of)}
        assert sources.loose_link(f"{link}/data") == (str(link), f"{real}/data")
        assert sources.loose_link(f"{real}/data") is None
        assert sources.loose_links([str(real), str(link)]) == {str(link): (str(link), str(real))}
    others = set()
    link.unlink()
    link.symlink_to("link")
    assert sources.loose_link(str(link)) is not None


def test_what_a_mount_passes_on_is_told_by_mountinfo() -> None:
    text = (
        "20 1 8:1 / / rw shared:1 - ext4 /dev/sda1 rw\n21 20 0:5 / /a rw - tmpfs t rw\n"
        "22 20 0:6 / /b\\040c rw master:3 propagate_from:2 - tmpfs t rw\n"
    )
    assert [(mount.target, mount.receives) for mount in parse_mountinfo(text)] == [
        ("/", True),
        ("/a", False),
        ("/b c", True),
    ]


def test_the_mount_in_which_a_target_lies() -> None:
    asked = spec(
        mounts=[{**BIND, "read_only": True}, {**BIND, "target": "/a/b/c"}, {**BIND, "target": "/ab"}],
        tmpfs=[{"target": "/a/b", "size": "1M", "mode": "1777"}],
    )
    holders = {target: above(asked, target) for target in ("/a/b/c", "/a/b", "/a", "/ab")}
    assert {key: None if holder is None else holder.target for key, holder in holders.items()} == {
        "/a/b/c": "/a/b",
        "/a/b": "/a",
        "/a": None,
        "/ab": None,
    }
    assert [target for target, _holder in in_read_only(asked)] == ["/a/b"]


def test_what_is_missing_where_nothing_can_be_made_is_refused() -> None:
    world = bare("web")
    asked = spec(mounts=[{**BIND, "read_only": True}, {**BIND, "target": "/a/b"}])
    missing = dataclasses.replace(world.roots["web"], missing=frozenset({"/a", "/a/b"}))
    world = dataclasses.replace(world, roots={"web": missing})
    one(asked, world)
    read_only = dataclasses.replace(world.rootfs["web"], mode="read_only")
    with pytest.raises(
        IsolationError, match="mounts: target: /a is not there in the root filesystem, which is read-only"
    ):
        one(asked, dataclasses.replace(world, rootfs={"web": read_only}))
    with pytest.raises(
        IsolationError, match=r"target: /a/b lies in /a, which is mounted read-only.*directory of the host /srv/a,"
    ):
        one(asked, dataclasses.replace(world, lacking_targets=frozenset({("web", "/a/b")})))
    one(asked, dataclasses.replace(world, lacking_targets=frozenset({("other", "/a/b")})))


def test_a_loose_link_is_refused() -> None:
    world = dataclasses.replace(bare("web"), links={"/srv/a": ("/srv", "/home/a")})
    with pytest.raises(
        IsolationError, match=r"source: /srv/a leads through the symbolic link /srv, .*: give /home/a, or"
    ):
        one(spec(mounts=[BIND]), world)


def test_only_what_was_asked_for_is_passed_on() -> None:
    follows = {**BIND, "propagation": "rslave"}
    world = dataclasses.replace(bare("web"), receiving=frozenset({"/srv/a"}))
    for mounts, options, root in (
        ([BIND], {"bind", "private"}, "private"),
        ([follows], {"rbind", "rslave"}, "rslave"),
    ):
        files = {
            step.path: step.text for step in one(spec(mounts=mounts), world).prepare if isinstance(step, WriteFile)
        }
        config = json.loads(files["/var/lib/isolation/instances/web/config.json"])
        (mount,) = [item for item in config["mounts"] if item["destination"] == "/a"]
        assert set(mount["options"]) - {"nosuid", "nodev", "rnosuid", "rnodev"} == options
        assert config["linux"]["rootfsPropagation"] == root
    with pytest.raises(IsolationError, match="rslave: /srv/a lies on a mount of the host that passes no mounts on"):
        one(spec(mounts=[follows]), bare("web"))
    with pytest.raises(IsolationError, match="rshared: what a service mounts would appear on the host"):
        spec(mounts=[{**BIND, "propagation": "rshared"}])
