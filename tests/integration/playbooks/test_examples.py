# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The examples, as they are, but for where their images come from: a world has no way to Debian's mirrors."""

from __future__ import annotations

import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import typing as t

import yaml
from releases import load, stop
from stage import Site
from world import HOST4, REPOSITORY, World, difference

from ansible_collections.daemonless.isolation.plugins.module_utils._host import debian

EXAMPLES = REPOSITORY / "examples"
PICKY = """
import os, runpy
for number in "12":
    try:
        os.mkdir("/mnt/" + number)
        break
    except FileExistsError:
        pass
else:
    raise SystemExit("no seat is left")
runpy.run_path("/srv/app.py", run_name="__main__")
"""
"""A program of which two can run, and no third."""
CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache")) / "daemonless-isolation/rootfs"


def archive_of(source: dict[str, t.Any]) -> dict[str, t.Any]:
    """What a source `debian` makes, as a source `tar`: made once by the module's own code, and kept for the next run."""
    wanted = source["debian"]
    found = CACHE / f"example-{hashlib.sha256(json.dumps(source, sort_keys=True).encode()).hexdigest()[:16]}.tar.gz"
    if not found.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        made, packed = CACHE / f".example-{os.getpid()}.tar", CACHE / f".example-{os.getpid()}.tar.gz"
        try:
            debian.bootstrap(
                wanted["suite"], wanted.get("variant", "minbase"), wanted["include"], None, str(made), str(CACHE)
            )
            subprocess.run(["gzip", "-1", str(made)], check=True)
            packed.rename(found)
        finally:
            made.unlink(missing_ok=True)
    return {"tar": {"path": str(found), "checksum": "sha256:" + hashlib.sha256(found.read_bytes()).hexdigest()}}


def example(name: str, world: World, folder: pathlib.Path, image: str) -> Site:
    """A copy of an example, and the world that it is to be deployed to. `image` is its variable that has the source."""
    place = folder / name
    shutil.copytree(EXAMPLES / name, place)
    data: dict[str, t.Any] = {}
    for path in sorted((place / "group_vars" / "isolation").iterdir()):
        data.update(yaml.safe_load(path.read_text()))
    variables = {"isolation_project": data["isolation_project"], image: archive_of(data[image])}
    return Site(world, place, variables, inventory=place / "inventory.yml")


def post(site: Site, text: str) -> str:
    script = f"import urllib.request as u; print(u.urlopen('http://127.0.0.1:8080/', {text.encode()!r}, timeout=5).read().decode())"
    return site.world.run(["/usr/bin/python3", "-c", script]).stdout.strip()


def notes(site: Site) -> t.Any:
    return json.loads(site.get("http://127.0.0.1:8080/") or "null")


SEARCH = """
import os, stat, sys
text = sys.stdin.buffer.read()

def look(path):
    try:
        if stat.S_ISREG(os.lstat(path).st_mode):
            with open(path, "rb") as stream:
                if text in stream.read():
                    print(path)
    except OSError:
        pass

for folder in ("/etc", "/usr/local", "/var/lib/isolation", "/var/log/isolation", "/run"):
    for top, _folders, names in os.walk(folder):
        for name in names:
            look(os.path.join(top, name))
for pid in filter(str.isdigit, os.listdir("/proc")):
    look(f"/proc/{pid}/cmdline")
    look(f"/proc/{pid}/environ")
"""
"""A program that prints which files and processes of the host have in them what its standard input has."""


def test_a_web_application_with_a_database(world: World, tmp_path: pathlib.Path) -> None:
    site = example("web-with-database", world, tmp_path, "notes_image")
    clean = world.snapshot()
    shown = site.play("deploy", "-vvv", "--diff").stdout
    assert site.changed("deploy") == 0
    password = (site.folder / ".db_password").read_text().split()[0]
    assert password not in shown
    assert notes(site) == []
    assert (post(site, "first"), notes(site)) == ('"first"', ["first"])

    places = world.run(["/usr/bin/python3", "-c", SEARCH], stdin=password).stdout.split()
    assert len(places) == 4, "in memory and kept, for either service"
    assert all(path.startswith(("/run/isolation/secrets/", "/var/lib/isolation/secrets/")) for path in places), places
    (database,) = [one for one in site.running() if one["service"] == "db"]
    address = database["addresses"][0]["ipv4"]
    reach = f"import socket; socket.create_connection(({address!r}, 5432), timeout=1)"
    assert world.run(["/usr/bin/python3", "-c", reach], check=False, ns="client").returncode != 0
    refused = world.run(
        ["/usr/local/libexec/isolation/enter", "exec", "db", "--", "psql", "-h", address, "-U", "postgres", "-w"],
        check=False,
    )
    assert "no password supplied" in refused.stderr

    # A new release of both: another stop timeout is none, another variable is.
    for path, old, new in (("web.yml", "-B, ", "-B, -u, "), ("database.yml", "/bin/sh, ", "/bin/sh, -u, ")):
        declared = site.folder / "group_vars" / "isolation" / path
        declared.write_text(declared.read_text().replace(old, new))
    before = {one["service"]: one["name"] for one in site.running()}
    site.changed("deploy")
    after = {one["service"]: one["name"] for one in site.running()}
    assert all(before[name] != after[name] for name in ("web", "db"))
    assert notes(site) == ["first"]

    site.play(str(site.folder / "backup.yml"))
    assert (site.folder / "backups" / "localhost.dump").stat().st_size > 500
    post(site, "a mistake")
    assert notes(site) == ["first", "a mistake"]
    site.play(str(site.folder / "restore.yml"))
    assert notes(site) == ["first"]
    assert post(site, "second") == '"second"', "what is restored can be added to"

    site.changed("teardown", "-e", "teardown_images=true", "-e", "isolation_teardown_volumes=true")
    assert difference(clean, world.snapshot()) == {}


def ask(site: Site, times: int) -> set[str]:
    """The addresses by which as many connections from the LAN were answered."""
    script = (
        "import sys, urllib.request as u\n"
        f"for _number in range({times}):\n"
        f"    print(u.urlopen('http://{HOST4}:8081/', timeout=3).read().split()[0].decode())\n"
    )
    return set(site.world.run(["/usr/bin/python3", "-c", script], ns="client").stdout.split())


def addresses(site: Site) -> set[str]:
    return {one["addresses"][0]["ipv4"] for one in site.running()}


def test_replicas_behind_one_port(world: World, tmp_path: pathlib.Path) -> None:
    site = example("replicas", world, tmp_path, "counter_image")
    site.variables.update(
        yaml.safe_load((site.folder / "group_vars" / "isolation" / "main.yml").read_text()),
        counter_image=site.variables["counter_image"],
    )
    (service,) = site.variables["isolation_services"]
    clean = world.snapshot()
    site.changed("deploy")
    first = addresses(site)
    assert len(first) == 3
    assert ask(site, 9) == first, "each of them is asked"
    assert "no drift" in site.play("status").stdout

    client = load(site, f"http://{HOST4}:8081/")
    service["environment"] = {"NEW": "release"}
    site.changed("deploy")
    second = addresses(site)
    assert len(second) == 3
    assert not first & second
    site.changed("rollback")
    assert ask(site, 9) == addresses(site) == first
    del service["environment"]
    # Two of the next release would be well, one is not: none of them gets the port, and none is left running.
    world.sh("mkdir -m 777 /run/seats")
    bad = {"command": ["/usr/bin/python3", "-c", PICKY], "mounts": [{"source": "/run/seats", "target": "/mnt"}]}
    site.variables["isolation_services"] = [{**service, **bad}]
    site.variables["isolation_rollout"]["healthy_deadline"] = "5s"
    failed = site.play("deploy", check=False)
    assert failed.returncode != 0
    assert "no seat is left" in failed.stdout, failed.stdout
    assert addresses(site) == first
    world.sh("rm -r /run/seats")
    for name, count in stop(client).items():
        assert (count["refused"], count["lost"]) == (0, 0), (name, count)
        assert count["answered"] > 20

    service["replicas"] = 2
    site.variables["isolation_services"] = [service]
    assert site.changed("deploy") > 0
    assert site.changed("deploy") == 0
    assert ask(site, 6) == addresses(site) < first, "those that stay are the same"

    site.changed("teardown", "-e", "teardown_images=true")
    assert difference(clean, world.snapshot()) == {}
