#!/usr/bin/python

# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ..module_utils._runner import run_module
from ..module_utils._service.layer import ServiceLayer


def main() -> None:
    """Be the module."""
    run_module(ServiceLayer())


if __name__ == "__main__":
    main()
