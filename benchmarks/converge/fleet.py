# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Hosts that a controller reaches over ssh: worlds, each with an sshd of its own, on one network with the controller's world."""

from __future__ import annotations

import contextlib
import pathlib
import subprocess
import typing as t

from world import World

from ..common.machine import PYTHON
from ..common.worlds import disk_world
from .figures import Row
from .ours import DEPLOY, variables
from .plays import OWN, Controller, Meter

SSHD = "/usr/sbin/sshd"
SERVICES = 5
"""On each host."""

NETWORK = "203.0.113"
CONTROLLER = 250

# Nothing of the machine's own: neither its keys nor its settings, nor what PAM would do.
_SSHD_CONFIG = """
HostKey /run/sshd/key
AuthorizedKeysFile /run/sshd/authorized
PermitRootLogin prohibit-password
StrictModes no
UsePAM no
PidFile /run/sshd/pid
Subsystem sftp internal-sftp
"""
_SSH = "-o ControlMaster=auto -o ControlPersist=60s -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR"


class Fleet:
    """The worlds, and the controller's."""

    def __init__(self, controller: World, hosts: t.Sequence[World], folder: pathlib.Path) -> None:
        self.controller, self.hosts, self.folder = controller, hosts, folder
        self.key = folder / "key"
        _run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.key)])
        controller.sh("ip link add mgmt0 type bridge; ip link set mgmt0 up")
        controller.sh(f"ip address add {NETWORK}.{CONTROLLER}/24 dev mgmt0")
        for number, host in enumerate(hosts, 1):
            self._connect(number, host)
            self._serve(host)

    def _connect(self, number: int, host: World) -> None:
        """A link from the controller's world to another one: from outside, since neither sees the other."""
        _run(["nsenter", "-t", str(self.controller.pid), "-n", "ip", "link", "add", f"host{number}", "master", "mgmt0", "type", "veth",
              "peer", "name", "mgmt0", "netns", str(host.pid)])  # fmt: skip
        self.controller.sh(f"ip link set host{number} up")
        host.sh(f"ip address add {NETWORK}.{number}/24 dev mgmt0; ip link set mgmt0 up")

    def _serve(self, host: World) -> None:
        host.sh("mkdir -m 0755 /run/sshd; ssh-keygen -q -t ed25519 -N '' -f /run/sshd/key")
        host.run(["sh", "-c", "cat >/run/sshd/config"], stdin=_SSHD_CONFIG)
        host.run(["sh", "-c", "cat >/run/sshd/authorized"], stdin=self.key.with_suffix(".pub").read_text())
        host.run([SSHD, "-f", "/run/sshd/config"])

    def inventory(self) -> dict[str, dict[str, t.Any]]:
        """The hosts, as an inventory has them."""
        common = {
            "ansible_user": "root",
            "ansible_ssh_private_key_file": str(self.key),
            "ansible_ssh_args": _SSH,
            "ansible_control_path_dir": str(self.folder / "cp"),
            "ansible_python_interpreter": PYTHON,
        }
        return {
            f"host{number}": {"ansible_host": f"{NETWORK}.{number}", **common}
            for number in range(1, len(self.hosts) + 1)
        }


def _run(command: t.Sequence[str]) -> None:
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, capture_output=True)


@contextlib.contextmanager
def fleet(number: int, folder: pathlib.Path) -> t.Iterator[Fleet]:
    """That many hosts and a controller."""
    with contextlib.ExitStack() as stack:
        controller = stack.enter_context(World(python=PYTHON, compiled=False))
        hosts = [stack.enter_context(disk_world("/var/lib/isolation")) for _number in range(number)]
        yield Fleet(controller, hosts, folder)


def measure(fleet: Fleet, archive: str, row: Row) -> Row:
    """Fill the row of a fleet that has no services yet."""
    hosts = fleet.inventory()
    controller = Controller(fleet.controller, fleet.folder, OWN, hosts, ["--forks", str(len(hosts))])
    meter, declared = Meter(controller), variables(archive, row.services)
    # One batch: what hosts cost is measured, not how many wait for others.
    declared["isolation_rollout"] = {**declared["isolation_rollout"], "canary": "100%", "max_parallel": "100%"}
    meter.run("first", DEPLOY, declared)
    meter.run("again", DEPLOY, declared)
    meter.fill(row)
    return row
