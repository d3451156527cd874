#!/usr/bin/python
# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: deploy_lease
short_description: Keep other deployments from a host meanwhile
version_added: 0.1.0
author: daemonless.isolation contributors (@daemonless)
description:
  - Of several deployments to one host at the same time, one goes on and the others wait for it. The role P(daemonless.isolation.isolation#role) does
    so by itself when it is to change something.
  - The lease is for deployments alone. Other tasks of this collection are not kept from the host; each holds its lock while it changes something.
  - A lease ends by itself, as its holder may vanish. One whose holder was a process of the same controller that is gone is taken over at once.
options:
  holder:
    description:
      - Who deploys. Who holds the lease already has it for O(ttl) from now on.
      - Filled in with the controller's boot, its process and the start of that, if it is left out.
    type: str
    required: true
  host:
    description:
      - What the holder calls this machine. An inventory may have several names for one machine, as which it is deployed to at the same time. The lease is held
        until it is released as each of those that it was taken as.
      - Filled in with the name in the inventory, if it is left out.
    type: str
    default: ""
  ttl:
    description: How long the lease is held if it is neither released nor taken anew, such as V(10m).
    type: str
    default: 10m
  wait:
    description: How long to wait for the lease of another one.
    type: str
    default: 30m
  displaces:
    description: A holder that is known to be gone, whose lease is taken over.
    type: str
  state:
    description: V(held) takes the lease, V(released) gives it back. A lease that another one holds is left alone.
    type: str
    choices: [held, released]
    default: held
attributes:
  check_mode:
    support: full
    description: Can run in C(check_mode), in which it does nothing.
  diff_mode:
    support: none
    description: Has nothing to show.
  platform:
    platforms: linux
    support: full
    description: Linux hosts.
"""

EXAMPLES = r"""
- name: Keep other deployments away
  daemonless.isolation.deploy_lease:
    ttl: 15m

- name: Let them go on
  daemonless.isolation.deploy_lease:
    state: released
"""

RETURN = r"""
waited:
  description: Seconds that were waited for another deployment.
  returned: when O(state=held)
  type: float
  sample: 0.0
held_by:
  description: Who holds the lease.
  returned: when it could not be had
  type: str
"""

from ..module_utils._zipped import compile_once


def main() -> None:
    """Hold the lease, or release it."""
    compile_once()
    from ..module_utils._lease import run_lease

    run_lease()


if __name__ == "__main__":
    main()
