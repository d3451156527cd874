# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Why a service that is to run does not: what host_info tells of it."""

from __future__ import annotations

import os
import time
import typing as t

from .._host import probe, restarts, runit
from .._host import secrets as host_secrets
from .._host.records import Record
from .instances import Instance
from .supervise import unit_name

LINES = 5
HIDDEN = "********"


def log_tail(name: str, on_systemd: bool, lines: int) -> list[str]:
    """The last lines that an instance has logged, and those that its starts have."""
    if on_systemd:
        return probe.journal_tail(unit_name(name), lines)
    return probe.log_tail(os.path.join(runit.log_directory(name), "current"), lines)


def without(lines: t.Iterable[str], texts: t.Collection[str]) -> list[str]:
    """Lines in which nothing of these texts is left."""
    found = []
    for line in lines:
        for text in sorted(texts, key=len, reverse=True):
            line = line.replace(text, HIDDEN)
        found.append(line)
    return found


def moment(seconds: float) -> str:
    """A time of day as all of host_info's are told."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def _secret_texts(record: Record) -> set[str]:
    wanted = [host_secrets.Wanted(item["name"], item["target"]) for item in record.spec.get("secrets", [])]
    if not wanted:
        return set()
    seen = host_secrets.observe({record.name: wanted}).seen[record.name]
    return {text for one in seen.values() if one.value is not None for text in one.value.texts()}


def told(name: str, instance: Instance, on_systemd: bool) -> dict[str, t.Any]:
    """`restarts`: how often it has ended since it was last told to start; `failure`: why it does not run, null unless it is to run."""
    if instance.record is None:
        return {"restarts": 0, "failure": None}
    ends = restarts.read(name)
    found: dict[str, t.Any] = {"restarts": ends.count, "failure": None}
    if instance.state != "failing":
        return found
    status = ends.status
    now = time.time()
    lines = log_tail(name, on_systemd, LINES)
    found["failure"] = {
        "ended_at": moment(now - ends.since) if ends.count else None,
        "next_start": moment(now + ends.wait) if ends.wait else None,
        "exit_status": int(status) if status is not None and status.isdigit() else None,
        "signal": status if status is not None and not status.isdigit() else None,
        "log": without(lines, _secret_texts(instance.record)),
    }
    return found
