#!/usr/bin/python
# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: deploy_check
short_description: See what a deployment would change on a host
version_added: 0.1.0
author: daemonless.isolation contributors (@daemonless)
description:
  - Asks every layer of a deployment what it would change, and changes nothing. It is as M(daemonless.isolation.bridge),
    M(daemonless.isolation.cgroup_slice), M(daemonless.isolation.rootfs_prepare), M(daemonless.isolation.namespaced_service) and
    M(daemonless.isolation.nat_portmap) in check mode, one after the other, in one process.
  - The role P(daemonless.isolation.isolation#role) asks it before it changes anything. So what can't be done fails before the first layer is changed,
    and a host on which nothing is to be done takes no other task.
options:
  project:
    description: The project that owns what is deployed.
    type: str
    default: default
  plan:
    description:
      - What every layer is asked for, as P(daemonless.isolation.together#filter) has it of P(daemonless.isolation.host_plan#filter).
    type: dict
    required: true
  secret_values:
    description: Values of the services' secrets, as in M(daemonless.isolation.namespaced_service).
    type: dict
    default: {}
attributes:
  check_mode:
    support: full
    description: Can run in C(check_mode), in which it does the same.
  diff_mode:
    support: full
    description: Returns what every layer would change, as a line for each option or mapping.
  idempotent:
    support: full
    description: It changes nothing.
  platform:
    platforms: linux
    support: full
    description: Linux hosts.
"""

EXAMPLES = r"""
- name: See what a deployment would change
  daemonless.isolation.deploy_check:
    plan: "{{ the_plan | daemonless.isolation.together }}"
  register: ahead
"""

RETURN = r"""
differing:
  description: The layers that would change something, in the order in which they are asked.
  returned: success
  type: list
  elements: str
  sample: [slices, rootfs, services, portmaps, ended]
"""

from ..module_utils._foresight import run_check


def main() -> None:
    """Be the module."""
    run_check()


if __name__ == "__main__":
    main()
