# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a service may use up, by its control groups and rlimits. Pure."""

from __future__ import annotations

import typing as t

from .model import FAIL, PASS, Subject, Verdict, listed, verdict

MOST_FILES = 1 << 20
"""More open files than this for one process bound nothing: it is the kernel's own default for fs.nr_open."""

LEAST_DELAY = 10.0
"""Seconds that the delay between restarts must grow to, or a service that keeps failing keeps the host busy."""

_TOP = ("/isolation/", "/isolation.slice/")
_CPU = (("cpu.weight", "100"), ("cpu.shares", "1024"))


def _number(text: str) -> int | None:
    return int(text) if text.isdigit() else None


def _least(subject: Subject, names: t.Sequence[str]) -> tuple[int, str] | None:
    """The lowest limit of a kind, and what sets it. A service is held by the groups above its own, too."""
    found = []
    for group in subject.kernel.groups:
        for name in names:
            number = _number(group.files.get(name, ""))
            if number is not None:
                found.append((number, f"{group.path}/{name}"))
    return min(found, default=None)


def memory(subject: Subject) -> Verdict:
    """5.11. A limit that the machine can't reach is none; version 1 shows such a number for no limit."""
    least = _least(subject, ("memory.max", "memory.limit_in_bytes"))
    if least is None:
        return Verdict(FAIL, "no memory limit in " + listed(group.path for group in subject.kernel.groups))
    number, where = least
    return verdict(number < subject.host.memory, f"{where} is {number}, the host has {subject.host.memory} bytes")


def cpu(subject: Subject) -> Verdict:
    """5.12: a share or an amount was chosen, here or above."""
    found, read = [], []
    for group in subject.kernel.groups:
        files = group.files
        quota = files.get("cpu.max", files.get("cpu.cfs_quota_us", ""))
        if quota and not quota.startswith(("max", "-1")):
            found.append(f"{group.path}: CPU time {quota}/{files.get('cpu.cfs_period_us', '')}".rstrip("/"))
        for name, usual in _CPU:
            value = files.get(name)
            if value is not None:
                read.append(f"{group.path}/{name} is {value}")
                if value != usual:
                    found.append(read[-1])
    return verdict(bool(found), listed(found or read, "no control group with CPU limits"))


def pids(subject: Subject) -> Verdict:
    """5.29."""
    least = _least(subject, ("pids.max",))
    if least is None:
        return Verdict(FAIL, "no pids.max in " + listed(group.path for group in subject.kernel.groups))
    return Verdict(PASS, f"{least[1]} is {least[0]}")


def rlimits(subject: Subject) -> Verdict:
    """5.19."""
    files = subject.kernel.limits.get("Max open files", ("", "unlimited"))[1]
    processes = subject.kernel.limits.get("Max processes", ("", "unlimited"))[1]
    number = _number(files)
    held = _number(processes) is not None or _least(subject, ("pids.max",)) is not None
    evidence = f"hard limits: open files {files}, processes {processes}"
    return verdict(number is not None and number <= MOST_FILES and held, evidence)


def control_group(subject: Subject) -> Verdict:
    """5.25: where we put it, and in a cgroup namespace, so that it does not see the host's groups."""
    inside = [group.path for group in subject.kernel.groups[:1]]
    apart = (
        bool(inside)
        and (inside[0] + "/").startswith(_TOP)
        and any((path + "/").endswith(inside[0] + "/") for path in subject.kernel.control_groups)
    )
    own, host = subject.kernel.namespaces.get("cgroup"), subject.host.namespaces.get("cgroup")
    evidence = f"{listed(inside, 'no control group of its own')}; cgroup:[{own}], the host's is cgroup:[{host}]"
    return verdict(apart and not subject.shares("cgroup"), evidence)


def restart(subject: Subject) -> Verdict:
    """5.15. The delay doubles from one restart to the next, up to its cap: that is what bounds the work for a service that keeps failing."""
    policy = str(subject.restart.get("policy", "always"))
    delay, cap = subject.restart.get("delay", 0.1), float(subject.restart.get("max_delay", 60.0))
    evidence = f"restart {policy}, the delay grows from {delay:g} s to {cap:g} s"
    return verdict(policy == "no" or cap >= LEAST_DELAY, evidence if policy != "no" else "restart no")


def health(subject: Subject) -> Verdict:
    """5.27."""
    checked = subject.health
    return verdict(bool(checked), f"health: {checked.get('kind', 'configured')}" if checked else "no health check")
