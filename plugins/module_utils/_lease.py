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

from ansible.module_utils.basic import AnsibleModule

from . import _paths
from ._errors import InvalidOption, IsolationError
from ._host.files import host_lock, read_text, remove_empty_directories, remove_file, write_atomic
from ._units import parse_seconds

PATH = _paths.RUN + "/lease.json"

OPTIONS: dict[str, t.Any] = {
    "holder": {"type": "str", "required": True},
    "ttl": {"type": "str", "default": "10m"},
    "wait": {"type": "str", "default": "30m"},
    "displaces": {"type": "str"},
    "state": {"type": "str", "choices": ["held", "released"], "default": "held"},
}

_LOOK = 0.5
"""Seconds between two looks at a lease that another holds."""


@dataclass(frozen=True)
class Lease:
    """Who holds it, and until when, in seconds of CLOCK_BOOTTIME: a clock that is set changes nothing."""

    holder: str
    until: float


def parse(text: str | None) -> Lease | None:
    """The lease that a file tells of; None if it tells of none."""
    try:
        found = json.loads(text or "")
        return Lease(str(found["holder"]), float(found["until"]))
    except (ValueError, KeyError, TypeError):
        return None


def in_the_way(kept: Lease | None, holder: str, displaces: str | None, now: float) -> Lease | None:
    """The lease that keeps a deployment from beginning: another's, that has neither ended nor is known to be nobody's. Pure."""
    if kept is None or kept.until <= now or kept.holder in (holder, displaces):
        return None
    return kept


def _now() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _take(holder: str, ttl: float, displaces: str | None) -> Lease | None:
    """Take it, or tell whose it is."""
    with host_lock(60):
        other = in_the_way(parse(read_text(PATH)), holder, displaces, _now())
        if other is None:
            write_atomic(PATH, json.dumps({"holder": holder, "until": _now() + ttl}) + "\n", 0o600)
        return other


def _release(holder: str) -> None:
    with host_lock(60):
        kept = parse(read_text(PATH))
        if kept is None or kept.holder == holder:
            remove_file(PATH)
    if not os.path.isdir(_paths.ETC):
        remove_empty_directories(_paths.RUN, _paths.RUN)


def _hold(module: AnsibleModule) -> None:
    params = module.params
    ttl, wait = (parse_seconds(params[option], option) for option in ("ttl", "wait"))
    if ttl < 1:
        raise InvalidOption(f"ttl: {params['ttl']!r}: must be at least 1s")
    began = time.monotonic()
    while True:
        other = _take(params["holder"], ttl, params["displaces"])
        waited = time.monotonic() - began
        if other is None:
            break
        if waited >= wait:
            module.fail_json(
                msg=f"deploy_lease: another deployment, {other.holder}, has held this host for {waited:.0f} s of waiting, and may for"
                f" {other.until - _now():.0f} s more: wait for it, or for that",
                held_by=other.holder,
            )
        time.sleep(min(_LOOK, max(0.0, wait - waited)))
    module.exit_json(changed=False, waited=round(waited, 1))


def run_lease() -> None:
    """Be the module: hold the lease, or release it. Neither counts as a change: nothing of a service differs by it."""
    module = AnsibleModule(OPTIONS, supports_check_mode=True)
    if module.check_mode:
        module.exit_json(changed=False, waited=0.0)
    try:
        if module.params["state"] == "released":
            _release(module.params["holder"])
            module.exit_json(changed=False)
        _hold(module)
    except (IsolationError, OSError) as error:
        module.fail_json(msg=f"deploy_lease: {error}")
