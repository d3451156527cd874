# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A report of hosts in words: what the terminal and the page show alike. Pure; it runs on the controller.

Note: this is private to the collection, and may change at any time.
"""

from __future__ import annotations

import typing as t

from ._drift import line
from ._status import cpu_share

Data = t.Dict[str, t.Any]

HOSTS = {"in_sync": "in sync", "drifted": "drifted", "failed": "failed", "unreachable": "unreachable"}


def plain(text: t.Any) -> str:
    """A text in one line, without characters that steer a terminal or turn the direction of what follows."""
    return "".join(one if one.isprintable() else " " if one in "\t\n" else f"\\u{ord(one):04x}" for one in str(text))


def size(number: t.Any) -> str:
    """A number of bytes for people."""
    if not isinstance(number, (int, float)) or isinstance(number, bool):
        return str(number)
    value, unit = float(number), "B"
    for unit in ("B", "K", "M", "G", "T"):
        if value < 1024 or unit == "T":
            break
        value /= 1024
    return f"{value:.0f}{unit}" if value >= 10 or value == int(value) else f"{value:.1f}{unit}"


def count(number: int, one: str, many: str | None = None) -> str:
    """A number with its noun."""
    return f"{number} {one if number == 1 else many or one + 's'}"


def share(used: t.Any, limit: t.Any) -> float | None:
    """How much of a limit is used, in percent; None without a limit."""
    numbers = all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in (used, limit))
    return 100 * used / limit if numbers and limit else None


def uses(one: Data) -> dict[str, tuple[str, float | None]]:
    """What a service uses: for each resource the text, and how much of its limit that is."""
    use, limits = one["use"] or {}, one["limits"]

    def text(used: str | None, limit: str | None) -> str:
        return " / ".join(word for word in (used or "-", limit) if word) if used or limit else "-"

    def known(value: t.Any, shown: t.Callable[[t.Any], str]) -> str | None:
        return None if value is None or value == "max" else shown(value)

    cpu, most = use.get("cpu_percent"), cpu_share(limits.get("cpu_max"))
    return {
        "memory": (
            text(known(use.get("memory"), size), known(limits.get("memory_max"), size)),
            share(use.get("memory"), limits.get("memory_max")),
        ),
        "pids": (
            text(known(use.get("pids"), str), known(limits.get("pids_max"), str)),
            share(use.get("pids"), limits.get("pids_max")),
        ),
        "cpu": (
            text(known(cpu, lambda value: f"{value:g}%"), known(most, lambda value: f"{value:g}%")),
            share(cpu, most),
        ),
    }


def ports(one: Data) -> list[str]:
    """Published ports, each as `tcp 8080`, `udp 127.0.0.1:53`."""
    found = []
    for item in one["published"]:
        address = item.get("host_address")
        where = f"[{address}]:" if address and ":" in str(address) else f"{address}:" if address else ""
        found.append(f"{item.get('protocol') or 'tcp'} {where}{item.get('host_port')}")
    return list(dict.fromkeys(found))


def health(one: Data) -> str:
    """How a service's health is, in one word."""
    if not one["health"] or one["state"] != "started":
        return "-"
    return str(one["health"]["status"] or "asked at start")


def failure(one: Data) -> str | None:
    """Why a service that is to run does not, in one line."""
    found = one["failure"]
    if not found:
        return None
    words = []
    if found["ended_at"]:
        words.append(f"ended at {found['ended_at']}")
    if found["exit_status"] is not None:
        words.append(f"exit status {found['exit_status']}")
    if found["signal"]:
        words.append(f"by signal {found['signal']}")
    if found["next_start"]:
        words.append(f"next start at {found['next_start']}")
    return ", ".join(words) or "it does not run"


def is_shown(one: Data) -> bool:
    """Whether a service gets a row: former releases that are only kept get none."""
    return bool(one["role"] != "former" or one["state"] == "started" or one["failure"])


def kept(host: Data, service: str) -> list[str]:
    """Former instances of a service that are kept to go back to."""
    return [one["instance"] for one in host["services"] if one["service"] == service and not is_shown(one)]


def needs_attention(one: Data) -> bool:
    """Whether somebody should look at a service."""
    return bool(one["verdict"] in ("missing", "failing", "stopped", "unhealthy", "started") or one["failure"])


def host_line(host: Data) -> str:
    """What there is to say of a host as a whole."""
    if host["result"] == "drifted":
        return count(len(host["drift"]), "difference")
    if host["result"] == "in_sync":
        return ""
    task = f"{host['task']}: " if host["task"] else ""
    return f"{task}{host['message']}"


def drift_line(one: Data) -> str:
    """A difference, with what it means to a running service."""
    effect = f" ({one['effect']})" if one["effect"] else ""
    return plain(line(one) + effect)


def summary(report: Data) -> str:
    """The whole report in one line."""
    found = report["summary"]
    states = [f"{found[key]} {word}" for key, word in HOSTS.items() if found[key]]
    unknown = " where it could be seen" if found["failed"] or found["unreachable"] else ""
    drift = count(found["differences"], "difference") if found["differences"] else f"no drift{unknown}"
    return (
        f"{count(found['hosts'], 'host')} ({', '.join(states) or 'none'}), {count(found['services'], 'service')}"
        f" ({found['services_well']} well), {drift}"
    )
