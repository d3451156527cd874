# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What benchmarks of several ways start from: one archive, and worlds whose data is on a disk."""

from __future__ import annotations

import contextlib
import pathlib
import shutil
import subprocess
import tempfile
import typing as t

from world import World

from .machine import PYTHON
from .report import REPOSITORY


def make_archive() -> str:
    """The root filesystem that all are made of: Debian with Python, the one of the integration tests; made once.

    :raises RuntimeError: it can't be made.
    """
    made = subprocess.run(
        [REPOSITORY / "tests" / "machine" / "make-rootfs"], stdout=subprocess.PIPE, text=True, check=False
    )
    if made.returncode != 0:
        raise RuntimeError("tests/machine/make-rootfs failed")
    return made.stdout.strip()


@contextlib.contextmanager
def disk_world(where: str) -> t.Iterator[World]:
    """A world in which a folder is one of the disk, not of memory; it goes with the world."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="bench-", dir=REPOSITORY / ".build"))
    try:
        with World(python=PYTHON, compiled=False) as world:
            folder.chmod(0o755)
            world.sh(f"mkdir -p {where}; mount --bind {folder} {where}")
            yield world
    finally:
        shutil.rmtree(folder, ignore_errors=True)
