# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is measured of playbooks. Times are in seconds."""

from __future__ import annotations

import dataclasses

from ..common.figures import Figure

STEPS = ("first", "again", "change", "remove")
"""What is done in turn with a number of services: from nothing to all, once more, one gets a new release, and all go."""


@dataclasses.dataclass
class Row:
    """What was measured with a number of services on each of some hosts. What a step took is under its name in `wall`; `cpu` is the processor
    time of ansible-playbook and of its children; modules are among them where the host is the controller itself, and not where it is reached
    `over_ssh`.
    """

    services: int
    hosts: int = 1
    over_ssh: bool = False
    wall: dict[str, Figure] = dataclasses.field(default_factory=dict)
    cpu: dict[str, Figure] = dataclasses.field(default_factory=dict)
