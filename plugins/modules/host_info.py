#!/usr/bin/python
# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: host_info
short_description: Tell what a host has of isolated services
version_added: 0.1.0
description:
  - Reads what the other modules of this collection have made on a host. That it is ours is known from the records; what it is, is read
    from the kernel, the host's supervisor and nftables.
  - It is what C(docker ps), C(docker inspect) and C(docker network inspect) would tell.
options:
  gather_subset:
    description:
      - What to look at. V(all) is everything.
    type: list
    elements: str
    choices: [all, bridges, slices, rootfs, images, services, volumes, portmaps]
    default: [all]
  project:
    description:
      - Only what belongs to this project. Without it, everything on the host is told.
    type: str
attributes:
  check_mode:
    description: Changes nothing, in check mode or without.
    support: full
  diff_mode:
    description: There is never a difference.
    support: none
  idempotent:
    description: Changes nothing, however often it runs.
    support: full
extends_documentation_fragment: []
seealso:
  - module: daemonless.isolation.bridge
  - module: daemonless.isolation.cgroup_slice
  - module: daemonless.isolation.rootfs_prepare
  - module: daemonless.isolation.namespaced_service
  - module: daemonless.isolation.nat_portmap
author:
  - daemonless.isolation contributors (@daemonless)
"""

EXAMPLES = r"""
- name: Look at everything
  daemonless.isolation.host_info:
  register: host

- name: Show which services run
  ansible.builtin.debug:
    msg: "{{ host.services | selectattr('state', 'eq', 'started') | map(attribute='name') }}"

- name: Show which slices have lost processes for want of memory
  ansible.builtin.debug:
    msg: "{{ host.slices | selectattr('oom_kills') | map(attribute='name') }}"

- name: Look at the published ports of one project
  daemonless.isolation.host_info:
    gather_subset: [portmaps]
    project: default
"""

RETURN = r"""
bridges:
  description: Bridges, as M(daemonless.isolation.bridge) returns them.
  returned: when gathered
  type: list
  elements: dict
  sample:
    - name: iso0
      project: default
      present: true
      addresses: [10.88.0.1/24]
      mode: nat
slices:
  description:
    - Slices, as M(daemonless.isolation.cgroup_slice) returns them.
    - Beside the limits in force, each tells its C(usage), its C(peak), its C(pressure), the C(throttling) of its CPU time and its
      C(oom_kills). The module named above says what is in each.
  returned: when gathered
  type: list
  elements: dict
  sample:
    - name: web/3fa91c2
      project: default
      state: present
      path: /isolation.slice/isolation-web.slice/isolation-web-3fa91c2.slice
      unit: isolation-web-3fa91c2.slice
      manager: systemd
      version: v2
      effective: {cpu_max: 50000/100000, memory_max: 268435456, pids_max: 64}
      usage:
        memory_current: 5242880
        swap_current: 0
        pids_current: 3
        cpu_usage_usec: 81234
        io:
          - {device: /dev/vda, rbytes: 1048576, wbytes: 4096, rios: 12, wios: 1}
      peak:
        memory: 9437184
        swap: 0
        pids: 5
      pressure:
        cpu:
          some: {avg10: 0.5, avg60: 0.12, avg300: 0.03, total_usec: 41233}
          full: {avg10: 0.0, avg60: 0.0, avg300: 0.0, total_usec: 0}
        memory:
          some: {avg10: 0.0, avg60: 0.0, avg300: 0.0, total_usec: 0}
          full: {avg10: 0.0, avg60: 0.0, avg300: 0.0, total_usec: 0}
        io:
          some: {avg10: 0.0, avg60: 0.0, avg300: 0.0, total_usec: 1290}
          full: {avg10: 0.0, avg60: 0.0, avg300: 0.0, total_usec: 1102}
      throttling:
        nr_periods: 20
        nr_throttled: 2
        throttled_usec: 81002
      oom_kills: 0
rootfs:
  description: Root filesystems, and whether they are mounted and by which processes they are used.
  returned: when gathered
  type: list
  elements: dict
  sample:
    - name: web-3fa91c2
      project: default
      service: web
      mounted: true
      path: /var/lib/isolation/instances/web-3fa91c2/rootfs
images:
  description: Images in the host's store, which all projects share, and the root filesystems that use them.
  returned: when gathered
  type: list
  elements: dict
  sample:
    - digest: sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
      size: 58068674
      rootfs: [web-3fa91c2]
services:
  description: Instances of services, as M(daemonless.isolation.namespaced_service) returns them.
  returned: when gathered
  type: list
  elements: dict
  sample:
    - name: web-3fa91c2
      project: default
      service: web
      state: started
      pid: 4711
volumes:
  description:
    - Named volumes, the instances that use them, and for which of these they are mounted now. Those that nothing uses stay until they are purged by
      name, by O(daemonless.isolation.namespaced_service#module:purge_volumes).
  returned: when gathered
  type: list
  elements: dict
  sample:
    - name: web-data
      project: default
      path: /var/lib/isolation/volumes/web-data
      exists: true
      services: [web-3fa91c2]
      mounted: [web-3fa91c2]
portmaps:
  description: Published ports by their owner, as nftables has them.
  returned: when gathered
  type: list
  elements: dict
  sample:
    - name: web
      project: default
      mappings: [{host_port: 80, protocol: tcp, address: 10.88.0.17, port: 3000}]
"""

from ..module_utils._info import run_info


def main() -> None:
    """Look at the host."""
    run_info()


if __name__ == "__main__":
    main()
