# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Fixtures for tests on the real kernel. Without root they fail, and say so."""

from __future__ import annotations

import os
import shutil
import sys
import typing as t

import pytest

sys.path.insert(0, os.path.dirname(__file__))

from world import World

TOOLS = ("ip", "nft", "crun", "runsvdir", "unshare", "nsenter", "skopeo", "umoci", "docker-registry", "zstd")


@pytest.fixture(scope="session", autouse=True)
def requirements() -> None:
    """What every integration test needs."""
    if os.geteuid() != 0:
        pytest.fail("integration tests change namespaces and cgroups: run them as root, or run make test-unit")
    missing = [tool for tool in TOOLS if shutil.which(tool, path="/usr/sbin:/usr/bin:/sbin:/bin") is None]
    if missing:
        pytest.fail(f"missing on this machine: {', '.join(missing)}: run tests/tools/host-packages")


@pytest.fixture
def world() -> t.Iterator[World]:
    """A fresh host with its neighbours."""
    with World() as made:
        yield made
