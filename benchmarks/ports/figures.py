# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Figures and their meaning. Times are in seconds, latencies in microseconds, memory in bytes."""

from __future__ import annotations

import dataclasses

from ..common.figures import Figure


@dataclasses.dataclass(frozen=True)
class Latency:
    """Time of connect(2) from the client's namespace to the first and to the last published port."""

    first: float
    first_p95: float
    last: float
    last_p95: float
    ratio: Figure
    """last/first: the median of every round's ratio of medians, and the extremes of the rounds."""
    connections: int


@dataclasses.dataclass
class Row:
    """What was measured with a number of published ports. A field that is None was not measured, or does not exist there."""

    ports: int
    apply: Figure | None = None
    again: Figure | None = None
    change: Figure | None = None
    change_beside: Figure | None = None
    remove: Figure | None = None
    rules: int | None = None
    elements: int | None = None
    kernel_bytes: Figure | None = None
    processes: int | None = None
    proxy_pss: int | None = None
    latency: Latency | None = None
    cpu: dict[str, Figure] = dataclasses.field(default_factory=dict)
    """Processor time by what was done, of the process and its children. Waiting for a busy machine is not in it."""
