# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Limits in the files of cgroup v2 (cgroup-v2.rst, Controllers). Pure."""

from __future__ import annotations

import typing as t

from .limits import (
    LIMITS,
    MAX,
    RATES,
    DiskLatency,
    DiskLimit,
    PageLimit,
    Value,
    Values,
    changed_sizes,
    disk_latencies,
    disk_limits,
    own_list,
    page_limits,
)

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
    "memory_zswap_max": ("memory.zswap.max",),
    "pids_max": ("pids.max",),
    "io_weight": ("io.weight",),
    "io_max": ("io.max",),
    "io_latency": ("io.latency",),
    "hugetlb_max": (),
}
"""The files of each option; those of huge pages depend on their sizes (`page_file`)."""

Texts = t.Mapping[str, str]
Writes = list[tuple[str, str]]


def controller(name: str) -> str:
    """The controller's name in this version."""
    return name


def page_file(size: str) -> str:
    """The file that limits huge pages of a size (cgroup-v2.rst, HugeTLB Interface Files)."""
    return f"hugetlb.{size}.max"


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


def _parse_latency(text: str, disks: Texts) -> tuple[DiskLatency, ...]:
    found = []
    for line in text.splitlines():
        number, _blank, target = line.partition(" target=")
        if target.isdigit():
            found.append(DiskLatency(disks.get(number, number), int(target)))
    return tuple(sorted(found, key=lambda disk: disk.device))


def _decode_pages(files: Texts) -> tuple[PageLimit, ...]:
    sizes = {name.split(".")[1]: text for name, text in files.items() if name.startswith("hugetlb.")}
    return tuple(PageLimit(size, int(text)) for size, text in sorted(sizes.items()) if text != MAX)


def decode(option: str, files: Texts, parent: Texts, disks: Texts) -> Value | None:
    """The value that the kernel has; None where it has no such file."""
    if option == "hugetlb_max":
        return _decode_pages(files) if any(name.startswith("hugetlb.") for name in files) else None
    text = files.get(FILES[option][0])
    if text is None:
        return None
    if option == "cpu_max":
        quota, period = text.split()
        return MAX if quota == MAX else f"{quota}/{period}"
    if option == "io_max":
        return parse_io_max(text, disks)
    if option == "io_latency":
        return _parse_latency(text, disks)
    if option in ("cpuset_cpus", "cpuset_mems"):
        return own_list(text, parent.get(FILES[option][0]))
    if option == "io_weight":
        return int(text.split()[1])
    return MAX if text == MAX else int(text)


def encode(option: str, value: Value, before: Value | None, parent: Texts, disks: Texts) -> Writes:
    """What to write to which file, in order, to get from `before` to `value`; `disks` maps nodes to device numbers.

    With `parent` a cpuset is opened by its parent's list: while processes are inside, many kernels allow no empty one (ENOSPC).
    """
    if option == "hugetlb_max":
        sizes = {pages.page_size: str(pages.limit) for pages in page_limits(value)}
        return [(page_file(size), sizes.get(size, MAX)) for size in changed_sizes(value, before)]
    file = FILES[option][0]
    if option == "io_max":
        wanted = disk_limits(value)
        kept = {disk.device for disk in wanted}
        gone = [DiskLimit(disk.device) for disk in disk_limits(before) if disk.device not in kept]
        return [(file, _io_line(disk, disks)) for disk in [*wanted, *gone]]
    if option == "io_latency":
        targets = {disk.device: MAX for disk in disk_latencies(before)}
        targets.update({disk.device: str(disk.target) for disk in disk_latencies(value)})
        return [(file, f"{disks.get(device, device)} target={target}") for device, target in targets.items()]
    if option == "cpu_max":
        return [(file, MAX if value == MAX else str(value).replace("/", " "))]
    if option in ("cpuset_cpus", "cpuset_mems") and value == MAX:
        return [(file, parent.get(file) or "\n")]
    return [(file, f"default {value}" if option == "io_weight" else str(value))]


def _io_line(disk: DiskLimit, disks: Texts) -> str:
    rates = " ".join(f"{rate}={MAX if value is None else value}" for rate, value in disk.rates().items())
    return f"{disks.get(disk.device, disk.device)} {rates}"
