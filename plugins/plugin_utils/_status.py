# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How hosts and their services are, compared with what is declared. Pure; it runs on the controller.

Note: this is private to the collection, and may change at any time.
"""

from __future__ import annotations

import re
import typing as t

from ._drift import differences, removals

Data = t.Dict[str, t.Any]

FORMAT = 1
"""Of the report; a key that goes or means something else changes it."""

RESULTS = ("unreachable", "failed", "drifted", "in_sync")
"""How a host can be, the worst first."""

_MESSAGE = 2000
"""Characters of a failure's message that are told."""

_WRAPPING = re.compile(
    r"Task failed(\.|: )(Module failed: )?|Finalization of task args for '[^']*' failed: |Error while resolving value for '[^']*': "
    r"|The filter plugin '[^']*' failed: "
)
"""What Ansible puts before a message: where in the play it was, which the report says otherwise."""


def _entries(found: t.Mapping[str, t.Any], kind: str) -> list[Data]:
    return [entry for entry in found.get(kind) or [] if isinstance(entry, dict)]


def _service_of(difference: Data, names: t.Mapping[str, str]) -> str | None:
    """The service that a difference is about; None for what services share. `names` has services by their instances."""
    _word, _space, name = difference["object"].partition(" ")
    if difference["layer"] == "slices":
        return str(name.partition("/")[0])
    if difference["layer"] == "portmaps":
        return str(name)
    if difference["layer"] in ("services", "rootfs"):
        return str(names.get(name, name.rpartition("-")[0] or name))
    return None


def _limits(slice_: t.Mapping[str, t.Any]) -> Data:
    effective = slice_.get("effective") or {}
    return {key: effective[key] for key in ("cpu_max", "memory_max", "swap_max", "pids_max") if key in effective}


def cpu_share(value: t.Any) -> float | None:
    """A limit of CPU time, such as `50000/100000`, in percent of one CPU."""
    quota, slash, period = str(value).partition("/")
    if not slash or not quota.isdigit() or not period.isdigit() or int(period) == 0:
        return None
    return 100 * int(quota) / int(period)


def _use(entry: Data) -> Data | None:
    usage, uptime = entry.get("usage"), entry.get("uptime")
    if not usage:
        return None
    used, seconds = usage.get("cpu_usage_usec"), None
    if used is not None:
        seconds = used / 1_000_000
    return {
        "memory": usage.get("memory_current"),
        "pids": usage.get("pids_current"),
        "cpu_seconds": None if seconds is None else round(seconds, 2),
        "cpu_percent": round(100 * seconds / uptime, 1) if seconds is not None and uptime else None,
        "memory_peak": (entry.get("peak") or {}).get("memory"),
        "oom_kills": entry.get("oom_kills"),
    }


def _health(entry: Data) -> Data | None:
    asked = entry.get("health")
    if not asked:
        return None
    return {key: asked.get(key) for key in ("kind", "status", "since", "failures", "action")}


def _failure(entry: Data) -> Data | None:
    found = entry.get("failure")
    if not found:
        return None
    return {key: found.get(key) for key in ("ended_at", "next_start", "exit_status", "signal", "log")}


def _is_well(one: Data) -> bool:
    """Whether a service that is declared does what it is to do, as far as that is known."""
    health = (one["health"] or {}).get("status")
    return one["state"] == "started" and health != "unhealthy"


def _verdict(one: Data) -> str:
    """One word for people: what is the matter with it."""
    if one["role"] == "missing":
        return "missing"
    if one["role"] != "current":
        return str(one["role"])
    if one["state"] != "started":
        return str(one["state"])
    return "running" if _is_well(one) else "unhealthy"


def _instance(entry: Data, role: str, slices: t.Mapping[str, Data]) -> Data:
    mine = slices.get(str(entry.get("slice"))) or {}
    one = {
        "service": entry.get("service"),
        "instance": entry.get("name"),
        "release": entry.get("release"),
        "role": role,
        "state": entry.get("state"),
        "health": _health(entry),
        "started_at": entry.get("started_at"),
        "uptime": entry.get("uptime"),
        "addresses": [
            address
            for item in entry.get("addresses") or []
            for address in (item.get("ipv4"), item.get("ipv6"))
            if address
        ],
        "limits": _limits(mine),
        "use": _use(entry),
        "published": [
            {key: item.get(key) for key in ("host_address", "host_port", "protocol", "address", "port")}
            for item in entry.get("published") or []
        ],
        "environment": sorted((entry.get("options") or {}).get("environment") or []),
        "restarts": entry.get("restarts"),
        "failure": _failure(entry),
    }
    return {**one, "verdict": _verdict(one)}


def _missing(service: str, instance: str) -> Data:
    """A service that is declared and has no instance of its release."""
    entry = {"service": service, "name": instance, "release": instance[len(service) + 1 :], "state": "missing"}
    return _instance(entry, "missing", {})


def _instances(info: Data, plan: Data, only: t.Collection[str]) -> list[Data]:
    """Every service that is declared, and what there is besides: former releases, and what the inventory does not name."""
    there = {entry["name"]: entry for entry in _entries(info, "services")}
    wanted = {}
    for wave in _entries(plan, "waves"):
        for entry in _entries(wave, "services"):
            # One that is there already may be named alone.
            service = entry.get("service") or (there.get(entry["name"]) or {}).get("service") or entry["name"]
            wanted[str(entry["name"])] = str(service)
    declared = set(wanted.values())
    slices = {entry["name"]: entry for entry in _entries(info, "slices")}
    found = [
        _instance(there[name], "current", slices) if name in there else _missing(service, name)
        for name, service in wanted.items()
    ]
    for name, entry in sorted(there.items()):
        if name in wanted or (only and entry.get("service") not in only):
            continue
        known = entry.get("service") in declared
        found.append(_instance(entry, "former" if known else "undeclared" if plan else "unknown", slices))
    return found


def _message(result: t.Any) -> str:
    text = str((result or {}).get("msg") or "no message")
    wrapped = _WRAPPING.match(text)
    while wrapped and wrapped.end() < len(text):
        text = text[wrapped.end() :]
        wrapped = _WRAPPING.match(text)
    return text if len(text) <= _MESSAGE else text[:_MESSAGE] + "…"


def host_status(seen: Data) -> Data:
    """How one host is. Everything in `seen` may be missing, as when the host can't be reached.

    `info` is host_info's answer, `plan` that of host_plan, `results` the modules' in check mode by layer, `failure` the
    result of the task that failed and `task` its name, `only` the services that are asked for, if not all.
    """
    info, plan, only = seen.get("info") or {}, seen.get("plan") or {}, seen.get("only") or []
    results = {layer: result for layer, result in (seen.get("results") or {}).items() if isinstance(result, dict)}
    found = differences(results) + removals(plan.get("remove") or {})
    services = _instances(info, plan, only)
    names = {one["instance"]: one["service"] for one in services}
    for one in found:
        one["service"] = _service_of(one, names)
    lost = [result for result in (info, *results.values(), seen.get("failure") or {}) if result.get("unreachable")]
    host: Data = {"result": "drifted" if found else "in_sync", "task": None, "message": None}
    if lost:
        host.update(result="unreachable", message=_message(lost[0]))
    elif seen.get("failure") or not plan:
        failure = seen.get("failure") or {"msg": "the host was not compared"}
        host.update(result="failed", task=seen.get("task"), message=_message(failure))
    unseen = [{key: entry.get(key) for key in ("subset", "name", "reason")} for entry in _entries(info, "unseen")]
    return {**host, "drift": found, "services": services, "unseen": unseen}


def _summary(hosts: t.Sequence[Data]) -> Data:
    services = [one for host in hosts for one in host["services"] if one["role"] in ("current", "missing")]
    return {
        "hosts": len(hosts),
        **{result: sum(host["result"] == result for host in hosts) for result in RESULTS},
        "differences": sum(len(host["drift"]) for host in hosts),
        "services": len(services),
        "services_well": sum(_is_well(one) for one in services),
    }


def fleet_status(hosts: t.Mapping[str, t.Any], project: str, made_at: str) -> Data:
    """The report: every host by its name with the answer of `host_status`, or what stands for none."""
    told = [{"name": name, **(host or host_status({}))} for name, host in hosts.items()]
    return {"format": FORMAT, "project": project, "made_at": made_at, "summary": _summary(told), "hosts": told}
