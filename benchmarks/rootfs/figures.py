# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is measured of root filesystems. Times are in seconds, sizes in bytes."""

from __future__ import annotations

import dataclasses

from ..common.figures import Figure


@dataclasses.dataclass
class Row:
    """What was measured with a number of services of one image. A field that is None was not measured, or does not exist there.

    `first` begins with the archive and nothing else. `touched` count files and directories whose status was changed
    (st_ctime, which every chown changes) by one more root filesystem, and by the mount before a start.
    """

    services: int
    first: Figure | None = None
    fill: Figure | None = None
    again: Figure | None = None
    one_more: Figure | None = None
    remove_one: Figure | None = None
    mount: Figure | None = None
    image: int | None = None
    each: int | None = None
    touched: int | None = None
    touched_by_mount: int | None = None
    cpu: dict[str, Figure] = dataclasses.field(default_factory=dict)
    """Processor time by what was done, of the process and its children."""
