# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The limits that a slice can have, and their values in one canonical form, whatever the version of control groups."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from .._units import format_size

MAX = "max"
"""No limit, as cgroup v2 writes it."""

RATES = ("rbps", "wbps", "riops", "wiops")
"""What `io_max` limits per disk: bytes and operations per second, read and written."""

_PAGE_UNITS = (("GB", 1 << 30), ("MB", 1 << 20), ("KB", 1 << 10))

PERIOD = 100_000
"""Microseconds of a period of `cpu_max` unless one is given (cgroup-v2.rst, cpu.max)."""


@dataclass(frozen=True)
class DiskLimit:
    """The rates of one disk; None is no limit. `device` is the disk's node, such as /dev/vda."""

    device: str
    rbps: int | None = None
    wbps: int | None = None
    riops: int | None = None
    wiops: int | None = None

    def document(self) -> dict[str, t.Any]:
        """For results and records."""
        return {
            "device": self.device,
            **{rate: MAX if value is None else value for rate, value in self.rates().items()},
        }

    def show(self) -> str:
        """For diffs."""
        parts = [self.device]
        for rate, value in self.rates().items():
            if value is not None:
                parts.append(f"{rate}={format_size(value) if rate.endswith('bps') else value}")
        return " ".join(parts)

    def rates(self) -> dict[str, int | None]:
        """The rates by name."""
        return {rate: getattr(self, rate) for rate in RATES}


@dataclass(frozen=True)
class DiskLatency:
    """The latency that one disk shall keep, in microseconds; groups with longer ones wait while it does not."""

    device: str
    target: int

    def document(self) -> dict[str, t.Any]:
        """For results and records."""
        return {"device": self.device, "target": self.target}

    def show(self) -> str:
        """For diffs."""
        return f"{self.device} {self.target}us"


@dataclass(frozen=True)
class PageLimit:
    """The bytes of huge pages of one size; the size is written as the kernel and OCI do: `2MB`."""

    page_size: str
    limit: int

    def document(self) -> dict[str, t.Any]:
        """For results and records."""
        return {"page_size": self.page_size, "limit": self.limit}

    def show(self) -> str:
        """For diffs."""
        return f"{self.page_size} {format_size(self.limit)}"


Value = t.Union[int, str, tuple[t.Union[DiskLimit, DiskLatency, PageLimit], ...]]
"""Bytes, a weight or a count; `max`, `QUOTA/PERIOD` in microseconds, a list of CPUs, a raw value; limits per disk or page size."""

Values = t.Mapping[str, Value]


def disk_limits(value: Value | None) -> tuple[DiskLimit, ...]:
    """The disks of a value of `io_max`."""
    return tuple(item for item in value if isinstance(item, DiskLimit)) if isinstance(value, tuple) else ()


def disk_latencies(value: Value | None) -> tuple[DiskLatency, ...]:
    """The disks of a value of `io_latency`."""
    return tuple(item for item in value if isinstance(item, DiskLatency)) if isinstance(value, tuple) else ()


def page_limits(value: Value | None) -> tuple[PageLimit, ...]:
    """The page sizes of a value of `hugetlb_max`."""
    return tuple(item for item in value if isinstance(item, PageLimit)) if isinstance(value, tuple) else ()


@dataclass(frozen=True)
class Limit:
    """One limit: its option, its controller by the name in v2, and the kernel's default.

    `size` tells that the value is a number of bytes of memory, which the kernel rounds down to whole pages.
    """

    option: str
    controller: str
    default: Value
    size: bool = False


LIMITS: t.Mapping[str, Limit] = {
    limit.option: limit
    for limit in (
        Limit("cpu_weight", "cpu", 100),
        Limit("cpu_max", "cpu", MAX),
        Limit("cpuset_cpus", "cpuset", MAX),
        Limit("cpuset_mems", "cpuset", MAX),
        Limit("memory_max", "memory", MAX, size=True),
        Limit("memory_high", "memory", MAX, size=True),
        Limit("memory_low", "memory", 0, size=True),
        Limit("memory_min", "memory", 0, size=True),
        Limit("memory_swap_max", "memory", MAX, size=True),
        Limit("memory_zswap_max", "memory", MAX, size=True),
        Limit("pids_max", "pids", MAX),
        Limit("io_weight", "io", 100),
        Limit("io_max", "io", ()),
        Limit("io_latency", "io", ()),
        Limit("hugetlb_max", "hugetlb", ()),
    )
}
"""All named limits, in the order in which they are shown and written."""


def changed_sizes(value: Value, before: Value | None) -> list[str]:
    """The page sizes at which two values of `hugetlb_max` differ."""
    return sorted({pages.page_size for pages in set(page_limits(value)) ^ set(page_limits(before))})


def page_name(size: int) -> str:
    """A size of huge pages as the kernel names its files (mm/hugetlb_cgroup.c, mem_fmt)."""
    unit, scale = next(((unit, scale) for unit, scale in _PAGE_UNITS if size >= scale), ("KB", 1 << 10))
    return f"{size // scale}{unit}"


def format_list(numbers: t.Iterable[int]) -> str:
    """A list of CPUs or memory nodes in the kernel's shortest form: `0-2,4`."""
    parts: list[str] = []
    ordered = sorted(set(numbers))
    start = 0
    for index, number in enumerate(ordered):
        if index + 1 == len(ordered) or ordered[index + 1] != number + 1:
            first = ordered[start]
            parts.append(str(number) if first == number else f"{first}-{number}")
            start = index + 1
    return ",".join(parts)


def parse_list(text: str) -> frozenset[int]:
    """The numbers of a list such as `0-2,4` (cpuset(7), List format).

    :raises ValueError: it is no such list.
    """
    numbers: set[int] = set()
    for part in text.strip().split(","):
        first, dash, last = part.partition("-")
        if not first.isdigit() or (dash and not last.isdigit()):
            raise ValueError(text)
        low, high = int(first), int(last or first)
        if high < low or high > 65_535:
            raise ValueError(text)
        numbers.update(range(low, high + 1))
    return frozenset(numbers)


def own_list(text: str, parents: str | None) -> str:
    """A cpuset's list in the canonical form; `max` for none, and for all that the parent has, which is no restriction."""
    if not text:
        return MAX
    own = parse_list(text)
    return MAX if parents and own >= parse_list(parents) else format_list(own)


def show(option: str, value: Value | None) -> t.Any:
    """A value as a diff shows it: sizes with their unit, each disk or page size in one line."""
    limit = LIMITS.get(option)
    if limit is not None and limit.size and isinstance(value, int):
        return format_size(value)
    if isinstance(value, tuple):
        return [item.show() for item in value] or "none"
    return value


def document(values: Values) -> dict[str, t.Any]:
    """Values for results and records: numbers as numbers, disks and page sizes as dictionaries."""
    return {
        option: [item.document() for item in value] if isinstance(value, tuple) else value
        for option, value in values.items()
    }
