# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The command lines by which a controller goes into services, and what their answers mean. Pure."""

from __future__ import annotations

import shlex
import typing as t

ENTER = "/usr/local/libexec/isolation/enter"
REFUSED = 125
"""The helper's status where nothing was executed."""

BLOCK = 4 << 20
"""How much of a file goes in or out by one command: what a command prints is gathered in memory, in small pieces."""


def command_line(service: str, command: t.Sequence[str], user: str | None = None, become: t.Sequence[str] = ()) -> str:
    """What is run on the host, for its shell. ssh says 255 of a lost connection, and runtimes of what they can't execute: theirs is made 254."""
    who = ["--user", user] if user else []
    words = [*become, ENTER, "exec", *who, service, "--", *command]
    return shlex.join(["/bin/sh", "-c", '"$@"; s=$?; [ $s != 255 ] || s=254; exit $s', "enter", *words])


def write(path: str, number: int, empty: bool = False) -> str:
    """Shell code that writes its input to a block of a file, whose first block begins it anew. ssh may repeat it after a lost connection."""
    if number:
        return f"exec dd of={_operand(path)} bs={BLOCK} seek={number} conv=notrunc"
    # Without data, ssh leaves the input open, so that nothing may wait for its end.
    return f": > {_operand(path)}" if empty else f"cat > {_operand(path)}"


def read(path: str, number: int) -> str:
    """Shell code that prints a block of a file."""
    # dd reports what it has copied on standard error; so its own errors are told by a first look.
    return f"[ -r {_operand(path)} ] || {{ cat < {_operand(path)}; exit 1; }}; exec dd if={_operand(path)} bs={BLOCK} skip={number} count=1 2>/dev/null"


def _operand(path: str) -> str:
    """A path that no shell and no program takes for anything else."""
    return shlex.quote(path if path.startswith("/") else f"./{path}")


def trouble(service: str, shell: str, status: int, errors: str) -> str | None:
    """Why a service could not be entered; None if the command was executed, whatever became of it."""
    last = errors.strip()
    if status == REFUSED and "enter: " in last:
        return last[last.index("enter: ") + len("enter: ") :]
    if status in (126, 127) and ENTER in last:
        return f"service {service}: its host has no {ENTER}, or it can't be run: apply daemonless.isolation.namespaced_service there again, as root: {last}"
    if status != 0 and f"executable file `{shell}`" in last.replace('"', "`").replace("``", "`"):
        return (
            f"service {service}: there is no {shell} in its root filesystem, which tasks need: name another one by ansible_isolation_shell,"
            f" or lay one in: {last}"
        )
    return None


def _becomes(variables: t.Mapping[str, t.Any]) -> bool:
    """Whether plays on the host itself become root."""
    given = variables.get("ansible_isolation_become", variables.get("ansible_become", False))
    return str(given).lower() in ("true", "yes", "1", "on")


def listing(variables: t.Mapping[str, t.Any]) -> str:
    """What lists the services of a host, for its shell; as root, where the host's variables say so."""
    become = shlex.split(str(variables.get("ansible_isolation_become_command", "sudo -n")))
    return shlex.join([*(become if _becomes(variables) else []), ENTER, "list"])


_NOT_INSIDE = (
    "ansible_connection", "ansible_become", "ansible_python_interpreter", "ansible_shell", "ansible_pipelining",
)  # fmt: skip
"""Beginnings of variables that say something of the host, with which the inside of a service has nothing to do."""


def variables(host: str, found: t.Mapping[str, t.Any], own: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """The variables of a service as a host: how its host is reached, which service it is, and what is known of it."""
    kind = own.get("ansible_connection", "ssh")
    passed = {
        key: value for key, value in own.items() if key.startswith("ansible_") and not key.startswith(_NOT_INSIDE)
    }
    return {
        "ansible_host": host,
        **passed,
        **({"ansible_isolation_become": True} if _becomes(own) else {}),
        "ansible_connection": "daemonless.isolation.service",
        "ansible_isolation_connection": "local" if kind in ("local", "ansible.builtin.local") else "ssh",
        "ansible_isolation_service": found["name"],
        "isolation_name": found["name"],
        "isolation_service": found["service"],
        "isolation_project": found["project"],
        "isolation_host": host,
        "isolation_addresses": found["addresses"],
        "isolation_slice": found["slice"],
    }
