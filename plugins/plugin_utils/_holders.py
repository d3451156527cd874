# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who deploys: the process on the controller, in words by which a later one can tell whether it is gone.

Note: this is private to the collection, and may change at any time.
"""

from __future__ import annotations

import multiprocessing
import os
import socket
import typing as t

from ansible.errors import AnsibleActionFail

Answer = t.Dict[str, t.Any]


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as stream:
            return stream.read().strip()
    except OSError:
        return ""


def _place() -> str:
    """The machine, since when it runs, and the pid namespace: only there does a process's number stand for that process."""
    try:
        namespace = os.readlink("/proc/self/ns/pid")
    except OSError:
        namespace = ""
    return f"{socket.gethostname()}/{_read('/proc/sys/kernel/random/boot_id')}/{namespace}"


def _began(pid: int) -> str:
    """When a process began, in ticks since the boot (proc(5), stat, starttime); empty if there is none."""
    return (_read(f"/proc/{pid}/stat").rpartition(")")[2].split() or [""] * 20)[19]


def holder(pid: int) -> str:
    """A process of this controller."""
    return f"{_place()}/{pid}/{_began(pid)}"


def is_gone(who: str) -> bool:
    """Whether a holder was a process of this controller that is there no longer. Of other controllers nothing is known."""
    place, _slash, process = who.rpartition("/")
    place, _slash, pid = place.rpartition("/")
    here = _place()
    if place != here or not process or not pid.isdigit() or here.endswith("/") or "//" in here:
        return False
    return _began(int(pid)) != process


def deployer() -> str:
    """Who deploys, for an action: a task is carried out by a child of the process that deploys.

    :raises AnsibleActionFail: that process has ended. The system has given its children to another by then, in whose
        name a lease would be held by nobody who releases it.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        return holder(os.getpid())
    who = holder(t.cast(int, parent.pid))
    if os.getppid() != parent.pid:
        raise AnsibleActionFail(f"the deployment of process {parent.pid} has ended: nothing more is done for it")
    return who


def named(lease: Answer, host: str) -> Answer:
    """Options of a lease with who holds it, and as which host of the inventory."""
    return {"holder": deployer(), "host": host, **lease}


def patiently(execute: t.Callable[[Answer], Answer], lease: Answer, host: str, tell: t.Callable[[str], None]) -> Answer:
    """Execute a module that takes the lease, by its options: from a deployment that is gone at once, from any other when that has released it."""
    lease = named(lease, host)
    answer = execute({**lease, "wait": "0s"})
    other = answer.get("held_by")
    if not other:
        return answer
    if is_gone(str(other)):
        return execute({**lease, "displaces": other})
    tell("another deployment is at work; waiting for it")
    return execute(lease)
