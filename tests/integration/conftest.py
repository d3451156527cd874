# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Fixtures for tests on the real kernel. Without root they fail, and say so."""

from __future__ import annotations

import fcntl
import os
import pathlib
import shutil
import subprocess
import sys
import typing as t

import pytest

sys.path.insert(0, os.path.dirname(__file__))

from services import Host, make_bridge, supervise
from world import REPOSITORY, World

TOOLS = ("ip", "nft", "crun", "runsvdir", "unshare", "nsenter", "skopeo", "umoci", "docker-registry", "zstd")


@pytest.fixture(scope="session", autouse=True)
def requirements() -> None:
    """What every integration test needs."""
    if os.geteuid() != 0:
        pytest.fail("integration tests change namespaces and cgroups: run them as root, or run make test-unit")
    missing = [tool for tool in TOOLS if shutil.which(tool, path="/usr/sbin:/usr/bin:/sbin:/bin") is None]
    if missing:
        pytest.fail(f"missing on this machine: {', '.join(missing)}: run tests/tools/host-packages")


@pytest.fixture(autouse=True)
def turn(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[None]:
    """Let a test that measures times (mark `alone`) run while no other does; workers are processes, so that locks of files tell them apart.

    Whoever wants to begin waits at the door first, so that one that wants to be alone is not kept out by those that come after it.
    """
    folder = tmp_path_factory.getbasetemp()
    folder = folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder
    with (folder / "door").open("w") as door, (folder / "room").open("w") as room:
        fcntl.flock(door, fcntl.LOCK_EX)
        fcntl.flock(room, fcntl.LOCK_EX if request.node.get_closest_marker("alone") else fcntl.LOCK_SH)
        fcntl.flock(door, fcntl.LOCK_UN)
        yield


@pytest.fixture
def world(turn: None) -> t.Iterator[World]:
    """A fresh host with its neighbours."""
    with World() as made:
        yield made


@pytest.fixture(scope="session")
def archive() -> pathlib.Path:
    """An archive of Debian with Python; made once, since it takes half a minute."""
    made = subprocess.run(
        [REPOSITORY / "tests" / "machine" / "make-rootfs"], capture_output=True, text=True, check=False
    )
    assert made.returncode == 0, made.stderr
    return pathlib.Path(made.stdout.strip())


@pytest.fixture
def host(world: World, archive: pathlib.Path) -> Host:
    """A host that is ready for services."""
    make_bridge(world)
    return Host(world, archive, supervise(world))
