#!/usr/bin/python
# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: cgroup_slice
short_description: Limit CPU, memory, processes and disks of services by control groups
version_added: 0.1.0
description:
  - Makes slices, control groups that hold the processes of services and limit what these may use together.
  - On a host with systemd a slice is a slice unit, with limits as its properties. Elsewhere it is a directory in the file systems of
    control groups, which a file under C(/etc/isolation/boot.d) makes again at boot. The options are the same.
  - The state that is declared is whole. A limit that is not given has the kernel's default, also if it had another value before.
  - Every limit changes live, without an interruption of the processes inside.
  - What is compared and returned is what the kernel has. A slice of systemd that nothing uses is inactive after a reboot and takes effect
    with its first service; then its unit is compared.
  - Needs control groups of version 2 on a host with systemd. Elsewhere version 1 and hybrid hosts are served too; what version 1 has no
    exact counterpart for is refused by name.
extends_documentation_fragment:
  - daemonless.isolation.common
options:
  name:
    description:
      - The slice's name, or its path. The slice V(web/3fa91c2) lies in V(web), so that the limits of both hold for it.
      - Parents that are not slices of their own have no limits, and go with the last slice inside.
      - Under systemd V(web/3fa91c2) is C(isolation-web-3fa91c2.slice). A dash inside a name is escaped there, so that V(web-api) is not inside V(web).
    type: str
  cpu_weight:
    description:
      - The share of CPU time against siblings when CPUs are short, from 1 to 10000. The kernel's default is 100.
    type: int
  cpu_max:
    description:
      - The most CPU time, as a percentage of one CPU (V(50%)), a number of CPUs (V(1.5)), or C(QUOTA/PERIOD) in microseconds (V(50000/100000)).
      - V(max) is no limit. More CPUs than the host has are accepted with a warning.
    type: str
  cpuset_cpus:
    description:
      - The CPUs that may be used, as a list such as V(0-2,4), or V(max) for those of the parent.
    type: str
  cpuset_mems:
    description:
      - The memory nodes that may be used, as a list such as V(0), or V(max) for those of the parent.
    type: str
  memory_max:
    description:
      - The most memory, such as V(256M); processes that need more are killed. V(max) is no limit.
      - The kernel rounds sizes of memory down to whole pages. More than the host has is refused.
    type: str
  memory_high:
    description:
      - The amount of memory above which processes are slowed down and their memory is reclaimed, or V(max). Not with version 1.
    type: str
  memory_low:
    description:
      - The amount of memory that is only reclaimed when there is none left elsewhere. Protected only as far as the parents protect it. Not with version 1.
    type: str
  memory_min:
    description:
      - The amount of memory that is never reclaimed. Protected only as far as the parents protect it. Not with version 1.
    type: str
  memory_swap_max:
    description:
      - The most swap, or V(max). With version 1 it needs O(memory_max) too.
    type: str
  memory_zswap_max:
    description:
      - The most memory for compressed swap, or V(max). Not with version 1, nor with systemd before 253.
    type: str
  pids_max:
    description:
      - The most processes and threads, or V(max).
    type: str
  io_weight:
    description:
      - The share of disk time against siblings, from 1 to 10000. The kernel's default is 100.
      - With version 1 only where the disk scheduler BFQ is in use, and up to 1000.
    type: int
  io_max:
    description:
      - The most that may be read from and written to disks.
    type: list
    elements: dict
    suboptions:
      device:
        description: The node of a whole disk, or a link to it.
        type: path
        required: true
      rbps:
        description: Bytes read per second, such as V(10M), or V(max).
        type: str
      wbps:
        description: Bytes written per second, or V(max).
        type: str
      riops:
        description: Reads per second, or V(max).
        type: str
      wiops:
        description: Writes per second, or V(max).
        type: str
  io_latency:
    description:
      - Latencies that disks shall keep for this slice. While one does not, siblings with longer ones, or with none, have to wait.
      - Not with version 1, nor with a kernel that was built without C(CONFIG_BLK_CGROUP_IOLATENCY), as those of Debian are.
    type: list
    elements: dict
    suboptions:
      device:
        description: The node of a whole disk, or a link to it.
        type: path
        required: true
      target:
        description: The latency, such as V(25ms).
        type: str
        required: true
  hugetlb_max:
    description:
      - The most memory in huge pages, for each size of them. A process that touches more is killed by C(SIGBUS).
      - The kernel rounds down to whole huge pages. A size that is not given has no limit.
      - Not under systemd, which has no property for it. With version 1 the controller C(hugetlb) must be mounted.
    type: list
    elements: dict
    suboptions:
      page_size:
        description: A size of huge pages that this host has, such as V(2MB).
        type: str
        required: true
      limit:
        description: Bytes, such as V(64M), V(0) for none, or V(max).
        type: str
        required: true
  unified:
    description:
      - Raw keys of version 2 that have no option of their own, with their text of one line. Quote them.
      - A key that is no longer given goes back to the value that it had before it was first set.
      - A controller, a file, a disk, a CPU or an amount of memory that this host does not have is refused before anything is changed.
      - Refused under systemd, which allows no other writer in control groups that it manages.
    type: dict
    default: {}
  force:
    description:
      - With O(state=absent), end the processes inside. Under systemd their units are stopped. Otherwise a slice with processes inside is left alone.
    type: bool
    default: false
  state:
    description:
      - V(present) makes the slice, with its processes running.
      - V(frozen) makes it too, and stops all processes inside where they are. This does not outlive a reboot.
        With systemd newer than 252 limits can't change while it is frozen.
      - V(absent) removes it. Slices inside must be removed in the same task, or before.
    type: str
    choices: [present, frozen, absent]
    default: present
notes:
  - Needs root.
  - With version 2 and without systemd, controllers that the root group hands down for the first slice stay enabled after the last one, as other
    groups may use them by then.
seealso:
  - module: daemonless.isolation.namespaced_service
  - name: Control Group v2
    description: What each limit does, by the kernel's own documentation.
    link: https://docs.kernel.org/admin-guide/cgroup-v2.html
  - name: systemd.resource-control
    description: The properties that hold the limits under systemd.
    link: https://www.freedesktop.org/software/systemd/man/latest/systemd.resource-control.html
author:
  - daemonless.isolation contributors (@daemonless)
"""

EXAMPLES = r"""
- name: Half a CPU, 256 MiB and 64 processes
  daemonless.isolation.cgroup_slice:
    name: web/3fa91c2
    cpu_max: 50%
    memory_max: 256M
    memory_swap_max: "0"
    pids_max: 64

- name: A weight for all of a service, and a limit for each of its instances
  daemonless.isolation.cgroup_slice:
    pids_max: 64
    aggregate:
      - name: shop
        cpu_weight: 300
        pids_max: max
      - name: shop/3fa91c2
        memory_max: 512M
      - name: shop/88c0d1e
        memory_max: 512M

- name: Hold a slice where it is
  daemonless.isolation.cgroup_slice:
    name: web/3fa91c2
    cpu_max: 50%
    memory_max: 256M
    memory_swap_max: "0"
    pids_max: 64
    state: frozen

- name: Remove slices, a parent together with what is inside
  daemonless.isolation.cgroup_slice:
    aggregate:
      - name: shop
      - name: shop/3fa91c2
      - name: shop/88c0d1e
      - name: web/3fa91c2
    state: absent
"""

RETURN = r"""
slice:
  description: The slice, as the kernel has it. Not with O(aggregate).
  returned: success, when O(name) is given
  type: dict
  sample: &slice
    name: web/3fa91c2
    state: present
    path: /isolation.slice/isolation-web.slice/isolation-web-3fa91c2.slice
    unit: isolation-web-3fa91c2.slice
    manager: systemd
    version: v2
    effective:
      cpu_weight: 100
      cpu_max: 50000/100000
      cpuset_cpus: max
      cpuset_mems: max
      memory_max: 268435456
      memory_high: max
      memory_low: 0
      memory_min: 0
      memory_swap_max: 0
      memory_zswap_max: max
      pids_max: 64
      io_weight: 100
      io_max: [{device: /dev/vda, rbps: max, wbps: 10485760, riops: 100, wiops: max}]
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
  contains:
    name:
      description: The slice's name.
      type: str
    state:
      description: V(present), V(frozen) or V(absent). An absent slice has its name and state only.
      type: str
    path:
      description: Where its control group lies below the root of each hierarchy.
      type: str
    unit:
      description: Its unit, where the manager is systemd.
      type: str
    manager:
      description: Who makes control groups on this host, V(systemd) or V(cgroupfs).
      type: str
    version:
      description: The version of control groups, V(v2), V(v1) or V(hybrid).
      type: str
    effective:
      description:
        - The limits in force, with those that the kernel has by default. Sizes are bytes. Limits that this host can't have are not listed.
        - Latencies are microseconds. Raw keys of O(unified) are under V(unified).
      type: dict
    usage:
      description:
        - What the slice uses, as far as the kernel tells. Empty when the slice is only predicted, or inactive.
        - V(memory_current) and V(swap_current) in bytes, V(pids_current), V(cpu_usage_usec) of CPU time since it was made, and under V(io) what
          it has read and written of each disk.
      type: dict
    peak:
      description:
        - The most that it has used since it was made, V(memory) and V(swap) in bytes and V(pids). Empty like RV(slice.usage).
        - Kernels before 5.19 have no peak of memory with version 2.
      type: dict
    pressure:
      description:
        - How long processes have waited for V(cpu), V(memory) and V(io). V(some) is the time in which at least one waited, V(full) the time in
          which all did, in percent of the last 10, 60 and 300 seconds, and in microseconds since the slice was made.
        - Null with version 1, with a kernel that does not measure it, and when RV(slice.usage) is empty.
      type: dict
    throttling:
      description:
        - How often O(cpu_max) has held it, V(nr_throttled) of V(nr_periods), and for how long in all. Null when RV(slice.usage) is empty.
      type: dict
    oom_kills:
      description:
        - How many processes the kernel has killed because memory was short. Null when RV(slice.usage) is empty.
        - With version 1 those of instances that have been removed are not counted any more.
      type: int
results:
  description: What became of each element, in the order in which they were given.
  returned: always, unless an option is refused
  type: list
  elements: dict
  sample:
    - name: web/3fa91c2
      changed: true
      failed: false
      slice: *slice
"""

from ..module_utils._zipped import compile_once


def main() -> None:
    """Be the module."""
    compile_once()
    from ..module_utils._cgroup.layer import CgroupLayer
    from ..module_utils._runner import run_module

    run_module(CgroupLayer())


if __name__ == "__main__":
    main()
