# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Kernel settings under /proc/sys (proc_sys(5)). Keys are written with slashes, since names of links may hold dots."""

from __future__ import annotations

import os
from dataclasses import dataclass

from .._errors import IsolationError
from .files import read_text

ROOT = "/proc/sys"


def read_sysctl(key: str) -> str | None:
    """The value of a setting such as `net/ipv4/ip_forward`; None if this kernel, or this link, has none."""
    text = read_text(os.path.join(ROOT, key))
    return None if text is None else text.strip()


def children(key: str) -> tuple[str, ...]:
    """The names below a folder of settings, such as the links below `net/ipv4/conf`; none if it is not there."""
    try:
        return tuple(sorted(os.listdir(os.path.join(ROOT, key))))
    except FileNotFoundError:
        return ()


@dataclass(frozen=True)
class WriteSysctl:
    """Step: set a kernel setting. With `optional`, a setting that is gone (with its link) is passed over."""

    key: str
    value: str
    optional: bool = False

    def run(self) -> None:
        """Write the value.

        :raises IsolationError: the kernel refused it.
        """
        path = os.path.join(ROOT, self.key)
        if self.optional and not os.path.exists(path):
            return
        try:
            with open(path, "w", encoding="ascii") as stream:
                stream.write(self.value + "\n")
        except OSError as error:
            raise IsolationError(
                f"{path}: writing {self.value!r} failed: {error.strerror}: is /proc/sys writable here?"
            ) from error
