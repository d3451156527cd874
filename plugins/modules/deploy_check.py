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
  - M(daemonless.isolation.deploy_plan) asks it before the role P(daemonless.isolation.isolation#role) changes anything. So what can't be done fails
    before the first layer is changed, and a host on which nothing is to be done takes no task of a layer.
  - Without O(plan), it tells what a plan is made of.
options:
  project:
    description: The project that owns what is deployed.
    type: str
    default: default
  plan:
    description:
      - What every layer is asked for, as P(daemonless.isolation.together#filter) has it of P(daemonless.isolation.host_plan#filter). Archives have to be
        on the host, or to be named by the digests of their images.
    type: dict
  secret_values:
    description: Values of the services' secrets, as in M(daemonless.isolation.namespaced_service).
    type: dict
    default: {}
  seen:
    description: The RV(seen) that O(plan) was made for. If the host is another one by now, no layer is asked.
    type: str
  lease:
    description: Keep other deployments from the host before it is looked at. As in M(daemonless.isolation.deploy_lease); not in check mode.
    type: dict
    suboptions:
      holder:
        description: Who deploys.
        type: str
        required: true
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
attributes:
  check_mode:
    support: full
    description: Can run in C(check_mode), in which it takes no lease.
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
- name: See what a plan is made of
  daemonless.isolation.deploy_check:
    project: default
  register: here

- name: See what a deployment would change
  daemonless.isolation.deploy_check:
    plan: "{{ here.info | daemonless.isolation.host_plan(the_data) | daemonless.isolation.together }}"
  register: ahead
"""

RETURN = r"""
differing:
  description: The elements that would change, by layer, in the order in which layers are asked.
  returned: when O(plan) is given
  type: dict
  sample: {slices: [web/3fa91c2], rootfs: [web-3fa91c2], services: [web-3fa91c2], portmaps: [web], ended: [web-99d1e20]}
info:
  description: What a plan is made of, as far as M(daemonless.isolation.host_info) tells it.
  returned: when O(plan) is not given
  type: dict
seen:
  description: A digest of RV(info).
  returned: when O(plan) is not given
  type: str
stale:
  description: Whether the host is another one than O(seen).
  returned: when it is
  type: bool
waited:
  description: Seconds that were waited for another deployment.
  returned: when O(lease) is given
  type: float
held_by:
  description: Who holds the lease.
  returned: when it could not be had
  type: str
"""

from ..module_utils._check import run_check


def main() -> None:
    """Be the module."""
    run_check()


if __name__ == "__main__":
    main()
