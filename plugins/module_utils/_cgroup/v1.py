# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Limits in the files of cgroup v1, as far as it has an exact counterpart (the kernel's cgroup-v1/ documents). Pure."""

from __future__ import annotations

import typing as t

from .limits import (
    LIMITS,
    MAX,
    RATES,
    DiskLimit,
    PageLimit,
    Value,
    Values,
    changed_sizes,
    disk_limits,
    own_list,
    page_limits,
)

Texts = t.Mapping[str, str]
Writes = list[tuple[str, str]]

_THROTTLE: t.Mapping[str, str] = {
    "rbps": "blkio.throttle.read_bps_device",
    "wbps": "blkio.throttle.write_bps_device",
    "riops": "blkio.throttle.read_iops_device",
    "wiops": "blkio.throttle.write_iops_device",
}
_MEMORY, _WITH_SWAP = "memory.limit_in_bytes", "memory.memsw.limit_in_bytes"

FILES: t.Mapping[str, tuple[str, ...]] = {
    "cpu_weight": ("cpu.shares",),
    "cpu_max": ("cpu.cfs_quota_us", "cpu.cfs_period_us"),
    "cpuset_cpus": ("cpuset.cpus",),
    "cpuset_mems": ("cpuset.mems",),
    "memory_max": (_MEMORY,),
    "memory_swap_max": (_MEMORY, _WITH_SWAP),
    "pids_max": ("pids.max",),
    "io_weight": ("blkio.bfq.weight",),
    "io_max": tuple(_THROTTLE.values()),
    "hugetlb_max": (),
}
"""The files of each option that v1 can serve; those of huge pages depend on their sizes (`page_file`)."""

_NO_COUNTERPART = {
    "memory_high": "cgroup v1 can't slow a group down before its limit",
    "memory_low": "cgroup v1 has no protection of memory; its soft limit only orders reclaim",
    "memory_min": "cgroup v1 has no protection of memory",
    "memory_zswap_max": "cgroup v1 does not count compressed swap",
    "io_latency": "cgroup v1 knows no latency of disks",
}
_UNLIMITED = 1 << 62
"""More than this is what v1 shows for no limit: the largest number of whole pages that fits 63 bits."""


def controller(name: str) -> str:
    """The controller's name in this version."""
    return "blkio" if name == "io" else name


def page_file(size: str) -> str:
    """The file that limits huge pages of a size (cgroup-v1/hugetlb.rst)."""
    return f"hugetlb.{size}.limit_in_bytes"


def refusal(option: str, value: Value, limits: Values, lacking: t.Collection[str]) -> str | None:
    """Why v1 can't have a value; None if it can. `lacking` are interface files that the kernel lacks."""
    if value == LIMITS[option].default:
        return None
    if option in _NO_COUNTERPART:
        return _NO_COUNTERPART[option]
    missing = [name for name in FILES[option] if name in lacking]
    if missing:
        return f"this kernel has no {missing[0]}"
    if option == "io_weight" and isinstance(value, int) and value > 1000:
        return "the weights of cgroup v1 end at 1000"
    if option == "memory_swap_max" and limits.get("memory_max", MAX) == MAX:
        return "cgroup v1 limits memory and swap together, so that memory_max must be set as well"
    return None


def _bytes(text: str) -> int | str:
    return MAX if int(text) >= _UNLIMITED else int(text)


def _decode_swap(files: Texts) -> Value:
    memory, both = _bytes(files[_MEMORY]), _bytes(files[_WITH_SWAP])
    return both - memory if isinstance(memory, int) and isinstance(both, int) else MAX


def _decode_disks(files: Texts, disks: Texts) -> tuple[DiskLimit, ...]:
    found: dict[str, dict[str, int]] = {}
    for rate, name in _THROTTLE.items():
        for line in files[name].splitlines():
            number, value = line.split()
            found.setdefault(disks.get(number, number), {})[rate] = int(value)
    return tuple(DiskLimit(device, **found[device]) for device in sorted(found))


def _decode_pages(files: Texts) -> tuple[PageLimit, ...]:
    sizes = {name.split(".")[1]: text for name, text in files.items() if name.startswith("hugetlb.")}
    limits = {size: _bytes(text) for size, text in sizes.items()}
    return tuple(PageLimit(size, limit) for size, limit in sorted(limits.items()) if isinstance(limit, int))


def decode(option: str, files: Texts, parent: Texts, disks: Texts) -> Value | None:
    """The value that the kernel has; None where it has no such file.

    A v1 cpuset always names its CPUs: all of the parent's are no restriction of its own.
    """
    names = FILES.get(option)
    if names is None or any(name not in files for name in names):
        return None
    if option == "hugetlb_max":
        return _decode_pages(files) if any(name.startswith("hugetlb.") for name in files) else None
    text = files[names[0]]
    if option == "cpu_weight":
        return max(1, round(int(text) * 100 / 1024))
    if option == "cpu_max":
        return MAX if int(text) < 0 else f"{text}/{files[names[1]]}"
    if option in ("cpuset_cpus", "cpuset_mems"):
        return own_list(text, parent.get(names[0]))
    if option == "memory_swap_max":
        return _decode_swap(files)
    if option == "io_max":
        return _decode_disks(files, disks)
    return MAX if text == MAX else _bytes(text)


def _encode_disks(value: t.Sequence[DiskLimit], before: t.Sequence[DiskLimit], disks: Texts) -> Writes:
    wanted = {disk.device: disk for disk in value}
    old = {disk.device: disk for disk in before}
    writes = []
    for device in [*wanted, *(device for device in old if device not in wanted)]:
        new_rates = wanted.get(device, DiskLimit(device)).rates()
        old_rates = old.get(device, DiskLimit(device)).rates()
        changed = [rate for rate in RATES if new_rates[rate] != old_rates[rate]]
        writes += [(_THROTTLE[rate], f"{disks.get(device, device)} {new_rates[rate] or 0}") for rate in changed]
    return writes


def encode(option: str, value: Value, before: Value | None, parent: Texts, disks: Texts) -> Writes:
    """What to write to which file, in order, to get from `before` to `value`; memory has a function of its own."""
    if option == "io_max":
        return _encode_disks(disk_limits(value), disk_limits(before), disks)
    if option == "hugetlb_max":
        new = {pages.page_size: str(pages.limit) for pages in page_limits(value)}
        return [(page_file(size), new.get(size, "-1")) for size in changed_sizes(value, before)]
    names = FILES[option]
    if option == "cpu_weight" and isinstance(value, int):
        return [(names[0], str(max(2, round(value * 1024 / 100))))]
    if option == "cpu_max":
        if value == MAX:
            return [(names[0], "-1")]
        quota, _sep, period = str(value).partition("/")
        if str(before).endswith(f"/{period}"):
            return [(names[0], quota)]
        # Without a quota any period is allowed; with the old one it could give more than the parent has.
        return [(names[0], "-1"), (names[1], period), (names[0], quota)]
    if option in ("cpuset_cpus", "cpuset_mems") and value == MAX:
        return [(names[0], parent.get(names[0], ""))]
    return [(names[0], str(value))]


def encode_memory(maximum: Value, swap: Value, before: Values, lacking: t.Collection[str]) -> Writes:
    """Memory, and memory with swap: the second may never be below the first, so that the order depends on the direction."""
    memory = "-1" if maximum == MAX else str(maximum)
    both = str(maximum + swap) if isinstance(maximum, int) and isinstance(swap, int) else "-1"
    writes = [(_MEMORY, memory)]
    if _WITH_SWAP in lacking:
        return writes
    old = before.get("memory_max", MAX)
    raising = maximum == MAX or (isinstance(maximum, int) and isinstance(old, int) and maximum > old)
    if raising:
        return [(_WITH_SWAP, both), *writes]
    return [*writes, (_WITH_SWAP, both)]
