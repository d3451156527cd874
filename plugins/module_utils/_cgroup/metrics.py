# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a slice uses, has used at most, waits for and has lost: v1's and v2's files in one set of words. Pure."""

from __future__ import annotations

import typing as t

Texts = t.Mapping[str, str]

V1 = (
    "memory.usage_in_bytes",
    "memory.memsw.usage_in_bytes",
    "memory.max_usage_in_bytes",
    "memory.oom_control",
    "pids.current",
    "pids.peak",
    "cpuacct.usage",
    "cpu.stat",
    "blkio.throttle.io_service_bytes_recursive",
    "blkio.throttle.io_serviced_recursive",
)
V2 = (
    "memory.current",
    "memory.swap.current",
    "memory.peak",
    "memory.swap.peak",
    "memory.events",
    "memory.pressure",
    "pids.current",
    "pids.peak",
    "cpu.stat",
    "cpu.pressure",
    "io.stat",
    "io.pressure",
)

_PRESSURES = ("cpu", "memory", "io")
_IO_V1 = (
    ("blkio.throttle.io_service_bytes_recursive", {"Read": "rbytes", "Write": "wbytes"}),
    ("blkio.throttle.io_serviced_recursive", {"Read": "rios", "Write": "wios"}),
)
_IO = ("rbytes", "wbytes", "rios", "wios")


def nothing() -> dict[str, t.Any]:
    """What is told of a slice that the kernel does not have: one that is only predicted, or inactive."""
    return {"usage": {}, "peak": {}, "pressure": None, "throttling": None, "oom_kills": None}


def flat(text: str) -> dict[str, int]:
    """A file of names and numbers (cgroup-v2.rst, Format: flat keyed)."""
    pairs = (line.split() for line in text.splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdigit()}


def _numbers(files: Texts, names: t.Mapping[str, str]) -> dict[str, int]:
    return {key: int(files[name]) for key, name in names.items() if files.get(name, "").isdigit()}


def _throttling(stat: t.Mapping[str, int], microseconds: int | None) -> dict[str, int] | None:
    """`nr_periods` is not there where the kernel has no quotas, or the slice not its controller."""
    if microseconds is None or not {"nr_periods", "nr_throttled"} <= stat.keys():
        return None
    return {
        "nr_periods": stat["nr_periods"],
        "nr_throttled": stat["nr_throttled"],
        "throttled_usec": microseconds,
    }


def parse_pressure(text: str) -> dict[str, dict[str, t.Any]]:
    """Stalls, in percent of the last 10, 60 and 300 seconds and in microseconds since the slice was made (accounting/psi.rst)."""
    found: dict[str, dict[str, t.Any]] = {}
    for line in text.splitlines():
        kind, *pairs = line.split()
        values = dict(pair.split("=", 1) for pair in pairs)
        found[kind] = {
            **{span: float(values[span]) for span in ("avg10", "avg60", "avg300")},
            "total_usec": int(values["total"]),
        }
    return found


def _disks(found: t.Mapping[str, t.Mapping[str, int]], disks: Texts) -> list[dict[str, t.Any]]:
    """By node; a disk that has gone keeps its number."""
    entries: list[dict[str, t.Any]] = [
        {"device": disks.get(number, number), **{key: counters.get(key, 0) for key in _IO}}
        for number, counters in found.items()
    ]
    return sorted(
        (entry for entry in entries if any(entry[key] for key in _IO)), key=lambda entry: str(entry["device"])
    )


def _io_v2(text: str, disks: Texts) -> list[dict[str, t.Any]]:
    found = {}
    for line in text.splitlines():
        number, *pairs = line.split()
        # A line of a disk without traffic may end after its number.
        values = dict(pair.split("=", 1) for pair in pairs if "=" in pair)
        found[number] = {key: int(values[key]) for key in _IO if values.get(key, "").isdigit()}
    return _disks(found, disks)


def _io_v1(files: Texts, disks: Texts) -> list[dict[str, t.Any]]:
    found: dict[str, dict[str, int]] = {}
    for name, words in _IO_V1:
        for line in files.get(name, "").splitlines():
            parts = line.split()
            if len(parts) == 3 and parts[1] in words:
                found.setdefault(parts[0], {})[words[parts[1]]] = int(parts[2])
    return _disks(found, disks)


def read_v2(files: Texts, disks: Texts) -> dict[str, t.Any]:
    """The figures of v2 (cgroup-v2.rst), as far as this kernel tells them; `disks` are nodes by device number."""
    stat = flat(files.get("cpu.stat", ""))
    usage: dict[str, t.Any] = _numbers(
        files,
        {
            "memory_current": "memory.current",
            "swap_current": "memory.swap.current",
            "pids_current": "pids.current",
        },
    )
    if "usage_usec" in stat:
        usage["cpu_usage_usec"] = stat["usage_usec"]
    if "io.stat" in files:
        usage["io"] = _io_v2(files["io.stat"], disks)
    pressure = {kind: parse_pressure(files[f"{kind}.pressure"]) for kind in _PRESSURES if files.get(f"{kind}.pressure")}
    return {
        "usage": usage,
        "peak": _numbers(files, {"memory": "memory.peak", "swap": "memory.swap.peak", "pids": "pids.peak"}),
        "pressure": pressure or None,
        "throttling": _throttling(stat, stat.get("throttled_usec")),
        "oom_kills": flat(files.get("memory.events", "")).get("oom_kill"),
    }


def read_v1(files: Texts, disks: Texts) -> dict[str, t.Any]:
    """The figures of v1 in the words and units of v2. It has no figures of pressure."""
    usage: dict[str, t.Any] = _numbers(
        files, {"memory_current": "memory.usage_in_bytes", "pids_current": "pids.current"}
    )
    both = files.get("memory.memsw.usage_in_bytes", "")
    if both.isdigit() and "memory_current" in usage:
        # Two files read one after the other: a moment's difference must not look like negative swap.
        usage["swap_current"] = max(0, int(both) - usage["memory_current"])
    if files.get("cpuacct.usage", "").isdigit():
        usage["cpu_usage_usec"] = int(files["cpuacct.usage"]) // 1000
    if _IO_V1[0][0] in files:
        usage["io"] = _io_v1(files, disks)
    stat = flat(files.get("cpu.stat", ""))
    nanoseconds = stat.get("throttled_time")
    return {
        "usage": usage,
        "peak": _numbers(files, {"memory": "memory.max_usage_in_bytes", "pids": "pids.peak"}),
        "pressure": None,
        "throttling": _throttling(stat, None if nanoseconds is None else nanoseconds // 1000),
        "oom_kills": flat(files.get("memory.oom_control", "")).get("oom_kill"),
    }
