# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The demo's inventory, deployed by ansible-playbook inside a world of its own."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import re
import subprocess
import sys
import typing as t

import yaml
from world import REPOSITORY, Completed, World

DEMO = REPOSITORY / "inventories" / "demo"
RECAP = re.compile(r"^localhost +: ok=(\d+) +changed=(\d+) +unreachable=(\d+) +failed=(\d+)", re.MULTILINE)


@dataclasses.dataclass
class Site:
    """A world with an inventory; `variables` are what the next play declares."""

    world: World
    folder: pathlib.Path
    variables: dict[str, t.Any]
    hosts: dict[str, dict[str, t.Any]] = dataclasses.field(default_factory=lambda: {"localhost": {}})
    inventory: pathlib.Path | None = None
    """One that is there, instead of one that is made of `hosts`; `variables` win over its own then."""

    @property
    def service(self) -> dict[str, t.Any]:
        """The one service of the demo."""
        return self.variables["isolation_services"][0]  # type: ignore[no-any-return]

    def play(self, name: str, *options: str, check: bool = True, timeout: float = 300) -> Completed:
        """Run one of the collection's playbooks against the world."""
        return self.world.run(self._command(name, *options), check=check, timeout=timeout)

    def start(self, name: str, *options: str) -> subprocess.Popen[str]:
        """Begin to run one of the collection's playbooks against the world."""
        return self.world.popen(self._command(name, *options), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def _inventory(self) -> list[str]:
        if self.inventory is not None:
            return [str(self.inventory), "-e", json.dumps(self.variables)]
        local = {"ansible_connection": "local", "ansible_python_interpreter": "/usr/bin/python3"}
        named = {name: {**local, **own} for name, own in self.hosts.items()}
        hosts = {"isolation": {"hosts": named, "vars": self.variables}}
        inventory = self.folder / "hosts.yml"
        inventory.write_text(yaml.safe_dump(hosts))
        return [str(inventory)]

    def _command(self, name: str, *options: str) -> list[str]:
        environment = {
            "ANSIBLE_COLLECTIONS_PATH": str(self.world.collections),
            "ANSIBLE_LOCALHOST_WARNING": "false",
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_HOME": str(self.folder / "home"),
            "ANSIBLE_PIPELINING": "true",
            "LC_ALL": "C.UTF-8",
        }
        target = name if name.endswith(".yml") else f"daemonless.isolation.{name}"
        playbook = pathlib.Path(sys.executable).with_name("ansible-playbook")
        settings = [f"{key}={value}" for key, value in environment.items()]
        return ["env", *settings, str(playbook), "-i", *self._inventory(), target, *options]

    def prepare(self) -> None:
        """Apply the role isolation_host alone: packages and a supervisor."""
        playbook = self.folder / "prepare.yml"
        playbook.write_text(
            yaml.safe_dump(
                [{"hosts": "isolation", "gather_facts": False, "roles": ["daemonless.isolation.isolation_host"]}]
            )
        )
        self.play(str(playbook))

    def changed(self, name: str, *options: str) -> int:
        """How many tasks of a playbook that succeeds have changed something."""
        output = self.play(name, *options).stdout
        match = RECAP.search(output)
        assert match, output
        assert match[3] == match[4] == "0", output
        return int(match[2])

    def settled(self, *options: str) -> None:
        """Deploy what is deployed, with and without check mode: nothing changes."""
        for more in ([], ["--check"]):
            output = self.play("deploy", "--diff", *more, *options).stdout
            match = RECAP.search(output)
            assert match, output
            assert match[2] == "0", output

    def refused(self, *options: str) -> str:
        """The output of a deployment that must fail and leave everything as it was."""
        before = self.world.snapshot()
        done = self.play("deploy", *options, check=False)
        assert done.returncode != 0, done.stdout
        assert self.world.snapshot() == before
        return done.stdout

    def get(self, url: str, ns: str = "host") -> str:
        """The body of an answer with status 200; empty if there is none."""
        script = f"import urllib.request as u; r = u.urlopen({url!r}, timeout=2); print(r.read().decode() if r.status == 200 else '')"
        return self.world.run(["/usr/bin/python3", "-c", script], check=False, ns=ns).stdout.strip()

    def inside(self) -> dict[str, t.Any]:
        """What the demo's service tells of itself."""
        return json.loads(self.get("http://127.0.0.1:8080/inside"))  # type: ignore[no-any-return]

    def running(self) -> list[dict[str, t.Any]]:
        """The running instances, as host_info has them."""
        info = self.world.apply("host_info", gather_subset=["services"], project=self.variables["isolation_project"])
        return [entry for entry in info["services"] if entry["state"] == "started"]

    def instance(self) -> dict[str, t.Any]:
        """The running instance, where there is one."""
        (running,) = self.running()
        return running
