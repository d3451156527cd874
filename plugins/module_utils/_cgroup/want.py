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
from .limits import (
    LIMITS,
    MAX,
    Limit,
    PageLimit,
    Value,
    Values,
    disk_latencies,
    disk_limits,
    document,
    format_list,
    own_list,
    page_limits,
    parse_list,
)
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


def _nodes(spec: Spec, option: str, paths: t.Sequence[str], host: Host) -> dict[str, str]:
    """The disks' own nodes by the paths that were given."""
    found = {}
    for path in paths:
        number = host.devices[path]
        if number not in host.numbers:
            _refuse(spec, option, f"{path} is a part of a disk; the kernel limits whole disks: name the disk")
        found[path] = host.numbers[number]
    nodes = [found[path] for path in paths]
    for node in nodes:
        if nodes.count(node) > 1:
            _refuse(spec, option, f"{node} is given more than once")
    return found


def _resolve_limits(spec: Spec, host: Host) -> Value:
    """`io_max` by the disks' own nodes, in their order."""
    given = disk_limits(spec.limits["io_max"])
    nodes = _nodes(spec, "io_max", [disk.device for disk in given], host)
    found = [replace(disk, device=nodes[disk.device]) for disk in given if any(disk.rates().values())]
    return tuple(sorted(found, key=lambda disk: disk.device))


def _resolve_latencies(spec: Spec, host: Host) -> Value:
    """`io_latency` by the disks' own nodes, in their order."""
    given = disk_latencies(spec.limits["io_latency"])
    nodes = _nodes(spec, "io_latency", [disk.device for disk in given], host)
    return tuple(sorted((replace(disk, device=nodes[disk.device]) for disk in given), key=lambda disk: disk.device))


def _resolve_pages(spec: Spec, host: Host) -> Value:
    """`hugetlb_max` in whole pages, to which the kernel rounds down."""
    found = []
    for pages in page_limits(spec.limits["hugetlb_max"]):
        size = host.huge_pages.get(pages.page_size)
        if size is None:
            have = ", ".join(sorted(host.huge_pages)) or "none"
            _refuse(spec, "hugetlb_max", f"this host has no huge pages of {pages.page_size} (it has {have})")
        if 0 < pages.limit < size:
            _refuse(spec, "hugetlb_max", f"{format_size(pages.limit)} are less than a page of {pages.page_size}")
        _check_memory(spec, "hugetlb_max", pages.limit, host)
        found.append(PageLimit(pages.page_size, pages.limit // size * size))
    return tuple(found)


def _check_memory(spec: Spec, option: str, value: int, host: Host) -> None:
    if value > host.memory > 0:
        _refuse(
            spec,
            option,
            f"{format_size(value)} is more than the {format_size(host.memory)} that this host has:"
            " choose less, or max for no limit",
        )


_RESOLVERS: t.Mapping[str, t.Callable[[Spec, Host], Value]] = {
    "io_max": _resolve_limits,
    "io_latency": _resolve_latencies,
    "hugetlb_max": _resolve_pages,
}


def _check_numbers(spec: Spec, option: str, value: str, there: frozenset[int], noun: str) -> None:
    missing = parse_list(value) - there
    if missing:
        _refuse(spec, option, f"this host has no {noun} {format_list(missing)}; it has {format_list(there)}")


def _normal(spec: Spec, limit: Limit, value: Value, host: Host, state: SliceState) -> Value:
    """One value as the kernel will show it."""
    if limit.option in _RESOLVERS:
        return _RESOLVERS[limit.option](spec, host)
    if limit.option in ("cpuset_cpus", "cpuset_mems") and isinstance(value, str) and value != MAX:
        cpus = limit.option == "cpuset_cpus"
        _check_numbers(spec, limit.option, value, host.cpus if cpus else host.nodes, "CPU" if cpus else "memory node")
        return own_list(value, state.parent.get(limit.option.replace("_", ".")))
    if limit.size and isinstance(value, int):
        if limit.option != "memory_swap_max":
            _check_memory(spec, limit.option, value, host)
        if 0 < value < host.page:
            _refuse(
                spec,
                limit.option,
                f"{value} bytes are less than a page of memory ({host.page}): give a unit, such as 64M",
            )
        return value // host.page * host.page
    return value


def _unentered(controller: str) -> str:
    return (
        f"the controller {controller} is in the hierarchy of version 2 on this host, and services are in those of version 1 alone:"
        f" mount it beside them (mount -t cgroup -o {controller} cgroup /sys/fs/cgroup/{controller}), or boot without version 1"
    )


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
    if host.unentered(tree):
        if value != limit.default:
            _refuse(spec, limit.option, _unentered(limit.controller))
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
    return {option: value for option, value in values.items() if host.serves(option)}


def _check_raw(spec: Spec, key: str, text: str, host: Host) -> None:
    """What a raw key's text can be told to mean, and this host has not."""
    option = f"unified: {key}"
    controller, *rest = key.split(".")
    number = text.split(maxsplit=1)[0]
    if controller == "io" and ":" in number and number not in host.numbers:
        have = ", ".join(f"{known} ({node})" for known, node in sorted(host.numbers.items()))
        _refuse(spec, option, f"this host has no disk {number} (it has {have or 'none'})")
    if controller == "hugetlb" and rest[0] not in host.huge_pages:
        have = ", ".join(sorted(host.huge_pages)) or "none"
        _refuse(spec, option, f"this host has no huge pages of {rest[0]} (it has {have})")
    if controller in ("memory", "hugetlb") and "swap" not in key and text.isdigit():
        _check_memory(spec, option, int(text), host)
    if controller == "cpuset" and rest[0] in ("cpus", "mems") and text[0].isdigit():
        cpus = rest[0] == "cpus"
        try:
            _check_numbers(spec, option, text, host.cpus if cpus else host.nodes, "CPU" if cpus else "memory node")
        except ValueError:
            _refuse(spec, option, f"{text!r} is not a list of numbers such as 0-2,4")


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
        tree = host.raw_tree(key)
        if tree is None:
            have = sorted({name for tree in host.hierarchies if tree.version == 2 for name in tree.controllers})
            _refuse(
                spec,
                f"unified: {key}",
                f"cgroup v2 has no controller {controller} on this host (it has {', '.join(have) or 'none'})",
            )
        if host.unentered(tree):
            _refuse(spec, f"unified: {key}", _unentered(controller))
        unseen = state.present and controller in state.controllers and key not in state.raw
        if unseen or key not in host.settings.get(controller, (key,)):
            _refuse(
                spec,
                f"unified: {key}",
                f"the controller {controller} of this kernel has no such file that can be read and written",
            )
        _check_raw(spec, key, spec.unified[key], host)
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
