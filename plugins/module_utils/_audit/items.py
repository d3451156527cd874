# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The items: those of section 5 of the CIS Docker Benchmark 1.6.0, by their numbers, in words of our own. Pure."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from . import limits, mounts, network, process
from .model import FAIL, NOT_APPLICABLE, RESULTS, WARN, Subject, Verdict


@dataclass(frozen=True)
class Item:
    """One item: what is asked, who judges, and what to set where it is not so."""

    number: str
    title: str
    judge: t.Callable[[Subject], Verdict]
    remedy: str


def _no_swarm(_subject: Subject) -> Verdict:
    return Verdict(NOT_APPLICABLE, "there is no swarm mode here")


_SERVICE, _SLICE, _PORTMAP = "namespaced_service", "cgroup_slice", "nat_portmap"

ITEMS: tuple[Item, ...] = (
    Item("5.1", "Swarm mode is off", _no_swarm, ""),
    Item("5.2", "An AppArmor profile is in force", process.apparmor, f"{_SERVICE}: apparmor_profile, of one that is loaded in enforce mode"),
    Item("5.3", "An SELinux type confines it", process.selinux, f"{_SERVICE}: selinux_label; set the host's SELinux to enforcing"),
    Item("5.4", "No capability that it can do without", process.capabilities, f"{_SERVICE}: capabilities"),
    Item("5.5", "It is not privileged", process.privileged, f"{_SERVICE}: capabilities"),
    Item("5.6", "It sees no sensitive directory of the host", mounts.directories, f"{_SERVICE}: mounts, namespaces, rootfs"),
    Item("5.7", "No ssh server runs inside", process.sshd, f"{_SERVICE}: command; enter it by the connection plugin instead"),
    Item("5.8", "No privileged port of the host leads to it", network.privileged_ports, f"{_PORTMAP}: mappings: host_port"),
    Item("5.9", "It listens on needed ports only", network.needed_ports, f"{_PORTMAP}: mappings; {_SERVICE}: command, namespaces: network"),
    Item("5.10", "Its network namespace is not the host's", network.network_namespace, f"{_SERVICE}: namespaces: network"),
    Item("5.11", "Its memory is limited", limits.memory, f"{_SLICE}: memory_max; {_SERVICE}: slice"),
    Item("5.12", "Its share of CPU time is set", limits.cpu, f"{_SLICE}: cpu_weight, cpu_max; {_SERVICE}: slice"),
    Item("5.13", "Its root filesystem is read-only", mounts.read_only_root, "rootfs_prepare: mode: read_only"),
    Item("5.14", "Published ports are bound to an address", network.host_addresses, f"{_PORTMAP}: mappings: host_address"),
    Item("5.15", "Restarts are held back", limits.restart, f"{_SERVICE}: restart: max_delay, policy"),
    Item("5.16", "Its pid namespace is not the host's", process.pid_namespace, f"{_SERVICE}: namespaces: pid"),
    Item("5.17", "Its ipc namespace is not the host's", process.ipc_namespace, f"{_SERVICE}: namespaces: ipc"),
    Item("5.18", "It has no device of the host", mounts.devices, f"{_SERVICE}: devices, mounts"),
    Item("5.19", "Its open files and processes are limited", limits.rlimits, f"{_SERVICE}: rlimits; {_SLICE}: pids_max"),
    Item("5.20", "No mount of it reaches the host", mounts.propagation, f"{_SERVICE}: mounts"),
    Item("5.21", "Its uts namespace is not the host's", process.uts_namespace, f"{_SERVICE}: namespaces: uts"),
    Item("5.22", "A seccomp filter is on", process.seccomp, f"{_SERVICE}: seccomp"),
    Item("5.23", "Nobody inside has more rights than it", process.entered_privileged, "end these processes; enter by the connection plugin"),
    Item("5.24", "Nobody inside is root where it is not", process.entered_as_root, "end these processes; enter as the service's user"),
    Item("5.25", "It is in a control group of its own", limits.control_group, f"{_SERVICE}: namespaces: cgroup"),
    Item("5.26", "It can gain no rights", process.no_new_privs, f"{_SERVICE}: state: restarted"),
    Item("5.27", "Its health is asked for", limits.health, f"{_SERVICE}: health"),
    Item("5.28", "Its image is no moving target", mounts.image, "rootfs_prepare: source: registry: image, by digest"),
    Item("5.29", "The number of its processes is limited", limits.pids, f"{_SLICE}: pids_max; {_SERVICE}: slice"),
    Item("5.30", "It is not on docker0", network.shared_bridge, f"{_SERVICE}: networks: bridge"),
    Item("5.31", "Its user namespace is not the host's", process.user_namespace, f"{_SERVICE}: namespaces: user"),
    Item("5.32", "It has no socket that rules the host", mounts.control_sockets, f"{_SERVICE}: mounts"),
)  # fmt: skip


def judge(subject: Subject) -> list[dict[str, t.Any]]:
    """Every item with its result, what was read, and, where something is to be done, the option to set."""
    found = []
    for item in ITEMS:
        answer = item.judge(subject)
        found.append(
            {
                "item": item.number,
                "title": item.title,
                "result": answer.result,
                "evidence": answer.evidence,
                "remedy": item.remedy if answer.result in (FAIL, WARN) else None,
            }
        )
    return found


def counts(items: t.Sequence[t.Mapping[str, t.Any]]) -> dict[str, int]:
    """How many items have each result."""
    return {result: sum(item["result"] == result for item in items) for result in RESULTS}
