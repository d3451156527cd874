# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The Compose file of the guide, as it is moved there: it is deployed, and does what the Compose file asks for."""

from __future__ import annotations

import pathlib
import re
import typing as t

import yaml
from stage import Site
from world import HOST4, REPOSITORY, World, difference

GUIDE = REPOSITORY / "docs" / "from-compose.md"

WEB = """
import http.server, os, urllib.request

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = urllib.request.urlopen(os.environ["STORE"], timeout=3).read()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body)

http.server.ThreadingHTTPServer(("", 3000), Handler).serve_forever()
"""
STORE = """
import http.server, os, resource

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        with open("/var/lib/store/asked", "a+") as stream:
            stream.write("x")
        token = open("/run/secrets/store_token").read()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(f"{len(token)} {resource.getrlimit(resource.RLIMIT_NOFILE)}".encode())

http.server.ThreadingHTTPServer(("", 4000), Handler).serve_forever()
"""


def blocks() -> tuple[dict[str, t.Any], dict[str, t.Any]]:
    """The Compose file and the inventory's data."""
    text = GUIDE.read_text()
    moved = text[text.index("## A file, moved") :]
    compose, inventory = re.findall(r"^```yaml\n(.*?)^```$", moved, re.MULTILINE | re.DOTALL)
    return yaml.safe_load(compose), yaml.safe_load(inventory)


def test_the_file_of_the_guide(world: World, tmp_path: pathlib.Path, root_filesystem: pathlib.Path) -> None:
    compose, variables = blocks()
    assert variables["isolation_project"] == compose["name"]
    services = {service["name"]: service for service in variables["isolation_services"]}
    assert set(services) == set(compose["services"])
    for name, service in services.items():
        given = compose["services"][name]
        assert service["rootfs"]["source"]["registry"]["image"] == given["image"]
        assert service["command"] == given["command"]
        assert service.get("environment") == given.get("environment")
        assert [network["bridge"] for network in service["networks"]] == given["networks"]
        service["rootfs"]["source"] = {"tar": {"path": str(root_filesystem)}}
    for name, program in (("web", WEB), ("store", STORE)):
        services[name]["rootfs"]["files"] = [{"path": f"/srv/{name}.py", "content": program}]
    variables["vaulted_store_token"] = "token-of-the-store-0818"
    variables["isolation_rollout"] = {"min_healthy_time": "1s", "healthy_deadline": "30s"}

    site = Site(world, tmp_path, variables)
    clean = world.snapshot()
    site.changed("deploy")
    site.settled()
    assert (
        len([one for one in site.running() if one["service"] == "web"])
        == compose["services"]["web"]["deploy"]["replicas"]
    )
    answer = site.get(f"http://{HOST4}:8080/", ns="client")
    assert answer == f"{len('token-of-the-store-0818')} (1024, 4096)"
    assert world.sh("cat /var/lib/isolation/volumes/store-data/asked").startswith("x")
    site.changed("teardown", "-e", "teardown_images=true", "-e", "isolation_teardown_volumes=true")
    assert difference(clean, world.snapshot()) == {}
