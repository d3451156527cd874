# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The helper that leads into services, as a file of the host. What it does is in helpers/enter.py."""

from __future__ import annotations

from .helpers import enter as _helper
from .libexec import program

HELPER = "enter"


def text() -> str:
    """What the file has to be."""
    return program(_helper)
