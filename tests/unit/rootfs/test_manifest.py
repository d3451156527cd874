# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Lists of an image's content: what they notice, and what they don't mind."""

from __future__ import annotations

import os
import pathlib
import typing as t

import pytest

from ansible_collections.daemonless.isolation.plugins.module_utils._host import manifest


@pytest.fixture
def tree(tmp_path: pathlib.Path) -> pathlib.Path:
    (tmp_path / "etc/deep").mkdir(parents=True)
    (tmp_path / "etc/motd").write_text("hello")
    (tmp_path / "etc/link").symlink_to("motd")
    (tmp_path / os.fsdecode(b"name-\xff")).write_text("")
    return tmp_path


def _extend(tree: pathlib.Path) -> None:
    (tree / "etc/more").write_text("")
    (tree / "etc/deep").rmdir()


def _relink(tree: pathlib.Path) -> None:
    (tree / "etc/link").unlink()
    (tree / "etc/link").symlink_to("/etc/shadow")


def _retype(tree: pathlib.Path) -> None:
    (tree / "etc/deep").rmdir()
    (tree / "etc/deep").symlink_to("/")


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda tree: (tree / "etc/motd").write_text("hullo"), "/etc/motd: other content, 1 entry"),
        (lambda tree: (tree / "etc/motd").write_text("x"), "/etc/motd: other size, content, 1 entry"),
        (lambda tree: (tree / "etc").chmod(0o700), "/etc: other mode, 1 entry"),
        (lambda tree: os.setxattr(tree / "etc/motd", "user.x", b"y"), "/etc/motd: other attributes, 1 entry"),
        (_extend, "/etc/deep: missing, 2 entries"),
        (_relink, "/etc/link: other content, 1 entry"),
        (_retype, "/etc/deep: other mode, content, 1 entry"),
        (lambda tree: (tree / "new").mkdir(), "/new: not in the image, 1 entry"),
    ],
)
def test_damage(tree: pathlib.Path, damage: t.Callable[[pathlib.Path], object], told: str) -> None:
    text = manifest.describe(str(tree))
    assert manifest.compare(text, str(tree)) is None
    damage(tree)
    found = manifest.compare(text, str(tree))
    assert str(found) == told


def test_times_say_nothing(tree: pathlib.Path) -> None:
    text = manifest.describe(str(tree))
    os.utime(tree / "etc/motd", (1, 1))
    assert manifest.describe(str(tree)) == text
