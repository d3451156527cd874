# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Slice units: limits as systemd's properties (systemd.resource-control(5)), and back. Pure."""

from __future__ import annotations

import typing as t

from .. import _paths
from .limits import LIMITS, MAX, PERIOD, RATES, DiskLatency, DiskLimit, Value, Values, disk_latencies, disk_limits

PROPERTIES: t.Mapping[str, str] = {
    "cpu_weight": "CPUWeight",
    "cpuset_cpus": "AllowedCPUs",
    "cpuset_mems": "AllowedMemoryNodes",
    "memory_max": "MemoryMax",
    "memory_high": "MemoryHigh",
    "memory_low": "MemoryLow",
    "memory_min": "MemoryMin",
    "memory_swap_max": "MemorySwapMax",
    "memory_zswap_max": "MemoryZSwapMax",
    "pids_max": "TasksMax",
    "io_weight": "IOWeight",
}
"""Options that are one property each."""

_OPTIONS = {name: option for option, name in PROPERTIES.items()}
_RATES = dict(zip(RATES, ("IOReadBandwidthMax", "IOWriteBandwidthMax", "IOReadIOPSMax", "IOWriteIOPSMax")))

SINCE: t.Mapping[str, int] = {
    "cpuset_cpus": 244,
    "cpuset_mems": 244,
    "memory_min": 240,
    "memory_zswap_max": 253,
    "io_latency": 240,
}
"""The systemd that first had a property, where older ones are still about."""

PERIOD_SINCE = 242
"""The systemd that first had CPUQuotaPeriodSec=."""


_LATENCY = "IODeviceLatencyTargetSec"


def serves(option: str, version: int) -> bool:
    """Whether this systemd has a property for an option."""
    return option != "hugetlb_max" and version >= SINCE.get(option, 0)


def refusal(option: str, value: Value, version: int) -> str | None:
    """Why this systemd can't have a value; None if it can."""
    if value == LIMITS[option].default:
        return None
    if option == "hugetlb_max":
        return f"systemd {version} has no property for huge pages, and control groups that systemd manages have no other writer"
    needed = SINCE.get(option, 0)
    if option == "cpu_max":
        quota, period = (int(part) for part in str(value).split("/"))
        if quota * 10_000 % period:
            return f"systemd takes hundredths of a percent, and {quota}/{period} is between two of them"
        needed = PERIOD_SINCE if period != PERIOD else 0
    if version < needed:
        return f"systemd {version} has no such property; {needed} was the first that had it"
    return None


def _lines(option: str, value: Value) -> list[str]:
    if option == "io_max":
        return [
            f"{_RATES[rate]}={disk.device} {limit}"
            for disk in disk_limits(value)
            for rate, limit in disk.rates().items()
            if limit is not None
        ]
    if option == "io_latency":
        return [f"{_LATENCY}={disk.device} {disk.target}us" for disk in disk_latencies(value)]
    if option == "cpu_max":
        quota, period = (int(part) for part in str(value).split("/"))
        whole, rest = divmod(quota * 10_000 // period, 100)
        lines = [f"CPUQuota={whole}.{rest:02d}%"]
        return lines if period == PERIOD else [*lines, f"CPUQuotaPeriodSec={period}us"]
    return [f"{PROPERTIES[option]}={'infinity' if value == MAX else value}"]


def render(name: str, limits: Values, freed: t.Iterable[str] = (), calmed: t.Iterable[str] = ()) -> str:
    """The unit file of a slice. A limit that has the kernel's default is not written.

    But for disks that had limits (`freed`) or latencies (`calmed`): of those that a unit no longer names, systemd leaves the
    old values in force.
    """
    lines = [
        f"# {_paths.MARKER}: change it by the module cgroup_slice",
        "[Unit]",
        f"Description=Isolation slice {name}",
        "",
        "[Slice]",
        "MemoryAccounting=yes",
        "TasksAccounting=yes",
        "IOAccounting=yes",
    ]
    for option, limit in LIMITS.items():
        value = limits.get(option, limit.default)
        if value != limit.default:
            lines += _lines(option, value)
    lines += [f"{name}={device} infinity" for device in freed for name in _RATES.values()]
    lines += [f"{_LATENCY}={device} infinity" for device in calmed]
    return "\n".join(lines) + "\n"


def _parse_disks(pairs: t.Sequence[tuple[str, str]]) -> dict[str, Value]:
    rates: dict[str, dict[str, int]] = {}
    latencies: dict[str, int] = {}
    names = {name: rate for rate, name in _RATES.items()}
    for name, value in pairs:
        device, _sep, number = value.partition(" ")
        if name in names and number.isdigit():
            rates.setdefault(device, {})[names[name]] = int(number)
        elif name == _LATENCY and number.endswith("us") and number[:-2].isdigit():
            latencies[device] = int(number[:-2])
    found: dict[str, Value] = {}
    if rates:
        found["io_max"] = tuple(DiskLimit(device, **rates[device]) for device in sorted(rates))
    if latencies:
        found["io_latency"] = tuple(DiskLatency(device, latencies[device]) for device in sorted(latencies))
    return found


def parse(text: str) -> dict[str, Value]:
    """The limits that a unit file of ours sets; what somebody else has added to it is left out."""
    limits: dict[str, Value] = {}
    quota, period = None, PERIOD
    pairs = [(name, value) for name, _sep, value in (line.partition("=") for line in text.splitlines())]
    for name, value in pairs:
        if name in _OPTIONS:
            limits[_OPTIONS[name]] = MAX if value == "infinity" else int(value) if value.isdigit() else value
        elif name == "CPUQuota" and value.endswith("%"):
            quota = value[:-1]
        elif name == "CPUQuotaPeriodSec" and value.endswith("us") and value[:-2].isdigit():
            period = int(value[:-2])
    if quota is not None and quota.replace(".", "", 1).isdigit():
        limits["cpu_max"] = f"{round(float(quota) * 100) * period // 10_000}/{period}"
    limits.update(_parse_disks(pairs))
    # A list of one CPU looks like a number, but is a list.
    for option in ("cpuset_cpus", "cpuset_mems"):
        if option in limits:
            limits[option] = str(limits[option])
    return limits
