#!/usr/bin/python
# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: deploy_step
short_description: A step of a deployment on a host, of all its layers
version_added: 0.1.0
author: daemonless.isolation contributors (@daemonless)
description:
  - Does in one process what M(daemonless.isolation.bridge), M(daemonless.isolation.cgroup_slice), M(daemonless.isolation.rootfs_prepare),
    M(daemonless.isolation.namespaced_service) and M(daemonless.isolation.nat_portmap) would do one after the other, by the same code. Each task of Ansible
    costs some tenths of a second, which is more than most changes take.
  - The role P(daemonless.isolation.isolation#role) is made of it. For a layer alone, use the module of that layer.
options:
  step:
    description:
      - V(look) tells what a plan is made of.
      - V(plan) looks, plans what each layer is to be asked for, as P(daemonless.isolation.host_plan#filter) does, and asks every layer what it would change.
        It changes nothing, unless it is to O(proceed). M(daemonless.isolation.deploy_plan) calls it.
      - V(bring_up) makes what the services of O(wave) stand on, starts them, waits until they are well, and leads their ports to them. Instances that fail
        don't keep others from coming into service. If ports can't be led there, or don't answer then, they lead back, and what was started beside what
        serves is stopped.
      - V(finish) confirms where ports lead since then, stops earlier instances once nobody is connected with them, and removes what is no longer kept.
      - V(remove) takes back all that the project has on the host, by the host's own records.
    type: str
    choices: [look, plan, bring_up, finish, remove]
    required: true
  project:
    description: The project that owns what is deployed.
    type: str
    default: default
  declared:
    description: "For V(plan): the inventory's data, as the role P(daemonless.isolation.isolation#role) gathers it, without the values of secrets."
    type: dict
  proceed:
    description:
      - "For V(plan): bring up the first wave at once, as V(bring_up) does, if no layer refuses what it is asked for."
      - Not in check mode, and not if a root filesystem of that wave has its source on the controller, from where it may have to be sent.
    type: bool
    default: false
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
  wave:
    description:
      - "For V(bring_up): an element of RV(daemonless.isolation.deploy_plan#module:steps). Archives on the controller are sent where the host lacks their
        images."
    type: dict
  going:
    description: "For V(finish): the RV(going) of V(bring_up)."
    type: str
  remove:
    description: "For V(finish): C(remove) of the plan."
    type: dict
    default: {}
  secret_values:
    description: Values of the services' secrets, as in M(daemonless.isolation.namespaced_service).
    type: dict
    default: {}
  confirm_timeout:
    description: "For V(bring_up): how long after it the host waits for V(finish) before it leads ports back, as in M(daemonless.isolation.nat_portmap)."
    type: str
  lease:
    description:
      - With V(plan), keep other deployments from the host, as M(daemonless.isolation.deploy_lease) does, if instances come or go, or a port is published for
        the first time. Not in check mode.
      - With V(remove), keep others from the host until all of it is done.
      - With V(bring_up) and V(finish), renew the lease, and change nothing any more once it is another's, who has taken this deployment for dead.
    type: dict
    suboptions:
      holder:
        description: Who deploys. By default, the process of Ansible on the controller.
        type: str
        required: true
      host:
        description: What the holder calls this machine, as in M(daemonless.isolation.deploy_lease). By default, its name in the inventory.
        type: str
        default: ""
      ttl:
        description: For how long at most without a word. V(plan) takes it from the plan.
        type: str
        default: 10m
      wait:
        description: "For V(plan) and V(remove): how long to wait for the lease of another one."
        type: str
        default: 30m
      displaces:
        description: "For V(plan) and V(remove): a holder that is known to be gone, whose lease is taken over."
        type: str
  release:
    description: "For V(finish): let other deployments go on once all of it is done."
    type: bool
    default: false
  purge_volumes:
    description: "For V(remove): delete named volumes, too, with all that is in them."
    type: bool
    default: false
  prune_images:
    description: "For V(remove): remove images that nothing refers to any more, as O(daemonless.isolation.rootfs_prepare#module:prune_images) does."
    type: bool
    default: false
attributes:
  action:
    support: full
    description: It sends archives, and says who deploys.
  async:
    support: none
    description: What is sent has to stay until it is unpacked.
  check_mode:
    support: partial
    description: Can run in C(check_mode).
    details:
      - V(bring_up) and V(finish) are left out in it, and no lease is taken. V(plan) tells what they would change, and does not proceed.
      - V(remove) tells what it would remove.
  diff_mode:
    support: full
    description: Returns what every layer has changed or would change, as a line for each option or mapping.
  idempotent:
    support: full
    description: What is as it is to be is left alone.
  platform:
    platforms: linux
    support: full
    description: Linux hosts.
"""

EXAMPLES = r"""
- name: Look and plan
  daemonless.isolation.deploy_plan:
    declared: "{{ the_data }}"
  register: ahead

- name: Bring up the first wave
  daemonless.isolation.deploy_step:
    step: bring_up
    wave: "{{ ahead.steps[0] }}"
    confirm_timeout: 2m
  register: up

- name: Confirm, drain and stop
  daemonless.isolation.deploy_step:
    step: finish
    going: "{{ up.going }}"
    remove: "{{ ahead.plan.remove }}"
    lease: {}
    release: true

- name: Take all of it back
  daemonless.isolation.deploy_step:
    step: remove
"""

RETURN = r"""
layers:
  description: What was done, by layer, in its order. Each has C(changed) and the C(results) of its module.
  returned: with V(bring_up), V(finish), V(remove) and O(proceed)
  type: dict
up:
  description: RV(going), RV(more) and RV(lost) of the first wave.
  returned: when V(plan) has brought it up
  type: dict
going:
  description: What V(finish) needs to know, for O(going).
  returned: with V(bring_up)
  type: str
more:
  description: Whether there is anything to confirm or to stop.
  returned: with V(bring_up)
  type: bool
lost:
  description: Why instances did not come into service; empty if all did.
  returned: with V(bring_up)
  type: str
at:
  description: The layer that was at work.
  returned: when it failed
  type: str
  sample: portmaps
differing:
  description: The elements that would change, or differed before the first wave was brought up, by layer; packed like RV(info).
  returned: with V(plan)
  type: str
info:
  description:
    - What a plan is made of, as far as M(daemonless.isolation.host_info) tells it. It is for M(daemonless.isolation.deploy_plan), which plans by it.
    - It is compressed JSON in patterns of Braille. In plain text, Ansible would blank out values that must not be shown wherever a name happens to have
      one in it.
  returned: with V(look) and V(plan)
  type: str
leased:
  description: Whether other deployments are kept from the host.
  returned: always
  type: bool
released:
  description: Whether they may go on.
  returned: when O(release) was done, and with V(remove)
  type: bool
waited:
  description: Seconds that were waited for another deployment.
  returned: when a lease was taken
  type: float
held_by:
  description: Who holds the lease.
  returned: when it could not be had
  type: str
"""

from ..module_utils._zipped import compile_once


def main() -> None:
    """Be the module."""
    compile_once()
    from ..module_utils._deploy.step import run_step

    run_step()


if __name__ == "__main__":
    main()
