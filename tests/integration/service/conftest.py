# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Fixtures for services."""

from __future__ import annotations

import pathlib
import subprocess

import pytest
from services import Host, make_bridge, supervise
from world import REPOSITORY, World


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
