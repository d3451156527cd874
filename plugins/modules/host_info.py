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
  - It is what C(docker ps), C(docker inspect), C(docker stats) and C(docker network inspect) would tell, in one pass over the host.
  - Run as root. Another user may not read the records and the packet filter. What can't be seen is then V(null), never guessed, and
    RV(unseen) names it with the reason.
options:
  gather_subset:
    description:
      - What to look at. V(all) is everything but V(audit), which is told only when it is named.
      - V(audit) judges running services by the items of section 5 (container runtime) of the CIS Docker Benchmark 1.6.0. It needs root.
    type: list
    elements: str
    choices: [all, bridges, slices, rootfs, images, services, volumes, portmaps, audit]
    default: [all]
  project:
    description:
      - Only what belongs to this project. Without it, everything on the host is told.
    type: str
  volume_size:
    description:
      - Tell how much disk each volume takes, too. For that, all files in all volumes are looked at.
    type: bool
    default: false
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

- name: Show what each service uses
  ansible.builtin.debug:
    msg: "{{ item.name }}: {{ item.usage.memory_current | human_readable }}, {{ item.usage.cpu_usage_usec / 1000000 }} s of CPU time"
  loop: "{{ host.services | selectattr('usage') }}"
  loop_control:
    label: "{{ item.name }}"

- name: Show how much disk volumes take
  daemonless.isolation.host_info:
    gather_subset: [volumes]
    volume_size: true

- name: Show which slices have lost processes for want of memory
  ansible.builtin.debug:
    msg: "{{ host.slices | selectattr('oom_kills') | map(attribute='name') }}"

- name: Show what an audit would find fault with
  daemonless.isolation.host_info:
    gather_subset: [audit]
  register: audited

- name: Show the items that fail, with the option to set
  ansible.builtin.debug:
    msg: "{{ item['items'] | selectattr('result', 'eq', 'fail') }}"
  loop: "{{ audited.audit }}"
  loop_control:
    label: "{{ item.name }}"

- name: Look at the published ports of one project
  daemonless.isolation.host_info:
    gather_subset: [portmaps]
    project: default
"""

RETURN = r"""
unseen:
  description:
    - What could not be looked at because the module was not run as root. Such an entry is in its list with its name alone, all else
      being V(null); where even names are not known, C(name) is V(null) here.
    - Always empty for root. Then, what can't be read fails the task.
  returned: always
  type: list
  elements: dict
  sample:
    - subset: services
      name: web-1
      reason: "/etc/isolation/service/web-1.json: Permission denied: run as root (become: true)"
bridges:
  description:
    - Bridges, as M(daemonless.isolation.bridge) returns them.
    - C(present) tells whether the link is there, C(up) whether it is on. C(services) are the instances that belong on it, and C(attached)
      whether their link is one of its ports now.
  returned: when gathered
  type: list
  elements: dict
  sample:
    - name: iso0
      project: default
      present: true
      up: true
      addresses: [10.88.0.1/24, "fd88::1/64"]
      mac: "fe:f4:a6:2b:74:a4"
      mtu: 1500
      mode: nat
      ipv6_mode: nat
      l2: false
      ports: [isoecf27526e95c]
      services:
        - service: web-1
          interface: isoecf27526e95c
          mac: "b2:fa:60:1f:6a:fa"
          ipv4: 10.88.0.136
          ipv6: fd88::a258:5200:5980:93e1
          attached: true
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
      mode: overlay
      mounted: true
      path: /var/lib/isolation/instances/web-3fa91c2/rootfs
      digest: sha256:3fc15351cecf0554ccb544715e1549ef1b8ee16c09abfd9e8f9a91edec57787b
      image: /var/lib/isolation/images/sha256-3fc15351cecf0554ccb544715e1549ef1b8ee16c09abfd9e8f9a91edec57787b
      size: 58068674
      id_base: 1724448768
      pids: [4711, 4716]
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
  description:
    - Instances of services, as M(daemonless.isolation.namespaced_service) returns them, and more.
    - C(options) is what the service was asked to be, in the form in which it is compared. Of the environment the names alone are told,
      as values may be secret and results get into logs.
    - C(ids) are the ids that its command runs with, inside and on the host.
    - C(networks) are its links. C(name) is the end inside, C(interface) the host's. C(traffic) counts as the service does (what it
      receives is C(rx)), and is V(null) where there is no such link now.
    - C(published) are the host's ports that lead to it, and the portmap that owns each. C(applied) of RV(portmaps) tells whether the kernel has them.
    - C(usage), C(peak), C(pressure), C(throttling) and C(oom_kills) are of its own control group, in the words of RV(slices). They are V(null)
      unless it runs.
    - C(health) has with a periodic check also C(status), C(since), C(failures), C(restarts), C(last) and C(action).
    - C(restarts) is how often it has ended since it was last told to start. C(failure) is V(null) unless it is to run and does not, and has C(ended_at),
      C(next_start), C(exit_status) or C(signal) where they are known, and the last lines of its C(log), without values of its secrets.
    - C(proven) tells whether it has ever reached what its C(gate) asks for.
    - C(enabled) tells whether it is started at the next boot, C(log) where its output goes. C(started_at) is in UTC.
  returned: when gathered
  type: list
  elements: dict
  sample:
    - name: web-1
      service: web
      project: default
      release: "1"
      state: started
      pid: 4711
      uptime: 86400.6
      stops_in: null
      started_at: "2026-11-25T07:49:53Z"
      enabled: true
      proven: true
      unit: isolation-web\x2d1.service
      supervisor: systemd
      log: {type: journal, unit: isolation-web\x2d1.service}
      restarts: 0
      failure: null
      cgroup: /isolation.slice/isolation-web.slice/isolation-web-1.slice/isolation-web\x2d1.service
      namespaces: {pid: 4026532991, mnt: 4026532988, net: 4026532992, uts: 4026532989, ipc: 4026532990, cgroup: 4026533067, user: 4026532985}
      runtime: crun
      rootfs: web-1
      slice: web/1
      command: [/usr/bin/python3, -B, /srv/app.py]
      health: {kind: http, port: 80, path: /, interval: 0.5, timeout: 2.0, retries: 3, command: []}
      id_base: 1724448768
      ids: {uid: 1000, gid: 1001, host_uid: 1724449768, host_gid: 1724449769}
      updated: 1795592989.268
      options:
        capabilities: [CAP_NET_RAW]
        environment: [GREETING, PATH, PORT]
        hostname: web
        init: true
        mounts: [{type: volume, source: web-data, target: /data, read_only: false, exec: true}]
        networks: [{bridge: iso0, address: [auto]}]
        restart: {policy: always, delay: 0.1, max_delay: 60.0}
        rlimits: {RLIMIT_NOFILE: "100:200"}
        seccomp: default
        stop_signal: SIGINT
        stop_timeout: 10.0
        tmpfs: [{target: /cache, size: 1M, mode: "1777"}]
        user: "1000:1001"
        workdir: /
      addresses:
        - bridge: iso0
          interface: isoecf27526e95c
          mac: "b2:fa:60:1f:6a:fa"
          ipv4: 10.88.0.136
          ipv6: fd88::a258:5200:5980:93e1
      networks:
        - name: eth0
          bridge: iso0
          interface: isoecf27526e95c
          mac: "b2:fa:60:1f:6a:fa"
          ipv4: 10.88.0.136
          ipv6: fd88::a258:5200:5980:93e1
          traffic: {rx_bytes: 1661, rx_packets: 15, rx_dropped: 0, rx_errors: 0, tx_bytes: 692, tx_packets: 8, tx_dropped: 0, tx_errors: 0}
      published:
        - {portmap: web, host_address: null, host_port: 8080, protocol: tcp, address: 10.88.0.136, port: 80}
      usage: {memory_current: 17072128, swap_current: 0, pids_current: 2, cpu_usage_usec: 138341, io: []}
      peak: {memory: 17076224, pids: 3}
      pressure: null
      throttling: {nr_periods: 0, nr_throttled: 0, throttled_usec: 0}
      oom_kills: 0
volumes:
  description:
    - Named volumes, the instances that use them, and for which of these they are mounted now. Those that nothing uses stay until they are purged by
      name, by O(daemonless.isolation.namespaced_service#module:purge_volumes).
    - C(size) is what their files take on disk, in bytes, with O(volume_size).
  returned: when gathered
  type: list
  elements: dict
  sample:
    - name: web-data
      project: default
      path: /var/lib/isolation/volumes/web-data
      exists: true
      size: 311296
      services: [web-3fa91c2]
      mounted: [web-3fa91c2]
portmaps:
  description: Published ports by their owner. C(applied) tells whether nftables has all of them.
  returned: when gathered
  type: list
  elements: dict
  sample:
    - name: web
      project: default
      applied: true
      mappings: [{host_address: null, host_port: 80, protocol: tcp, address: 10.88.0.17, port: 3000}]
      exposed: [{host_address: null, host_port: 80, protocol: tcp, address: 10.88.0.17, port: 3000}]
      service_addresses: []
      omitted: 0
      unconfirmed: false
audit:
  description:
    - Running services and the items of section 5 of the CIS Docker Benchmark 1.6.0, by their numbers, with titles of our own.
    - C(result) is V(pass), V(fail), V(warn) or V(not_applicable). C(evidence) is what was read, C(remedy) the module and the option to set
      where an item is V(fail) or V(warn), else V(null).
    - Evidence is from the kernel (/proc of the service's processes, its control groups). What the kernel can't know is from records alone, which are
      the restart policy (5.15), health (5.27), published ports (5.8, 5.9, 5.14) and the image's reference (5.28).
  returned: when V(audit) is in O(gather_subset)
  type: list
  elements: dict
  sample:
    - name: web-1
      service: web
      project: default
      pid: 4711
      counts: {pass: 27, fail: 1, warn: 0, not_applicable: 4}
      items:
        - item: "5.10"
          title: Its network namespace is not the host's
          result: pass
          evidence: net:[4026532992], the host's is net:[4026531840]
          remedy: null
        - item: "5.13"
          title: Its root filesystem is read-only
          result: fail
          evidence: "mountinfo: / is rw (overlay)"
          remedy: "rootfs_prepare: mode: read_only"
"""

from ..module_utils._zipped import compile_once


def main() -> None:
    """Look at the host."""
    compile_once()
    from ..module_utils._info import run_info

    run_info()


if __name__ == "__main__":
    main()
