# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Lines on a terminal: text that is fit to be shown, and a region below it that is redrawn in place. Pure; it runs on the controller.

Note: this is private to the collection, and may change at any time.
"""

from __future__ import annotations

import typing as t
import unicodedata
from dataclasses import dataclass

# Control and format characters, halves of others, and what ends a line.
_OBEYED = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})

GOOD, CHANGED, BAD, SOFT, PLAIN = "good", "changed", "bad", "soft", ""


def _shown(text: str) -> str:
    return "".join("?" if unicodedata.category(character) in _OBEYED else character for character in text)


@dataclass(frozen=True)
class Line:
    """A line, and in which way it is meant. Nothing in it is what a terminal would obey: what hosts say is shown, not done."""

    text: str
    style: str = PLAIN

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", _shown(self.text))


def _columns(character: str) -> int:
    if unicodedata.combining(character) or unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def columns(text: str) -> int:
    """How many columns of a terminal a text takes."""
    return sum(map(_columns, text))


def clean(text: str) -> list[str]:
    """The lines of a text that are not empty, fit to be shown."""
    shown = (_shown(line).rstrip() for line in text.replace("\t", "    ").splitlines())
    return [line for line in shown if line]


def fit(text: str, width: int) -> str:
    """As much of a line as has room in that many columns; that some is left out is shown."""
    if columns(text) <= width:
        return text
    kept, used = [], 0
    for character in text:
        used += _columns(character)
        if used > width - 1:
            break
        kept.append(character)
    return ("".join(kept) + "…") if width > 0 else ""


def gauge(done: int, of: int, width: int) -> str:
    """How much of something is done. It is full only when all of it is."""
    filled = width if done >= of else min(width - 1, done * width // of)
    return f"[{'#' * filled}{'-' * (width - filled)}]"


class Screen:
    """A region below what stays. The cursor waits at its first row, which is empty: what others write meanwhile lands there, and stays.
    `paint` gives a line its colors.
    """

    def __init__(self, paint: t.Callable[[Line], str]) -> None:
        self._paint = paint
        self._is_drawn = False

    def draw(self, lines: t.Sequence[Line], live: t.Sequence[Line], width: int) -> str:
        """Text to write at once: lines that stay, in place of the region, and the region anew below them."""
        # One column stays free: some terminals wrap as soon as the last one is written to.
        region = [Line(""), *(Line(fit(line.text, width - 1), line.style) for line in live)] if live else []
        parts = [f"{self._paint(line)}\x1b[K\n" for line in [*lines, *region]]
        if self._is_drawn:
            parts.append("\x1b[J")
        if region:
            parts.append(f"\x1b[{len(region)}A")
        self._is_drawn = bool(region)
        return "".join(parts)
