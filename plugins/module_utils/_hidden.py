# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Values that must not be shown."""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass, field

LEAST = 8
"""Characters that a hidden value has at least: Ansible blanks out each in all that a task says, so that shorter ones would blank out other words."""

_LINE = re.compile(r"\S{20,}")


@dataclass(frozen=True)
class Hidden:
    """The value of a secret. It is equal to the same value, and tells nothing of it in a representation."""

    value: bytes = field(repr=False)

    def texts(self) -> t.Iterator[str]:
        """What a program may print of it: the whole, and long lines without blanks, as keys have them."""
        text = self.value.decode(errors="ignore").strip()
        if len(text) >= LEAST:
            yield text
        yield from (line for line in text.splitlines() if _LINE.fullmatch(line))
