# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The playbook that compares hosts with the inventory: its report, for hosts that can be looked at and for others."""

from __future__ import annotations

import json
import pathlib
import typing as t

import yaml
from stage import Site
from world import difference

LINE = "<script>alert(1)</script>"
SECRET = "the-value-that-nobody-may-see"


def _fleet(site: Site, tmp_path: pathlib.Path) -> str:
    """Two more hosts: one that can't be reached, and one whose inventory asks for what can't be."""
    connection = {"ansible_connection": "local", "ansible_python_interpreter": "/usr/bin/python3"}
    overlap = [{"name": "isoother0", "addresses": ["198.51.100.9/24"]}]
    hosts = {
        "lost": {"ansible_host": "127.0.0.1", "ansible_port": 1, "ansible_ssh_common_args": "-o ConnectTimeout=5"},
        "wrong": {**connection, "isolation_bridges": overlap, "isolation_services": []},
    }
    path = tmp_path / "fleet.yml"
    path.write_text(yaml.safe_dump({"isolation": {"hosts": hosts}}))
    return str(path)


def _ending(site: Site) -> None:
    """A second service, that ends as soon as a file is in its volume."""
    script = f"while [ ! -e /data/end ]; do sleep 0.1; done; echo '{LINE}'; exit 3"
    site.variables["isolation_services"].append(
        {
            "name": "other",
            "rootfs": {"source": site.service["rootfs"]["source"]},
            "command": ["/bin/sh", "-c", script],
            "environment": {"NOTE": SECRET},
            "mounts": [{"type": "volume", "source": "other-data", "target": "/data"}],
            "restart": {"delay": "5s"},
        }
    )


def test_the_report_of_a_fleet(site: Site, tmp_path: pathlib.Path) -> None:
    world = site.world
    _ending(site)
    site.prepare()
    fleet = ["-i", _fleet(site, tmp_path)]
    page, data = tmp_path / "status.html", tmp_path / "status.json"
    files = ["-e", f"status_html={page}", "-e", f"status_json={data}"]

    def look(*options: str) -> tuple[dict[str, t.Any], dict[str, t.Any], str]:
        before = world.snapshot()
        output = site.play("status", *fleet, *files, *options).stdout
        assert difference(before, world.snapshot()) == {}
        told = json.loads(data.read_text())
        for text in (output, data.read_text(), page.read_text()):
            assert SECRET not in text
        return told["summary"], {host["name"]: host for host in told["hosts"]}, output

    summary, hosts, output = look()
    assert (summary["hosts"], summary["unreachable"], summary["failed"], summary["drifted"]) == (3, 1, 1, 1), output
    assert hosts["lost"]["result"] == "unreachable"
    assert "isoother0: 198.51.100.0/24 overlaps" in hosts["wrong"]["message"]
    assert hosts["wrong"]["task"] == "Bridges"
    assert {one["verdict"] for one in hosts["localhost"]["services"]} == {"missing"}
    assert "environment NOTE: (none) → (not shown)" in output
    assert (page.stat().st_mode & 0o777, data.stat().st_mode & 0o777) == (0o600, 0o600)

    site.changed("deploy")
    assert site.changed("deploy") == 0
    summary, hosts, output = look("--limit", "localhost", "-e", "status_fail=true")
    assert (summary["hosts"], summary["in_sync"], summary["services_well"]) == (1, 1, 2)
    web, other = (hosts["localhost"]["services"][index] for index in (0, 1))
    assert (web["verdict"], web["published"][0]["host_port"], web["limits"]["pids_max"]) == ("running", 8080, 64)
    assert web["use"]["pids"] >= 2
    assert web["use"]["memory"] > 1 << 20
    assert "NOTE" in other["environment"]
    assert "no drift" in output

    world.sh("touch /var/lib/isolation/volumes/other-data/end")

    def failing() -> bool:
        entries = world.apply("host_info", gather_subset=["services"])["services"]
        return any(entry["failure"] and LINE in entry["failure"]["log"] for entry in entries)

    world.wait(failing, 20, "the service has ended")
    done = site.play("status", *fleet, *files, "-e", "status_fail=true", check=False)
    assert done.returncode != 0
    for line in ("lost: unreachable", "wrong: failed", "failing: ended at ", f"  | {LINE}", "state: failing → started"):
        assert line in done.stdout, f"{line} is not told"
    told = {host["name"]: host for host in json.loads(data.read_text())["hosts"]}
    assert told["localhost"]["result"] == "drifted"
    assert LINE not in page.read_text()
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page.read_text()
