# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Sources of apt, paths inside a root, digests of trees."""

from __future__ import annotations

import os
import pathlib

import pytest

from ansible_collections.daemonless.isolation.plugins.module_utils._host import tree
from ansible_collections.daemonless.isolation.plugins.module_utils._host.debian import host_sources
from ansible_collections.daemonless.isolation.plugins.module_utils._host.inroot import resolve

KEYS = "/usr/share/keyrings/debian-archive-keyring.gpg"


@pytest.fixture
def apt(tmp_path: pathlib.Path) -> pathlib.Path:
    (tmp_path / "sources.list.d").mkdir()
    return tmp_path


def test_deb822_sources(apt: pathlib.Path) -> None:
    (apt / "sources.list.d" / "debian.sources").write_text(
        f"Types: deb deb-src\n# a comment\nURIs: http://mirror.example/debian\nSuites: bookworm bookworm-updates sid\n"
        f"Components: main contrib\nSigned-By: {KEYS}\n\n"
        "Types: deb\nURIs: http://mirror.example/off\nSuites: bookworm\nComponents: main\nEnabled: no\n\n"
        f"Types: deb\nURIs: http://mirror.example/security\nSuites: bookworm-security\nComponents: main\nSigned-By: {KEYS}\n"
    )
    assert host_sources("bookworm", str(apt)) == [
        f"deb [signed-by={KEYS}] http://mirror.example/debian bookworm main contrib",
        f"deb [signed-by={KEYS}] http://mirror.example/debian bookworm-updates main contrib",
        f"deb [signed-by={KEYS}] http://mirror.example/security bookworm-security main",
    ]
    assert host_sources("trixie", str(apt)) == []


def test_one_line_sources(apt: pathlib.Path) -> None:
    (apt / "sources.list").write_text(
        "deb http://mirror.example/debian bookworm main # comment\n"
        "deb-src http://mirror.example/debian bookworm main\n# deb http://mirror.example/no bookworm main\n"
        "deb [arch=amd64 signed-by=/usr/share/keyrings/other.gpg] http://other.example bookworm main\n"
        "deb http://stable.example bookworm stable\ndeb http://mirror.example/debian bookworm-backports main\n"
    )
    assert host_sources("bookworm", str(apt)) == ["deb http://mirror.example/debian bookworm main"]


def test_no_sources_at_all(tmp_path: pathlib.Path) -> None:
    assert host_sources("bookworm", str(tmp_path / "none")) == []


@pytest.fixture
def root(tmp_path: pathlib.Path) -> pathlib.Path:
    (tmp_path / "usr/bin").mkdir(parents=True)
    (tmp_path / "usr/bin/python3.11").write_text("x")
    (tmp_path / "usr/bin/python3").symlink_to("python3.11")
    (tmp_path / "bin").symlink_to("usr/bin")
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/absolute").symlink_to("/usr/bin/python3")
    (tmp_path / "etc/up").symlink_to("../../../../usr")
    (tmp_path / "etc/loop").symlink_to("loop")
    (tmp_path / "etc/host").symlink_to("/etc/passwd")
    return tmp_path


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/bin/python3", "/usr/bin/python3.11"),
        ("bin//./python3", "/usr/bin/python3.11"),
        ("/etc/absolute", "/usr/bin/python3.11"),
        ("/etc/up/bin", "/usr/bin"),
        ("/../../etc", "/etc"),
        ("/", "/"),
        ("/etc/loop", None),
        ("/etc/host", None),
        ("/usr/bin/python3.11/x", None),
        ("/usr/bin/python3/..", None),
        ("/nothing", None),
        ("/etc/\0", None),
    ],
)
def test_resolve(root: pathlib.Path, path: str, found: str | None) -> None:
    assert resolve(str(root), path) == found


def test_the_digest_of_a_tree_follows_what_matters(root: pathlib.Path) -> None:
    os.utime(root / "usr/bin/python3.11", ns=(1, 1))
    first = tree.manifest_digest(str(root))
    assert tree.manifest_digest(str(root)) == first
    os.utime(root / "usr/bin/python3.11", ns=(5, 1))
    os.utime(root / "usr", ns=(5, 5))
    assert tree.manifest_digest(str(root)) == first
    seen = {first}
    for change in (
        lambda: os.utime(root / "usr/bin/python3.11", ns=(1, 2)),
        lambda: (root / "usr/bin/python3.11").chmod(0o755),
        (root / "new").mkdir,
        lambda: os.replace(root / "etc/host", root / "etc/loop"),
    ):
        change()
        digest = tree.manifest_digest(str(root))
        assert digest not in seen
        seen.add(digest)


def test_no_directory(tmp_path: pathlib.Path) -> None:
    with pytest.raises(tree.TreeError, match="not a directory"):
        tree.manifest_digest(str(tmp_path / "none"))
