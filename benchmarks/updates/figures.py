# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What clients see while a service gets new releases."""

from __future__ import annotations

import dataclasses

from ..common.figures import Figure


@dataclasses.dataclass
class Row:
    """What became of the requests of all clients during so many updates, and how long each update took in seconds (`wall`).

    `closed` are kept connections that the server closed between two requests, after which the client asked again by a new one; `refused` and
    `lost` are requests that got no answer.
    """

    updates: int
    wall: Figure | None = None
    answered: int = 0
    closed: int = 0
    refused: int = 0
    lost: int = 0

    @property
    def failed(self) -> int:
        """Requests without an answer."""
        return self.refused + self.lost
