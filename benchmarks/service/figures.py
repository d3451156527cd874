# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is measured of services. Times are in seconds, sizes in bytes."""

from __future__ import annotations

import dataclasses

from ..common.figures import Figure


@dataclasses.dataclass
class Row:
    """What was measured with a number of services of one image. A field that is None was not measured, or does not exist there.

    `start` is from the execution of what starts a service to the service's own first act, `one_more` the whole command or module.
    `beside` is the memory of all processes that are there for each service and are not its own (their proportional share),
    `engine` that of those which are there without any service.
    """

    services: int
    start: Figure | None = None
    fill: Figure | None = None
    again: Figure | None = None
    one_more: Figure | None = None
    beside: int | None = None
    processes: float | None = None
    engine: int | None = None
