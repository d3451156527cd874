# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The report of hosts as lines of a terminal. Pure; it runs on the controller.

Note: this is private to the collection, and may change at any time.
"""

from __future__ import annotations

import typing as t
import unicodedata

from . import _status_words as words

Data = t.Dict[str, t.Any]

HEADINGS = ("HOST", "SERVICE", "RELEASE", "STATE", "HEALTH", "MEMORY", "PIDS", "CPU", "PORTS", "RESTARTS", "DRIFT")


def _width(text: str) -> int:
    """The columns that a text takes on a terminal."""
    wide = sum(unicodedata.east_asian_width(one) in "WF" for one in text)
    return len(text) + wide - sum(unicodedata.combining(one) != 0 for one in text)


def _aligned(rows: t.Sequence[t.Sequence[str]]) -> list[str]:
    widths = [max(_width(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell + " " * (width - _width(cell)) for cell, width in zip(row, widths)).rstrip() for row in rows]


def _row(host: Data, one: Data) -> list[str]:
    used = words.uses(one)
    mine = sum(found["service"] == one["service"] for found in host["drift"]) if one["role"] != "former" else 0
    return [
        host["name"],
        str(one["service"]),
        str(one["release"] or "-"),
        str(one["verdict"]),
        words.health(one),
        used["memory"][0],
        used["pids"][0],
        used["cpu"][0],
        ", ".join(words.ports(one)) or "-",
        "-" if one["restarts"] is None else str(one["restarts"]),
        str(mine or "-"),
    ]


def _rows(host: Data) -> list[list[str]]:
    shown = [one for one in host["services"] if words.is_shown(one)]
    if host["result"] in ("unreachable", "failed") or not shown:
        word = words.HOSTS[host["result"]]
        first = [host["name"], "-", "-", word if host["result"] != "in_sync" else "-", *["-"] * (len(HEADINGS) - 4)]
        return [first, *(_row(host, one) for one in shown)]
    return [_row(host, one) for one in shown]


def _details(host: Data) -> list[str]:
    """What does not fit into the table."""
    lines = []
    told = words.host_line(host)
    if told:
        lines.append(f"{host['name']}: {words.HOSTS[host['result']]}: {told}")
    lines += [f"  {words.drift_line(one)}" for one in host["drift"]]
    for one in host["services"]:
        ended = words.failure(one)
        if ended:
            lines.append(f"{host['name']}: {one['instance']}: {one['verdict']}: {ended}")
            lines += [f"  | {text}" for text in (one["failure"]["log"] or [])]
    lines += [
        f"{host['name']}: not seen: {entry['name'] or entry['subset']}: {entry['reason']}" for entry in host["unseen"]
    ]
    return lines


def status_table(report: Data) -> list[str]:
    """The report as lines: a row for each service, then what drifted and why something does not run, then all in one line."""
    rows = [[words.plain(cell) for cell in row] for host in report["hosts"] for row in _rows(host)]
    lines = _aligned([HEADINGS, *rows])
    details = [words.plain(text) for host in report["hosts"] for text in _details(host)]
    return [*lines, *(["", *details] if details else []), "", words.summary(report)]
