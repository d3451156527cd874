# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What root filesystems can be asked for, and what is refused before anything is looked at."""

from __future__ import annotations

import typing as t

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ansible_collections.daemonless.isolation.plugins.module_utils._errors import InvalidOption
from ansible_collections.daemonless.isolation.plugins.module_utils._rootfs.source_spec import (
    DebianSource,
    TarSource,
    canonical_digest,
)
from ansible_collections.daemonless.isolation.plugins.module_utils._rootfs.spec import OPTIONS, RootfsSpec, parse

SUM = "sha256:" + "ab" * 32
BOOKWORM = "sha256:044b463b99ee419915a083aec90ef4af71cde8f0a3482f28e7721dd9040aa557"


def ask(**options: t.Any) -> RootfsSpec:
    given = {"name": "web", "source": {"tar": {"path": "/srv/a.tar"}}, **options}
    checked = ArgumentSpecValidator(OPTIONS).validate(given)
    assert not checked.error_messages, checked.error_messages
    return parse(checked.validated_parameters)


def test_defaults() -> None:
    spec = ask()
    assert spec.service == "web"
    assert spec.mode == "overlay"
    assert spec.size is None
    assert spec.source == TarSource("/srv/a.tar", None, None)


def test_checksums_are_canonical() -> None:
    assert ask(
        source={"tar": {"path": "/srv/a.tar", "checksum": SUM.upper().replace("SHA", "sha")}}
    ).source == TarSource("/srv/a.tar", None, SUM)


def test_order_and_repetition_of_packages_mean_nothing() -> None:
    one = ask(source={"debian": {"suite": "bookworm", "include": ["b1", "a1", "b1"]}}).source
    two = ask(source={"debian": {"suite": "bookworm", "include": ["a1", "b1"]}}).source
    assert isinstance(one, DebianSource)
    assert one == two


def test_the_digest_of_a_debian_source_is_stable() -> None:
    source = ask(source={"debian": {"suite": "bookworm", "include": ["python3-minimal"]}}).source
    assert isinstance(source, DebianSource)
    assert canonical_digest(source.canonical()) == BOOKWORM


def test_an_ephemeral_size_is_whole_pages() -> None:
    assert ask(mode="ephemeral").size == 64 << 20
    assert ask(mode="ephemeral", size="100K").size == 128 << 10


def test_files_are_sorted_and_complete() -> None:
    files = ask(files=[{"path": "/z", "content": "z"}, {"path": "/a//b/../c", "state": "directory"}]).files
    assert [(file.path, file.laid.mode) for file in files] == [("/a/c", 0o755), ("/z", 0o644)]
    assert files[0].digest is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "Web"}, "name"),
        ({"service": "a/b"}, "service"),
        ({"source": {}}, "exactly one"),
        ({"source": {"tar": {"path": "/a"}, "directory": {"path": "/b"}}}, "exactly one"),
        ({"source": {"tar": {}}}, "either path or url"),
        ({"source": {"tar": {"path": "/a", "url": "http://x/a", "checksum": SUM}}}, "either path or url"),
        ({"source": {"tar": {"path": "a.tar"}}}, "absolute"),
        ({"source": {"tar": {"path": "/a", "checksum": "md5:00"}}}, "checksum"),
        ({"source": {"tar": {"url": "http://x/a"}}}, "checksum: needed"),
        ({"source": {"tar": {"url": "file:///etc/passwd", "checksum": SUM}}}, "not a URL"),
        ({"source": {"directory": {}}}, "path: needed"),
        ({"source": {"debian": {"suite": "book worm"}}}, "suite"),
        ({"source": {"debian": {"suite": "--help"}}}, "suite"),
        ({"source": {"debian": {"suite": "bookworm", "include": ["a,b"]}}}, "not the name of a package"),
        ({"source": {"debian": {"suite": "bookworm", "mirror": "[trusted=yes] http://x"}}}, "mirror"),
        ({"size": "1M"}, "only a root filesystem of mode ephemeral"),
        ({"mode": "ephemeral", "size": "12Q"}, "not a size"),
        ({"mode": "ephemeral", "size": "4K"}, "too few"),
        ({"id_base": 1000}, "id_base"),
        ({"id_base": 2**31}, "id_base"),
        ({"max_entries": 0}, "max_entries"),
        ({"files": [{"content": "x"}]}, "absolute"),
        ({"files": [{"path": "/", "state": "directory"}]}, "elsewhere"),
        ({"files": [{"path": "/a/../proc/x", "content": "x"}]}, "elsewhere"),
        ({"files": [{"path": "/a"}]}, "give content"),
        ({"files": [{"path": "/a", "state": "directory", "content": ""}]}, "give content"),
        ({"files": [{"path": "/a", "content": "", "mode": "644x"}]}, "octal"),
        ({"files": [{"path": "/a", "content": "", "owner": 65536}]}, "inside the service"),
        ({"files": [{"path": "/a", "content": ""}, {"path": "/b/../a", "content": ""}]}, "more than once"),
        ({"files": [{"path": "/a", "content": ""}, {"path": "/a/b", "content": ""}]}, "below a file"),
    ],
)
def test_refused(options: dict[str, t.Any], message: str) -> None:
    with pytest.raises(InvalidOption, match=message):
        ask(**options)
