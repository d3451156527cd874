# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a task may ask of a slice: options in, one canonical value out, or an error that names the option."""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass, field

from .._errors import InvalidOption
from .._names import check_path_name
from .._units import parse_cpu, parse_seconds, parse_size
from .limits import (
    LIMITS,
    MAX,
    PERIOD,
    RATES,
    DiskLatency,
    DiskLimit,
    PageLimit,
    Value,
    Values,
    disk_latencies,
    disk_limits,
    format_list,
    page_name,
    parse_list,
)

OPTIONS: dict[str, t.Any] = {
    "name": {"type": "str"},
    "cpu_weight": {"type": "int"},
    "cpu_max": {"type": "str"},
    "cpuset_cpus": {"type": "str"},
    "cpuset_mems": {"type": "str"},
    "memory_max": {"type": "str"},
    "memory_high": {"type": "str"},
    "memory_low": {"type": "str"},
    "memory_min": {"type": "str"},
    "memory_swap_max": {"type": "str"},
    "memory_zswap_max": {"type": "str"},
    "pids_max": {"type": "str"},
    "io_weight": {"type": "int"},
    "io_max": {
        "type": "list",
        "elements": "dict",
        "options": {
            "device": {"type": "path", "required": True},
            "rbps": {"type": "str"},
            "wbps": {"type": "str"},
            "riops": {"type": "str"},
            "wiops": {"type": "str"},
        },
    },
    "io_latency": {
        "type": "list",
        "elements": "dict",
        "options": {
            "device": {"type": "path", "required": True},
            "target": {"type": "str", "required": True},
        },
    },
    "hugetlb_max": {
        "type": "list",
        "elements": "dict",
        "options": {
            "page_size": {"type": "str", "required": True},
            "limit": {"type": "str", "required": True},
        },
    },
    "unified": {"type": "dict", "default": {}},
    "force": {"type": "bool", "default": False},
    "state": {"type": "str", "choices": ["present", "frozen", "absent"], "default": "present"},
}

WEIGHTS = (1, 10_000)
PIDS_LIMIT = 4_194_304
"""The kernel's own ceiling of pids (PID_MAX_LIMIT, proc(5) on pid_max)."""

_QUOTA = re.compile(r"(\d+)/(\d+)")
_KEY = re.compile(r"[a-z]+[a-z0-9_]*(\.[A-Za-z0-9_]+)+")
_NAMED = {
    "cpu.weight": "cpu_weight",
    "cpu.max": "cpu_max",
    "cpuset.cpus": "cpuset_cpus",
    "cpuset.mems": "cpuset_mems",
    "memory.max": "memory_max",
    "memory.high": "memory_high",
    "memory.low": "memory_low",
    "memory.min": "memory_min",
    "memory.swap.max": "memory_swap_max",
    "memory.zswap.max": "memory_zswap_max",
    "pids.max": "pids_max",
    "io.weight": "io_weight",
    "io.max": "io_max",
    "io.latency": "io_latency",
}
_HUGE_PAGES = re.compile(r"hugetlb\.[^.]+\.max")


@dataclass(frozen=True)
class Spec:
    """One slice, as it is asked for. `limits` holds the options that were given; the others have the kernel's default."""

    name: str
    state: str = "present"
    force: bool = False
    limits: Values = field(default_factory=dict)
    unified: t.Mapping[str, str] = field(default_factory=dict)

    def disks(self) -> tuple[tuple[str, str], ...]:
        """The paths of disks that were given, each with its option."""
        rates, latencies = disk_limits(self.limits.get("io_max")), disk_latencies(self.limits.get("io_latency"))
        return (*(("io_max", disk.device) for disk in rates), *(("io_latency", disk.device) for disk in latencies))


def _weight(value: int, option: str) -> int:
    low, high = WEIGHTS
    if not low <= value <= high:
        raise InvalidOption(
            f"{option}: {value} is not a weight: choose a number from {low} to {high}; the default is 100"
        )
    return value


def _cpu_max(value: str, option: str) -> str:
    """`QUOTA/PERIOD` in microseconds of `50%`, `1.5` or just that; bounds as in the kernel (sched-bwc.rst)."""
    text = value.strip()
    if text == MAX:
        return MAX
    match = _QUOTA.fullmatch(text)
    if match:
        quota, period = int(match.group(1)), int(match.group(2))
    else:
        # Hundredths of a percent: what systemd can say too (systemd.resource-control(5), CPUQuota=).
        quota, period = round(parse_cpu(text, option) * 10_000) * PERIOD // 10_000, PERIOD
    if not 1_000 <= period <= 1_000_000:
        raise InvalidOption(f"{option}: {value!r}: the period must be from 1000 to 1000000 microseconds")
    if quota < 1_000:
        raise InvalidOption(
            f"{option}: {value!r} is {quota} microseconds in {period}; the kernel wants at least 1000: raise it,"
            " or write QUOTA/PERIOD with a longer period, such as 5000/1000000"
        )
    return f"{quota}/{period}"


def _size(value: str, option: str) -> int | str:
    return MAX if value.strip() == MAX else parse_size(value, option)


def _numbers(value: str, option: str) -> str:
    if value.strip() == MAX:
        return MAX
    try:
        return format_list(parse_list(value))
    except ValueError:
        raise InvalidOption(f"{option}: {value!r} is not a list of numbers such as 0-2,4, nor max") from None


def _pids(value: str, option: str) -> int | str:
    text = value.strip()
    if text == MAX:
        return MAX
    if not text.isdigit() or not 1 <= int(text) <= PIDS_LIMIT:
        raise InvalidOption(f"{option}: {value!r} is not a number of processes from 1 to {PIDS_LIMIT}, nor max")
    return int(text)


def _rate(value: str | None, option: str) -> int | None:
    if value is None or value.strip() == MAX:
        return None
    rate = parse_size(value, option) if option.endswith("bps") else int(value) if value.isdigit() else 0
    if rate < 1:
        raise InvalidOption(f"{option}: {value!r} is not a rate per second above 0, nor max")
    return rate


def _io_max(value: t.Sequence[t.Mapping[str, t.Any]], option: str) -> tuple[DiskLimit, ...]:
    disks = []
    for element in value:
        device = element["device"]
        rates = {rate: _rate(element.get(rate), f"{option}: {device}: {rate}") for rate in RATES}
        if not any(element.get(rate) is not None for rate in RATES):
            raise InvalidOption(f"{option}: {device}: give at least one of {', '.join(RATES)}")
        disks.append(DiskLimit(device, **rates))
    return tuple(disks)


def _io_latency(value: t.Sequence[t.Mapping[str, t.Any]], option: str) -> tuple[DiskLatency, ...]:
    disks = []
    for element in value:
        device, target = element["device"], element["target"]
        microseconds = round(parse_seconds(target, f"{option}: {device}: target") * 1_000_000)
        if microseconds < 1:
            raise InvalidOption(
                f"{option}: {device}: target: {target!r} is less than a microsecond: write one such as 25ms"
            )
        disks.append(DiskLatency(device, microseconds))
    return tuple(disks)


def _hugetlb_max(value: t.Sequence[t.Mapping[str, t.Any]], option: str) -> tuple[PageLimit, ...]:
    found: dict[str, PageLimit] = {}
    unlimited: set[str] = set()
    for element in value:
        size = page_name(parse_size(element["page_size"], f"{option}: page_size"))
        if size in found or size in unlimited:
            raise InvalidOption(f"{option}: {size} is given more than once")
        limit = _size(element["limit"], f"{option}: {size}: limit")
        if isinstance(limit, int):
            found[size] = PageLimit(size, limit)
        else:
            unlimited.add(size)
    return tuple(found[size] for size in sorted(found))


def _unified(value: t.Mapping[str, t.Any]) -> dict[str, str]:
    found = {}
    for key, raw in value.items():
        if not _KEY.fullmatch(key):
            raise InvalidOption(f"unified: {key!r} is not an interface file of cgroup v2, such as memory.oom.group")
        if key in _NAMED:
            raise InvalidOption(f"unified: {key} has an option of its own: use {_NAMED[key]}")
        if _HUGE_PAGES.fullmatch(key):
            raise InvalidOption(f"unified: {key} has an option of its own: use hugetlb_max")
        if key.startswith("cgroup."):
            raise InvalidOption(
                f"unified: {key} belongs to the group's structure, not to its limits; use state for freezing"
            )
        if isinstance(raw, (dict, list, bool)) or raw is None or not str(raw).strip() or "\n" in str(raw):
            raise InvalidOption(f"unified: {key}: {raw!r} is not the text of one line: write it in quotes")
        found[key] = str(raw).strip()
    return found


_PARSERS: dict[str, t.Callable[[t.Any, str], Value]] = {
    "cpu_weight": _weight,
    "cpu_max": _cpu_max,
    "cpuset_cpus": _numbers,
    "cpuset_mems": _numbers,
    "pids_max": _pids,
    "io_weight": _weight,
    "io_max": _io_max,
    "io_latency": _io_latency,
    "hugetlb_max": _hugetlb_max,
}


def parse(options: t.Mapping[str, t.Any]) -> Spec:
    """The canonical form of one element's options. Pure.

    :raises InvalidOption: a value can't be meant; the message begins with the slice and the option.
    """
    name = check_path_name(options["name"])
    try:
        limits = {
            option: _PARSERS.get(option, _size)(options[option], option)
            for option in LIMITS
            if options.get(option) is not None
        }
        unified = _unified(options.get("unified") or {})
    except InvalidOption as error:
        raise InvalidOption(f"{name}: {error}") from None
    return Spec(name, options["state"], bool(options["force"]), limits, unified)
