# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The module deploy_lease: hold the host's deployment lease, or wait for whoever does."""

from __future__ import annotations

import time
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ._errors import InvalidOption, IsolationError
from ._host import lease
from ._units import parse_seconds

OPTIONS: dict[str, t.Any] = {
    "holder": {"type": "str", "required": True},
    "host": {"type": "str", "default": ""},
    "ttl": {"type": "str", "default": "10m"},
    "wait": {"type": "str", "default": "30m"},
    "displaces": {"type": "str"},
    "state": {"type": "str", "choices": ["held", "released"], "default": "held"},
}

_LOOK = 0.5
"""Seconds between two looks at a lease that another holds."""


class Held(IsolationError):
    """Another deployment, `holder`, has the lease, and had it for as long as was waited."""

    def __init__(self, message: str, holder: str) -> None:
        super().__init__(message)
        self.holder = holder


def hold(params: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Take the lease by the options of deploy_lease; what is told of that.

    :raises Held: another deployment has it.
    :raises IsolationError: an option can't be meant, or the host's lock was not to be had.
    """
    ttl, wait = (parse_seconds(params[option], option) for option in ("ttl", "wait"))
    if ttl < 1:
        raise InvalidOption(f"ttl: {params['ttl']!r}: must be at least 1s")
    began = time.monotonic()
    while True:
        other = lease.take(params["holder"], params["host"], ttl, params["displaces"])
        waited = time.monotonic() - began
        if other is None:
            return {"waited": round(waited, 1)}
        if waited >= wait:
            raise Held(
                f"another deployment, {other.holder}, has held this host for {waited:.0f} s of waiting, and may for"
                f" {other.until - lease.boottime():.0f} s more: wait for it, or for that",
                other.holder,
            )
        time.sleep(min(_LOOK, max(0.0, wait - waited)))


def renew(params: t.Mapping[str, t.Any]) -> None:
    """Have the lease for longer, by the options of deploy_lease.

    :raises IsolationError: another deployment has it by now.
    """
    lease.renew(params["holder"], params["host"], parse_seconds(params["ttl"], "ttl"))


def release(params: t.Mapping[str, t.Any]) -> None:
    """Give the lease back, by the options of deploy_lease.

    :raises IsolationError: the host's lock was not to be had.
    """
    lease.release(params["holder"], params["host"])


def run_lease() -> None:
    """Be the module: hold the lease, or release it. Neither counts as a change: nothing of a service differs by it."""
    module = AnsibleModule(OPTIONS, supports_check_mode=True)
    if module.check_mode:
        module.exit_json(changed=False, waited=0.0)
    try:
        if module.params["state"] == "released":
            release(module.params)
            module.exit_json(changed=False)
        module.exit_json(changed=False, **hold(module.params))
    except Held as held:
        module.fail_json(msg=f"deploy_lease: {held}", held_by=held.holder)
    except (IsolationError, OSError) as error:
        module.fail_json(msg=f"deploy_lease: {error}")
