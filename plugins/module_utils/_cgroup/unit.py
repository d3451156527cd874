# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Slice units: limits as systemd's properties (systemd.resource-control(5)), and back. Pure."""

from __future__ import annotations

import typing as t

from .. import _paths
from .limits import LIMITS, MAX, PERIOD, RATES, DiskLimit, Value, Values

PROPERTIES: t.Mapping[str, str] = {
    "cpu_weight": "CPUWeight",
    "cpuset_cpus": "AllowedCPUs",
    "cpuset_mems": "AllowedMemoryNodes",
    "memory_max": "MemoryMax",
    "memory_high": "MemoryHigh",
    "memory_low": "MemoryLow",
    "memory_min": "MemoryMin",
    "memory_swap_max": "MemorySwapMax",
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
}
"""The systemd that first had a property, where older ones are still about."""

PERIOD_SINCE = 242
"""The systemd that first had CPUQuotaPeriodSec=."""


def refusal(option: str, value: Value, version: int) -> str | None:
    """Why this systemd can't have a value; None if it can."""
    if value == LIMITS[option].default:
        return None
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
    if isinstance(value, tuple):
        rates = [
            (disk.device, rate, limit) for disk in value for rate, limit in disk.rates().items() if limit is not None
        ]
        return [f"{_RATES[rate]}={device} {limit}" for device, rate, limit in rates]
    if option == "cpu_max":
        quota, period = (int(part) for part in str(value).split("/"))
        whole, rest = divmod(quota * 10_000 // period, 100)
        lines = [f"CPUQuota={whole}.{rest:02d}%"]
        return lines if period == PERIOD else [*lines, f"CPUQuotaPeriodSec={period}us"]
    return [f"{PROPERTIES[option]}={'infinity' if value == MAX else value}"]


def render(name: str, limits: Values, freed: t.Iterable[str] = ()) -> str:
    """The unit file of a slice. A limit that has the kernel's default is not written.

    But for disks that had limits: of those that a unit no longer names, systemd leaves the old limits in force.
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
    return "\n".join(lines) + "\n"


def parse(text: str) -> dict[str, Value]:
    """The limits that a unit file of ours sets; what somebody else has added to it is left out."""
    limits: dict[str, Value] = {}
    disks: dict[str, dict[str, int]] = {}
    quota, period = None, PERIOD
    for line in text.splitlines():
        name, _sep, value = line.partition("=")
        if name in _OPTIONS:
            limits[_OPTIONS[name]] = MAX if value == "infinity" else int(value) if value.isdigit() else value
        elif name in _RATES.values() and value.count(" ") == 1:
            device, _sep, rate = value.partition(" ")
            key = next(rate for rate, known in _RATES.items() if known == name)
            if rate.isdigit():
                disks.setdefault(device, {})[key] = int(rate)
        elif name == "CPUQuota" and value.endswith("%"):
            quota = value[:-1]
        elif name == "CPUQuotaPeriodSec" and value.endswith("us") and value[:-2].isdigit():
            period = int(value[:-2])
    if quota is not None and quota.replace(".", "", 1).isdigit():
        limits["cpu_max"] = f"{round(float(quota) * 100) * period // 10_000}/{period}"
    if disks:
        limits["io_max"] = tuple(DiskLimit(device, **disks[device]) for device in sorted(disks))
    # A list of one CPU looks like a number, but is a list.
    for option in ("cpuset_cpus", "cpuset_mems"):
        if option in limits:
            limits[option] = str(limits[option])
    return limits
