# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The table, as Markdown."""

from __future__ import annotations

from ..common.figures import Run
from ..common.report import closing, markdown, seconds
from .figures import Row

_HEADINGS = [
    "way",
    "updates",
    "one update, s",
    "answered",
    "refused",
    "lost",
    "without an answer for each update",
    "closed",
]


def table(run: Run[Row]) -> str:
    """The table, what could not be measured, and on which machine."""
    lines = [_HEADINGS]
    for subject in run.subjects:
        for row in subject.rows:
            each = f"{row.failed / row.updates:.1f}" if row.updates else ""
            counts = [row.answered, row.refused, row.lost]
            lines.append([subject.name, str(row.updates), seconds(row.wall), *map(str, counts), each, str(row.closed)])
    return "\n\n".join([markdown(lines), *closing(run)]) + "\n"
