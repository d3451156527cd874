# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Two projects on one host, each with lists in files of its own: neither touches the other, whatever happens to its lists."""

from __future__ import annotations

import copy
import pathlib
import shutil
import typing as t

import pytest
import yaml
from stage import Site
from world import COLLECTIONS, World, difference

Data = dict[str, t.Any]


def inventory(folder: pathlib.Path, project: str, subnet: str, files: dict[str, Data]) -> Site:
    """An inventory with a file of variables for each list, and no world yet."""
    place = folder / project
    variables = place / "group_vars" / "isolation"
    variables.mkdir(parents=True)
    local = {"ansible_connection": "local", "ansible_python_interpreter": "/usr/bin/python3"}
    (place / "hosts.yml").write_text(yaml.safe_dump({"isolation": {"hosts": {"localhost": local}}}))
    common: Data = {
        "isolation_project": project,
        "isolation_bridges": [{"name": f"iso{project}", "addresses": [f"{subnet}.1/24"]}],
        "isolation_rollout": {"min_healthy_time": "200ms", "healthy_deadline": "30s", "drain_timeout": "1s"},
    }
    for name, data in {"main": common, **files}.items():
        write(place, name, data)
    return Site(t.cast("World", None), place, {"isolation_project": project}, inventory=place / "hosts.yml")


def write(place: pathlib.Path, name: str, data: Data) -> None:
    (place / "group_vars" / "isolation" / f"{name}.yml").write_text(yaml.safe_dump(data))


@pytest.fixture
def projects(world: World, tmp_path: pathlib.Path, demo_variables: Data) -> tuple[Site, Site]:
    """One with two lists, and one with one."""
    web = {**copy.deepcopy(demo_variables["isolation_services"][0]), "networks": [{"bridge": "isoshop"}]}
    port = [{"host_port": 8080, "port": 3000}]
    shop = inventory(
        tmp_path,
        "shop",
        "10.92.0",
        {
            "web": {"isolation_services": [{**web, "name": "web", "ports": port}]},
            "jobs": {"isolation_services_jobs": [{**web, "name": "jobs", "ports": []}]},
        },
    )
    other = {**web, "name": "site", "networks": [{"bridge": "isoblog"}], "ports": [{"host_port": 8081, "port": 3000}]}
    blog = inventory(tmp_path, "blog", "10.92.1", {"site": {"isolation_services": [other]}})
    shop.world = blog.world = world
    return shop, blog


def lives(site: Site) -> dict[str, int]:
    return {one["service"]: one["pid"] for one in site.running()}


def newer(folder: pathlib.Path) -> pathlib.Path:
    """A tree of collections with the next version of this one."""
    own = pathlib.PurePath("ansible_collections", "daemonless", "isolation")
    for part in ("meta", "playbooks", "plugins", "roles"):
        shutil.copytree(COLLECTIONS / own / part, folder / own / part)
    path = folder / own / "plugins" / "module_utils" / "_version.py"
    text = path.read_text(encoding="utf-8")
    assert text.count('VERSION = "') == 1
    path.write_text(text.replace('VERSION = "', 'VERSION = "99.'), encoding="utf-8")
    return folder


def test_two_projects(projects: tuple[Site, Site], tmp_path: pathlib.Path) -> None:
    shop, blog = projects
    world = shop.world
    clean = world.snapshot()
    shop.changed("deploy")
    blog.changed("deploy")
    assert set(lives(shop)) == {"web", "jobs"}, "both lists"
    both = {"shop": lives(shop), "blog": lives(blog)}

    # A name of the other project is not taken over.
    declared = yaml.safe_load((blog.folder / "group_vars" / "isolation" / "site.yml").read_text())
    (site,) = declared["isolation_services"]
    taken = {**site, "name": "web", "ports": [{"host_port": 8082, "port": 3000}]}
    write(blog.folder, "site", {"isolation_services": [taken]})
    refused = blog.refused()
    assert "belongs to project 'shop'" in refused, refused
    write(blog.folder, "site", declared)

    # A typo empties one list, another one the other: nothing goes unasked, and not even then if it is more than was meant.
    write(shop.folder, "web", {"isolation_services": []})
    write(shop.folder, "jobs", {"isolation_servces_jobs": []})
    before = world.snapshot()
    assert shop.changed("deploy") == 0
    assert "isolation_prune would remove 2 services (jobs, web)" in shop.refused("-e", "isolation_prune=true")
    assert difference(before, world.snapshot()) == {}
    assert {"shop": lives(shop), "blog": lives(blog)} == both

    # The next version of the collection, with the inventory that was deployed.
    world.collections = newer(tmp_path / "newer")
    assert blog.changed("deploy") == 0
    assert difference(before, world.snapshot()) == {}
    assert {"shop": lives(shop), "blog": lives(blog)} == both
    world.collections = COLLECTIONS

    # One that is pruned, and a teardown, are of their own project.
    assert shop.changed("deploy", "-e", "isolation_prune=true", "-e", "isolation_prune_max=2") > 0
    assert (lives(shop), lives(blog)) == ({}, both["blog"])
    shop.changed("teardown")
    assert lives(blog) == both["blog"]
    blog.settled()
    blog.changed("teardown", "-e", "teardown_images=true")
    assert difference(clean, world.snapshot()) == {}
