# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Drop-ins that keep other managers of networks off our links."""

from __future__ import annotations

import configparser
import fnmatch

from ansible_collections.daemonless.isolation.plugins.module_utils import _paths
from ansible_collections.daemonless.isolation.plugins.module_utils._host import unmanaged
from ansible_collections.daemonless.isolation.plugins.module_utils._host.files import RemoveFile, WriteFile
from ansible_collections.daemonless.isolation.plugins.module_utils._host.unmanaged import (
    Managers,
    ReloadManagers,
    State,
)
from ansible_collections.daemonless.isolation.plugins.module_utils._names import interface_name

ALL = Managers(networkd=True, network_manager=True, udev=True)


def matches(text: str, key: str, link: str) -> bool:
    parser = configparser.ConfigParser()
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(text)
    return any(fnmatch.fnmatchcase(link, pattern) for pattern in parser["Match"][key].split())


def test_a_host_without_managers_gets_nothing() -> None:
    assert unmanaged.dropins(["iso0"], [], Managers()) == {}


def test_each_manager_gets_its_own_file() -> None:
    assert set(unmanaged.dropins(["iso0"], [], Managers(networkd=True))) == {unmanaged.NETWORK}
    assert set(unmanaged.dropins(["iso0"], [], Managers(udev=True))) == {unmanaged.LINK}
    assert set(unmanaged.dropins(["iso0"], [], Managers(network_manager=True))) == {unmanaged.KEYFILE}


def test_names() -> None:
    """Bridges, their ports and services' links match, others do not; a port is still named by udev."""
    texts = unmanaged.dropins(["iso1", "iso0"], ["eth1"], ALL)
    assert all(_paths.MARKER in text for text in texts.values())
    service = interface_name("web", "iso0")
    for link in ("iso0", "iso1", "eth1", service):
        assert matches(texts[unmanaged.NETWORK], "Name", link)
    for link in ("iso2", "eth0", "iso" + "z" * 12, service[:-1]):
        assert not matches(texts[unmanaged.NETWORK], "Name", link)
    assert matches(texts[unmanaged.LINK], "OriginalName", service)
    assert matches(texts[unmanaged.LINK], "OriginalName", "iso1")
    assert not matches(texts[unmanaged.LINK], "OriginalName", "eth1")
    assert not matches(texts[unmanaged.LINK], "OriginalName", service[:-1])
    # udev takes no pattern that is longer than a name (IFNAMSIZ).
    names = texts[unmanaged.LINK].split("OriginalName=")[1].split("\n")[0]
    assert max(map(len, names.split())) < 16
    line = texts[unmanaged.KEYFILE].splitlines()[-1]
    assert (
        line
        == "unmanaged-devices+=interface-name:=iso0;interface-name:=iso1;interface-name:=eth1;interface-name:iso????????????"
    )


def test_the_last_bridge_takes_them_along() -> None:
    """Ours are removed, another's of the same name is not, and without a difference nobody is told."""
    texts = unmanaged.dropins(["iso0"], [], ALL)
    there = State(ALL, texts)
    assert unmanaged.steps(texts, there) == ()
    gone = unmanaged.dropins([], [], ALL)
    assert gone == {}
    paths = tuple(sorted(texts))
    assert unmanaged.steps(gone, there) == (*(RemoveFile(path) for path in paths), ReloadManagers(paths))
    foreign = State(ALL, {unmanaged.LINK: "[Match]\n"})
    assert unmanaged.steps(gone, foreign) == ()


def test_only_what_differs_is_written() -> None:
    texts = unmanaged.dropins(["iso0"], [], ALL)
    found = State(ALL, {**texts, unmanaged.LINK: "old"})
    assert unmanaged.steps(texts, found) == (
        WriteFile(unmanaged.LINK, texts[unmanaged.LINK]),
        ReloadManagers((unmanaged.LINK,)),
    )
    assert unmanaged.stale(texts, found) == (unmanaged.LINK,)
