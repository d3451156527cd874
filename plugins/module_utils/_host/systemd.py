# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""systemd, by unit files and systemctl(1)."""

from __future__ import annotations

import os
import re
import typing as t
from dataclasses import dataclass

from .. import _paths
from .files import read_text
from .process import run

_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:_.")


def booted() -> bool:
    """Whether systemd is the host's init (sd_booted(3))."""
    return os.path.isdir("/run/systemd/system")


def escape(text: str) -> str:
    """`text` as a part of a unit name: `-` and other bytes become `\\xNN`, `/` becomes `-` (systemd.unit(5), systemd-escape(1))."""
    parts = []
    for index, byte in enumerate(text.encode()):
        char = chr(byte)
        if char == "/":
            parts.append("-")
        elif char in _PLAIN and not (char == "." and index == 0):
            parts.append(char)
        else:
            parts.append(f"\\x{byte:02x}")
    return "".join(parts)


def slice_unit(name: str) -> str:
    """The slice unit of a path name: `web/api` is `isolation-web-api.slice`, `web-api` is `isolation-web\\x2dapi.slice`.

    Dashes nest slices (systemd.slice(5)), so that a dash inside a name must be escaped.
    """
    return "-".join(["isolation", *(escape(part) for part in name.split("/"))]) + ".slice"


def slice_cgroup(name: str) -> str:
    """Where systemd puts the control group of that slice, below the root of the hierarchy."""
    parts = name.split("/")
    units = [slice_unit("/".join(parts[: depth + 1])) for depth in range(len(parts))]
    return "/".join(["isolation.slice", *units])


def quoted(word: str) -> str:
    """A word of a command line in a unit, as it is (systemd.service(5), COMMAND LINES; systemd.syntax(7), QUOTING)."""
    text = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return '"' + "".join(char if char.isprintable() else _escaped(char) for char in text) + '"'


def _escaped(char: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in char.encode(errors="surrogateescape"))


def version() -> int:
    """The number of the running systemd, such as 252.

    :raises ToolError: systemctl failed.
    """
    digits = re.match(r"Version=v?(\d+)", run(["systemctl", "show", "--property=Version"]).stdout)
    return int(digits.group(1)) if digits else 0


def unit_file(unit: str) -> str:
    """The path of one of our unit files."""
    return os.path.join(_paths.UNITS, unit)


def is_ours(unit: str) -> bool:
    """Whether a unit file is there and carries our marker."""
    text = read_text(unit_file(unit))
    return text is not None and _paths.MARKER in text


def show(units: t.Sequence[str], properties: t.Sequence[str]) -> dict[str, dict[str, str]]:
    """Properties of units by unit, as the running systemd has them; an unknown unit has `LoadState=not-found`.

    :raises ToolError: systemctl failed.
    """
    if not units:
        return {}
    wanted = ["Id", *properties]
    done = run(["systemctl", "show", "--no-pager", f"--property={','.join(wanted)}", "--", *units])
    blocks = done.stdout.split("\n\n")
    answers = {}
    for unit, block in zip(units, blocks):
        answers[unit] = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
    return answers


def _state(unit: str) -> str:
    return show([unit], ("ActiveState",))[unit].get("ActiveState", "inactive")


def active(unit: str) -> bool:
    """Whether a unit runs: a service, or a socket that is listened on."""
    return run(["systemctl", "is-active", "--quiet", "--", unit], check=False).returncode == 0


def forget_failure(unit: str) -> None:
    """Let a stopped unit not count as failed: one that is gone would do so until the next boot (systemctl(1), reset-failed)."""
    run(["systemctl", "reset-failed", "--", unit], check=False)


@dataclass(frozen=True)
class Systemctl:
    """Step: `systemctl VERB [OPTION…] [UNIT…]`."""

    verb: str
    units: tuple[str, ...] = ()
    options: tuple[str, ...] = ()

    def run(self) -> None:
        """Call systemctl.

        :raises ToolError: systemd refused; the message has its answer.
        """
        run(["systemctl", *self.options, self.verb, "--", *self.units] if self.units else ["systemctl", self.verb])


@dataclass(frozen=True)
class Dismiss:
    """Step: stop units, one after the other, and let them not count as failed."""

    units: tuple[str, ...]

    def run(self) -> None:
        """Stop them.

        :raises ToolError: systemd refused; the message has its answer.
        """
        for unit in self.units:
            done = run(["systemctl", "stop", "--", unit], check=False)
            # One that has ended by itself and whose file is gone is not known to systemd any more, which is an error of its own.
            if done.returncode != 0 and _state(unit) not in ("inactive", "failed"):
                Systemctl("stop", (unit,)).run()
        for unit in self.units:
            forget_failure(unit)


DAEMON_RELOAD = Systemctl("daemon-reload")
