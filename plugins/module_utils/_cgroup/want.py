# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a slice shall have on this host: values in the kernel's own terms, or a refusal by name. Pure."""

from __future__ import annotations

import typing as t
from dataclasses import replace

from .._errors import InvalidOption
from .._units import format_size
from . import unit, v1, v2
from .facts import Host, SliceState
from .limits import LIMITS, MAX, Limit, Value, Values, document, format_list, own_list, parse_list
from .spec import Spec


def _refuse(spec: Spec, option: str, reason: str) -> t.NoReturn:
    raise InvalidOption(f"{spec.name}: {option}: {reason}")


def _check_host(spec: Spec, host: Host) -> None:
    if host.version == "none":
        raise InvalidOption(f"{spec.name}: no control groups are mounted on this host: mount cgroup2 on /sys/fs/cgroup")
    if host.manager == "systemd" and host.version != "v2":
        raise InvalidOption(
            f"{spec.name}: systemd runs with cgroup {host.version} on this host, where its slices can't hold every limit:"
            " boot with systemd.unified_cgroup_hierarchy=1 on the kernel's command line"
        )


def _resolve_disks(spec: Spec, host: Host) -> Value:
    """`io_max` by the disks' own nodes, in their order."""
    found = []
    for disk in spec.disks():
        number = host.devices[disk.device]
        if number not in host.numbers:
            _refuse(spec, "io_max", f"{disk.device} is a part of a disk; the kernel limits whole disks: name the disk")
        found.append(replace(disk, device=host.numbers[number]))
    nodes = [disk.device for disk in found]
    for node in nodes:
        if nodes.count(node) > 1:
            _refuse(spec, "io_max", f"{node} is given more than once")
    return tuple(sorted((disk for disk in found if any(disk.rates().values())), key=lambda disk: disk.device))


def _check_numbers(spec: Spec, option: str, value: str, there: frozenset[int], noun: str) -> None:
    missing = parse_list(value) - there
    if missing:
        _refuse(spec, option, f"this host has no {noun} {format_list(missing)}; it has {format_list(there)}")


def _normal(spec: Spec, limit: Limit, value: Value, host: Host, state: SliceState) -> Value:
    """One value as the kernel will show it."""
    if limit.option == "io_max":
        return _resolve_disks(spec, host)
    if limit.option in ("cpuset_cpus", "cpuset_mems") and isinstance(value, str) and value != MAX:
        cpus = limit.option == "cpuset_cpus"
        _check_numbers(spec, limit.option, value, host.cpus if cpus else host.nodes, "CPU" if cpus else "memory node")
        return own_list(value, state.parent.get(limit.option.replace("_", ".")))
    if limit.size and isinstance(value, int):
        if limit.option != "memory_swap_max" and value > host.memory > 0:
            _refuse(
                spec,
                limit.option,
                f"{format_size(value)} is more than the {format_size(host.memory)} that this host has:"
                " choose less, or max for no limit",
            )
        if 0 < value < host.page:
            _refuse(
                spec,
                limit.option,
                f"{value} bytes are less than a page of memory ({host.page}): give a unit, such as 64M",
            )
        return value // host.page * host.page
    return value


def _check_support(spec: Spec, limit: Limit, values: Values, host: Host) -> None:
    value = values[limit.option]
    tree = host.tree(limit.controller)
    if tree is None:
        if value != limit.default:
            have = sorted({name for tree in host.hierarchies for name in tree.controllers})
            _refuse(
                spec,
                limit.option,
                f"the controller {limit.controller} is not mounted on this host (it has {', '.join(have)})",
            )
        return
    words = v1 if tree.version == 1 else v2
    reason = words.refusal(limit.option, value, values, host.lacking)
    if reason is None and host.manager == "systemd":
        reason = unit.refusal(limit.option, value, host.systemd)
    if reason is not None:
        _refuse(spec, limit.option, reason)


def wanted(spec: Spec, state: SliceState, host: Host) -> dict[str, Value]:
    """The value of every limit that this host can have: as asked for, else the kernel's default.

    :raises InvalidOption: the host can't have what is asked for; nothing has been changed.
    """
    _check_host(spec, host)
    values = {
        option: _normal(spec, limit, spec.limits[option], host, state) if option in spec.limits else limit.default
        for option, limit in LIMITS.items()
    }
    for limit in LIMITS.values():
        _check_support(spec, limit, values, host)
    low, high = values["memory_min"], values["memory_max"]
    if isinstance(low, int) and isinstance(high, int) and low > high:
        _refuse(
            spec,
            "memory_min",
            f"{format_size(low)} can't be kept free for a slice that may use {format_size(high)} (memory_max)",
        )
    return {option: value for option, value in values.items() if _served(option, host)}


def _served(option: str, host: Host) -> bool:
    """Whether the kernel shows this limit."""
    tree = host.tree(LIMITS[option].controller)
    if tree is None:
        return False
    files = (v1 if tree.version == 1 else v2).FILES.get(option)
    return files is not None and not host.lacking.intersection(files)


def wanted_raw(spec: Spec, state: SliceState, host: Host, noted: t.Mapping[str, str]) -> dict[str, str]:
    """The raw keys: as asked for; one that was set once and is no longer asked for, at the kernel's own value.

    :raises InvalidOption: the host has no such key.
    """
    for key in spec.unified:
        controller = key.split(".", 1)[0]
        if host.manager == "systemd":
            _refuse(
                spec,
                f"unified: {key}",
                f"systemd {host.systemd} has no property for it, and control groups that systemd manages have no other writer",
            )
        if host.raw_tree(key) is None:
            have = sorted({name for tree in host.hierarchies if tree.version == 2 for name in tree.controllers})
            _refuse(
                spec,
                f"unified: {key}",
                f"cgroup v2 has no controller {controller} on this host (it has {', '.join(have) or 'none'})",
            )
        if state.present and controller in state.controllers and key not in state.raw:
            _refuse(spec, f"unified: {key}", f"the controller {controller} of this kernel has no such file")
    return {**noted, **spec.unified}


def warnings(spec: Spec, values: Values, host: Host) -> tuple[str, ...]:
    """What can be had, but is hardly meant."""
    value = values.get("cpu_max", MAX)
    if value == MAX:
        return ()
    quota, period = (int(part) for part in str(value).split("/"))
    if quota <= period * len(host.cpus):
        return ()
    return (
        f"{spec.name}: cpu_max: {quota / period:g} CPUs are more than the {len(host.cpus)} of this host: it limits nothing",
    )


def asked(values: Values) -> dict[str, t.Any]:
    """For the record: what is asked for beyond the kernel's defaults."""
    return document({option: value for option, value in values.items() if value != LIMITS[option].default})
