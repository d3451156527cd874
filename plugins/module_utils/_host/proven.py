# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which instances have ever passed their gate: a release of which none has is none to return to."""

from __future__ import annotations

import os

from .. import _paths
from .files import remove_file, write_atomic


def _path(name: str) -> str:
    return os.path.join(_paths.INSTANCES, name, "proven")


def is_proven(name: str) -> bool:
    """Whether an instance has."""
    return os.path.exists(_path(name))


def prove(name: str) -> None:
    """Write down that it has."""
    if not is_proven(name):
        write_atomic(_path(name), "")


def forget(name: str) -> None:
    """Forget it, with the instance."""
    remove_file(_path(name))
