# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Fixtures for slices: processes inside, and a disk."""

from __future__ import annotations

import pathlib
import subprocess
import typing as t

import pytest
from slices import NAME, Inside
from world import World


@pytest.fixture
def inside(world: World) -> t.Iterator[t.Callable[..., Inside]]:
    """Start processes in slices; they end with the test."""
    started: list[Inside] = []

    def start(name: str = NAME, script: str = "exec sleep 300") -> Inside:
        started.append(Inside(world, name, script))
        return started[-1]

    yield start
    for process in started:
        process.end()


@pytest.fixture
def disk(tmp_path: pathlib.Path) -> t.Iterator[str]:
    """A disk of 256 MiB: a loop device."""
    image = tmp_path / "disk.raw"
    image.touch()
    with image.open("r+b") as stream:
        stream.truncate(256 << 20)
    found = subprocess.run(["losetup", "--find", "--show", str(image)], capture_output=True, text=True, check=True)
    yield found.stdout.strip()
    subprocess.run(["losetup", "--detach", found.stdout.strip()], check=True)
