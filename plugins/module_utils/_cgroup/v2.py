# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Limits in the files of cgroup v2 (cgroup-v2.rst, Controllers). Pure."""

from __future__ import annotations

import typing as t

from .limits import LIMITS, MAX, RATES, DiskLimit, Value, Values, own_list

FILES: t.Mapping[str, tuple[str, ...]] = {
    "cpu_weight": ("cpu.weight",),
    "cpu_max": ("cpu.max",),
    "cpuset_cpus": ("cpuset.cpus",),
    "cpuset_mems": ("cpuset.mems",),
    "memory_max": ("memory.max",),
    "memory_high": ("memory.high",),
    "memory_low": ("memory.low",),
    "memory_min": ("memory.min",),
    "memory_swap_max": ("memory.swap.max",),
    "pids_max": ("pids.max",),
    "io_weight": ("io.weight",),
    "io_max": ("io.max",),
}
"""The files of each option."""

USAGE = ("memory.current", "memory.peak", "memory.events", "pids.current", "cpu.stat")

Texts = t.Mapping[str, str]
Writes = list[tuple[str, str]]


def controller(name: str) -> str:
    """The controller's name in this version."""
    return name


def refusal(option: str, value: Value, limits: Values, lacking: t.Collection[str]) -> str | None:
    """Why this version can't have a value; None if it can. `lacking` are interface files that the kernel lacks."""
    missing = [name for name in FILES[option] if name in lacking]
    return f"this kernel has no {missing[0]}" if missing and value != LIMITS[option].default else None


def parse_io_max(text: str, disks: Texts) -> tuple[DiskLimit, ...]:
    """The limits of io.max; `disks` maps device numbers to nodes. A disk that is gone keeps its number."""
    found = []
    for line in text.splitlines():
        number, *pairs = line.split()
        rates = dict(pair.split("=", 1) for pair in pairs)
        values = {rate: None if rates.get(rate, MAX) == MAX else int(rates[rate]) for rate in RATES}
        if any(value is not None for value in values.values()):
            found.append(DiskLimit(disks.get(number, number), **values))
    return tuple(sorted(found, key=lambda disk: disk.device))


def decode(option: str, files: Texts, parent: Texts, disks: Texts) -> Value | None:
    """The value that the kernel has; None where it has no such file."""
    text = files.get(FILES[option][0])
    if text is None:
        return None
    if option == "cpu_max":
        quota, period = text.split()
        return MAX if quota == MAX else f"{quota}/{period}"
    if option == "io_max":
        return parse_io_max(text, disks)
    if option in ("cpuset_cpus", "cpuset_mems"):
        return own_list(text, parent.get(FILES[option][0]))
    if option == "io_weight":
        return int(text.split()[1])
    return MAX if text == MAX else int(text)


def encode(option: str, value: Value, before: Value | None, parent: Texts, disks: Texts) -> Writes:
    """What to write to which file, in order, to get from `before` to `value`; `disks` maps nodes to device numbers.

    With `parent` a cpuset is opened by its parent's list: while processes are inside, many kernels allow no empty one (ENOSPC).
    """
    file = FILES[option][0]
    if isinstance(value, tuple):
        wanted = {disk.device: disk for disk in value}
        old = [disk.device for disk in before] if isinstance(before, tuple) else []
        lines = [*value, *(DiskLimit(device) for device in old if device not in wanted)]
        return [(file, _io_line(disk, disks)) for disk in lines]
    if option == "cpu_max":
        return [(file, MAX if value == MAX else str(value).replace("/", " "))]
    if option in ("cpuset_cpus", "cpuset_mems") and value == MAX:
        return [(file, parent.get(file) or "\n")]
    return [(file, f"default {value}" if option == "io_weight" else str(value))]


def _io_line(disk: DiskLimit, disks: Texts) -> str:
    rates = " ".join(f"{rate}={MAX if value is None else value}" for rate, value in disk.rates().items())
    return f"{disks.get(disk.device, disk.device)} {rates}"


def _fields(text: str) -> dict[str, int]:
    """A flat keyed file (cgroup-v2.rst, Format)."""
    pairs = (line.split() for line in text.splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdigit()}


def usage(files: Texts) -> dict[str, int]:
    """What the slice uses, as far as this kernel tells."""
    found: dict[str, int] = {}
    for key, name in (
        ("memory_current", "memory.current"),
        ("memory_peak", "memory.peak"),
        ("pids_current", "pids.current"),
    ):
        if files.get(name, "").isdigit():
            found[key] = int(files[name])
    stat = _fields(files.get("cpu.stat", ""))
    events = _fields(files.get("memory.events", ""))
    counters = {
        "cpu_usage_usec": stat.get("usage_usec"),
        "cpu_throttled_usec": stat.get("throttled_usec"),
        "oom_kills": events.get("oom_kill"),
    }
    found.update({key: value for key, value in counters.items() if value is not None})
    return found
