# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The host's deployment lease: of several deployments at once, one goes on and the others wait.

The host's lock is held within a module, and guards what that writes. A deployment is several modules with a plan above them,
which another deployment would make void; and who holds the lease may vanish without a word, so that it ends by itself.
"""

from __future__ import annotations

import json
import os
import time
import typing as t
from dataclasses import dataclass

from .. import _paths
from .._errors import IsolationError
from .files import host_lock, read_text, remove_empty_directories, remove_file, write_atomic

PATH = _paths.RUN + "/lease.json"
_PATIENCE = 300.0
"""Seconds to wait for the host's lock, as modules do: who has it may wait for a service to be well."""


class LeaseLost(IsolationError):
    """A deployment goes on that others have taken for dead."""


@dataclass(frozen=True)
class Lease:
    """Who holds it, and until when, in seconds of CLOCK_BOOTTIME: a clock that is set changes nothing.

    `hosts` are the holder's names of this machine that it is at work under: an inventory may have several of one machine.
    """

    holder: str
    until: float
    hosts: tuple[str, ...] = ()


def parse(text: str | None) -> Lease | None:
    """The lease that a file tells of; None if it tells of none."""
    try:
        found = json.loads(text or "")
        return Lease(str(found["holder"]), float(found["until"]), tuple(found.get("hosts", ())))
    except (ValueError, KeyError, TypeError):
        return None


def in_the_way(kept: Lease | None, holder: str, displaces: str | None, now: float) -> Lease | None:
    """The lease that keeps a deployment from beginning: another's, that has neither ended nor is known to be nobody's. Pure."""
    if kept is None or kept.until <= now or kept.holder in (holder, displaces):
        return None
    return kept


def boottime() -> float:
    """The time in which leases are kept."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _write(holder: str, until: float, hosts: t.Iterable[str]) -> None:
    write_atomic(PATH, json.dumps({"holder": holder, "until": until, "hosts": sorted(hosts)}) + "\n", 0o600)


def _prolong(kept: Lease | None, holder: str, host: str, ttl: float) -> None:
    ours = kept if kept is not None and kept.holder == holder else Lease(holder, 0.0)
    _write(holder, max(ours.until, boottime() + ttl), {*ours.hosts, host})


def take(holder: str, host: str, ttl: float, displaces: str | None) -> Lease | None:
    """Take it as a host, or tell whose it is.

    :raises IsolationError: the host's lock was not to be had.
    """
    other = in_the_way(parse(read_text(PATH)), holder, displaces, boottime())
    if other is not None:  # it may be at work in a module, which has the lock for as long as that takes
        return other
    with host_lock(_PATIENCE):
        kept = parse(read_text(PATH))
        other = in_the_way(kept, holder, displaces, boottime())
        if other is None:
            _prolong(kept, holder, host, ttl)
        return other


def check(holder: str) -> None:
    """See that nobody has taken it over. For who has the host's lock, under which others take it.

    :raises LeaseLost: somebody has, or it was given back.
    """
    kept = parse(read_text(PATH))
    if kept is None or kept.holder != holder:
        by = f"another deployment, {kept.holder}, has" if kept is not None else "other deployments have"
        raise LeaseLost(f"{by} gone on with this host: nothing more is done by this one; deploy again")


def renew(holder: str, host: str, ttl: float) -> None:
    """Have it for longer.

    :raises IsolationError: it is another's, or the host's lock was not to be had.
    """
    with host_lock(_PATIENCE):
        check(holder)
        _prolong(parse(read_text(PATH)), holder, host, ttl)


def release(holder: str, host: str) -> None:
    """Give it back as a host; one that another holds, or that is still held as another host, is left."""
    with host_lock(_PATIENCE):
        kept = parse(read_text(PATH))
        if kept is None or (kept.holder == holder and not {*kept.hosts} - {host}):
            remove_file(PATH)
        elif kept.holder == holder:
            _write(holder, kept.until, {*kept.hosts} - {host})
    if not os.path.isdir(_paths.ETC):
        remove_empty_directories(_paths.RUN, _paths.RUN)
