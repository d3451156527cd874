# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Fixtures for the playbooks: the demo's data, with a root filesystem that needs no network."""

from __future__ import annotations

import copy
import pathlib
import subprocess
import typing as t

import pytest
import yaml
from releases import APP, LOAD
from stage import DEMO, Site
from world import REPOSITORY, World


@pytest.fixture(scope="session")
def root_filesystem() -> pathlib.Path:
    """An archive of Debian with Python; made once, since it takes half a minute."""
    made = subprocess.run(
        [REPOSITORY / "tests" / "machine" / "make-rootfs"], capture_output=True, text=True, check=False
    )
    assert made.returncode == 0, made.stderr
    return pathlib.Path(made.stdout.strip())


@pytest.fixture(scope="session")
def demo_variables(root_filesystem: pathlib.Path) -> dict[str, t.Any]:
    """The demo's own inventory data, but for the source of the root filesystem: a world has no way to Debian's mirrors."""
    variables = yaml.safe_load((DEMO / "group_vars" / "isolation.yml").read_text())
    service = variables["isolation_services"][0]
    service["rootfs"]["source"] = {
        "tar": {
            "path": str(root_filesystem),
            "checksum": "sha256:" + pathlib.Path(f"{root_filesystem}.sha256").read_text().strip(),
        }
    }
    service["rootfs"]["files"][0]["content"] = (REPOSITORY / "demo" / "app.py").read_text()
    service["ports"][0]["host_port"] = 8080
    return variables  # type: ignore[no-any-return]


@pytest.fixture
def site(world: World, tmp_path: pathlib.Path, demo_variables: dict[str, t.Any]) -> Site:
    """A clean host that the demo can be deployed to."""
    return Site(world, tmp_path, copy.deepcopy(demo_variables))


@pytest.fixture
def web(site: Site) -> Site:
    """A site whose service tells its release, and a sibling that asks it by its name."""
    service = site.service
    service["name"] = "web"
    service["environment"] = {"RELEASE": "1"}
    service["rootfs"]["files"][0]["content"] = APP
    service["resources"] = {"memory_max": "128M", "pids_max": 64}
    service["health"] = {"http": {"port": 3000, "path": "/health"}}
    sibling = {
        **service,
        "name": "sibling",
        "environment": {},
        "ports": [],
        "rootfs": {**service["rootfs"], "files": [{"path": "/srv/load.py", "content": LOAD}]},
        "command": ["/usr/bin/python3", "-c", "import time; time.sleep(100000)"],
        "health": None,
    }
    site.variables["isolation_services"].append(sibling)
    site.variables["isolation_rollout"] = {
        "min_healthy_time": "200ms",
        "healthy_deadline": "20s",
        "drain_timeout": "3s",
    }
    return site
