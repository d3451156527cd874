# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The shell file that makes a slice again at boot, on hosts without systemd. Pure."""

from __future__ import annotations

import os
import shlex
import typing as t
from dataclasses import dataclass

from .. import _paths
from .._host.boot import script_path


@dataclass(frozen=True)
class Group:
    """One directory to make: the hierarchy's mount point, the path below it, and what has to happen at each level."""

    root: str
    path: str
    controllers: tuple[str, ...] = ()
    inherit_cpuset: bool = False
    writes: tuple[tuple[str, str], ...] = ()


def path(name: str) -> str:
    """The file of a slice. `_`, which no name contains, joins the parts: parents sort before their children."""
    return script_path(f"30-cgroup-{name.replace('/', '_')}")


def _word(text: str) -> str:
    """A value as a word of the shell. A disk's node becomes its number of this boot, which may have changed."""
    node, blank, rates = text.partition(" ")
    if not node.startswith("/dev/"):
        return shlex.quote(text)
    name = node[len("/dev/") :].replace("/", "!")
    return f'"$(cat {shlex.quote(f"/sys/class/block/{name}/dev")}){blank}{rates}"'


def _directories(group: Group) -> list[str]:
    """The lines that make a group, level by level where each level needs more than a directory."""
    if not group.controllers and not group.inherit_cpuset:
        return [f"mkdir -p {shlex.quote(os.path.join(group.root, group.path))}"]
    lines = []
    here = group.root
    for part in group.path.split("/"):
        if group.controllers:
            wanted = " ".join(f"+{controller}" for controller in group.controllers)
            lines.append(f"echo {shlex.quote(wanted)} > {shlex.quote(here)}/cgroup.subtree_control")
        parent, here = here, os.path.join(here, part)
        lines.append(f"mkdir -p {shlex.quote(here)}")
        if group.inherit_cpuset:
            lines.append(f'for file in cpuset.cpus cpuset.mems; do [ -n "$(cat {shlex.quote(here)}/$file)" ] ||')
            lines.append(f"  cat {shlex.quote(parent)}/$file > {shlex.quote(here)}/$file; done")
    return lines


def render(name: str, groups: t.Sequence[Group]) -> str:
    """The file's content: repeatable, POSIX sh, run with `sh -e` by the boot helper."""
    lines = ["#!/bin/sh", f"# {_paths.MARKER}: the limits of slice {name}", "set -e"]
    for group in groups:
        lines += _directories(group)
        directory = os.path.join(group.root, group.path)
        lines += [
            f"printf %s {_word(text)} > {shlex.quote(os.path.join(directory, file))}" for file, text in group.writes
        ]
    return "\n".join(lines) + "\n"
