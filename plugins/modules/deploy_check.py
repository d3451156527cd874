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
  - Looks at a host, plans what each of its layers is to be asked for, as P(daemonless.isolation.host_plan#filter) does, and asks every layer what it
    would change. It changes nothing. The layers are asked as M(daemonless.isolation.bridge), M(daemonless.isolation.cgroup_slice),
    M(daemonless.isolation.rootfs_prepare), M(daemonless.isolation.namespaced_service) and M(daemonless.isolation.nat_portmap) are in check mode, one
    after the other, in one process.
  - M(daemonless.isolation.deploy_plan) asks it before the role P(daemonless.isolation.isolation#role) changes anything. So what can't be done fails
    before the first layer is changed, and a host on which nothing is to be done takes no task of a layer.
  - Without O(declared), it tells what a plan is made of.
options:
  project:
    description: The project that owns what is deployed.
    type: str
    default: default
  declared:
    description: The inventory's data, as the role P(daemonless.isolation.isolation#role) gathers it, without the values of secrets.
    type: dict
  archives:
    description: Sources on the controller, for root filesystems whose C(remote_src) is V(false).
    type: list
    elements: dict
    default: []
    suboptions:
      source:
        description: The C(source) as it is declared.
        type: dict
        required: true
      found:
        description: The C(source) that stands for it on the host.
        type: dict
        required: true
  secret_values:
    description: Values of the services' secrets, as in M(daemonless.isolation.namespaced_service).
    type: dict
    default: {}
  lease:
    description:
      - Keep other deployments from the host, as M(daemonless.isolation.deploy_lease) does, if instances come or go, or a port is published for the first
        time. The host is looked at again then. Not in check mode.
    type: dict
    suboptions:
      holder:
        description: Who deploys.
        type: str
        required: true
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
- name: See what a deployment would change
  daemonless.isolation.deploy_check:
    declared: "{{ the_data }}"
  register: ahead
"""

RETURN = r"""
differing:
  description: The elements that would change, by layer, in the order in which layers are asked.
  returned: when O(declared) is given
  type: dict
  sample: {slices: [web/3fa91c2], rootfs: [web-3fa91c2], services: [web-3fa91c2], portmaps: [web], ended: [web-99d1e20]}
info:
  description:
    - What a plan is made of, as far as M(daemonless.isolation.host_info) tells it. It is for M(daemonless.isolation.deploy_plan), which plans by it.
    - It is compressed JSON in patterns of Braille. In plain text, Ansible would blank out values that must not be shown wherever a name happens to have
      one in it.
  returned: success
  type: str
leased:
  description: Whether other deployments are kept from the host.
  returned: always
  type: bool
waited:
  description: Seconds that were waited for another deployment.
  returned: when RV(leased) is true
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
