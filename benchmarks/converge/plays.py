# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs of ansible-playbook in a world, and what they took."""

from __future__ import annotations

import dataclasses
import pathlib
import re
import sys
import time
import typing as t

import yaml
from world import World

from ..common.engines import LIMIT
from ..common.figures import Figure
from ..common.machine import PYTHON, cpu
from ..common.report import REPOSITORY
from .figures import Row

PLAYBOOK = pathlib.Path(sys.executable).with_name("ansible-playbook")
OWN = REPOSITORY / ".build" / "collections"
PEERS = REPOSITORY / ".build" / "peers"
"""Where Ansible finds the collection, and those that it is compared with."""

# As the collection's tests set it up, and the documentation of large fleets.
ENVIRONMENT = {
    "ANSIBLE_LOCALHOST_WARNING": "false",
    "ANSIBLE_NOCOLOR": "1",
    "ANSIBLE_PIPELINING": "true",
    "ANSIBLE_REMOTE_TMP": "/run/ansible",
    "LC_ALL": "C.UTF-8",
    # Plugins stay compiled between runs, as they do where they are installed.
    "PYTHONPYCACHEPREFIX": str(REPOSITORY / ".build" / "pycache"),
}
LOCAL = {"ansible_connection": "local", "ansible_python_interpreter": PYTHON}

_RECAP = re.compile(r"^\S+ +: ok=\d+ +changed=(\d+) ", re.MULTILINE)

COMMAND = ["/bin/sh", "-c", "trap 'exit 0' TERM; sleep 1000000 & wait"]
"""A service that is idle, and ends when it is told to, also as the first process of its namespace."""

PORT = 3000
FIRST_HOST_PORT = 10000


@dataclasses.dataclass
class Controller:
    """A world in which playbooks are run, with the folder for what they are made of."""

    world: World
    folder: pathlib.Path
    collections: pathlib.Path
    hosts: dict[str, dict[str, t.Any]] = dataclasses.field(default_factory=lambda: {"host": LOCAL})
    options: t.Sequence[str] = ()

    def play(self, playbook: str, variables: dict[str, t.Any]) -> tuple[float, float, int]:
        """Run a playbook to its end: seconds, processor time, and how many tasks have changed something.

        :raises RuntimeError: it failed.
        """
        inventory = self.folder / "hosts.yml"
        inventory.write_text(yaml.safe_dump({"isolation": {"hosts": self.hosts, "vars": variables}}))
        where = {"ANSIBLE_COLLECTIONS_PATH": self.collections, "ANSIBLE_HOME": self.folder / "home"}
        settings = [f"{key}={value}" for key, value in {**ENVIRONMENT, **where}.items()]
        command = [
            "env",
            "-u",
            "PYTHONDONTWRITEBYTECODE",
            *settings,
            str(PLAYBOOK),
            "-i",
            str(inventory),
            *self.options,
            playbook,
        ]
        used, began = cpu(), time.perf_counter()
        done = self.world.run(command, check=False, timeout=LIMIT)
        took, used = time.perf_counter() - began, cpu() - used
        if done.returncode != 0:
            told = [line for line in (done.stdout + done.stderr).splitlines() if "fatal:" in line or "ERROR" in line]
            raise RuntimeError(f"{playbook}: {' '.join(told) or done.stdout[-500:] + done.stderr[-500:]}")
        return took, used, sum(int(changed) for changed in _RECAP.findall(done.stdout))


class Meter:
    """Keeps what steps took, and sees that each did what it was to do."""

    def __init__(self, controller: Controller) -> None:
        self.controller = controller
        self.wall: dict[str, list[float]] = {}
        self.cpu: dict[str, list[float]] = {}

    def run(self, step: str, playbook: str, variables: dict[str, t.Any]) -> None:
        """Take a step.

        :raises RuntimeError: it failed, changed something where it must not, or the other way round.
        """
        took, used, changed = self.controller.play(playbook, variables)
        if (changed == 0) is not (step == "again"):
            raise RuntimeError(f"{step}: {changed} tasks have changed something")
        self.wall.setdefault(step, []).append(took)
        self.cpu.setdefault(step, []).append(used)

    def fill(self, row: Row) -> None:
        """Put the figures into a row."""
        for kept, values in ((row.wall, self.wall), (row.cpu, self.cpu)):
            kept.update({step: figure for step in values if (figure := Figure.of(values[step])) is not None})
