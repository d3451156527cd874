# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A host that deploys itself, by the files and the command line of the guide."""

from __future__ import annotations

import pathlib
import re
import subprocess
import sys

import yaml
from stage import Site
from world import REPOSITORY

GUIDE = (REPOSITORY / "docs" / "thousands-of-hosts.md").read_text()
IDENTITY = ["-c", "user.name=Operator", "-c", "user.email=operator@example.com"]


def block(title: str) -> str:
    """A file of the guide."""
    found = re.search(rf"^```\w+\n# {re.escape(title)}\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)
    assert found, title
    return found[1]


def test_a_host_takes_its_inventory_and_deploys_itself(site: Site) -> None:
    repository, home = site.folder / "fleet.git", site.folder / "pull"
    (repository / "group_vars").mkdir(parents=True)

    def git(*words: str) -> None:
        subprocess.run(["git", "-C", str(repository), *IDENTITY, *words], check=True, capture_output=True)

    def commit() -> None:
        (repository / "group_vars" / "isolation.yml").write_text(yaml.safe_dump(site.variables))
        git("add", "--all")
        git("commit", "-m", "The fleet")

    git("init", "--initial-branch", "stable")
    (repository / "hosts.yml").write_text(block("hosts.yml in the repository: each host finds itself by its own name"))
    (repository / "deploy.yml").write_text(block("deploy.yml in the repository"))
    commit()

    unit = block("/etc/systemd/system/isolation-pull.service")
    (line,) = re.findall(r"^ExecStart=(.*)$", unit, re.MULTILINE)
    (settings,) = re.findall(r"^Environment=(.*)$", unit, re.MULTILINE)
    command = [
        word.replace("/usr/bin/ansible-pull", str(pathlib.Path(sys.executable).with_name("ansible-pull")))
        .replace("https://git.example.com/fleet.git", f"file://{repository}")
        .replace("/var/lib/isolation-pull", str(home / "checkout"))
        .replace("%H", "web1")
        for word in line.split()
    ]
    environment = [
        *settings.split(),
        f"HOME={home}",
        f"ANSIBLE_COLLECTIONS_PATH={site.world.collections}",
        "LC_ALL=C.UTF-8",
    ]

    def pull() -> str:
        return site.world.run(["env", *environment, *command], timeout=300).stdout

    assert re.search(r"^web1 +: ok=\d+ +changed=[1-9]\d* +unreachable=0 +failed=0", pull(), re.MULTILINE)
    assert site.get("http://127.0.0.1:8080/") == "hello world"
    assert "Repository has not changed, quitting" in pull()
    program = site.service["rootfs"]["files"][0]
    program["content"] = program["content"].replace("hello world", "hello again")
    commit()
    assert "web1" in pull()
    assert site.get("http://127.0.0.1:8080/") == "hello again"
