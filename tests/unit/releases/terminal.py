# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""As much of a terminal as the rollout callback uses."""

from __future__ import annotations

import re

_PART = re.compile(r"\x1b\[(\d*)([A-Za-z])|(\r)|(\n)|([^\x1b\r\n]+)|(.)", re.DOTALL)


class _Rows:
    def __init__(self, width: int) -> None:
        self.width, self.rows, self.row, self.column = width, [""], 0, 0

    def feed(self) -> None:
        self.row, self.column = self.row + 1, 0
        self.rows += [""] * (self.row + 1 - len(self.rows))

    def obey(self, letter: str, number: str) -> None:
        if letter == "A" and int(number) <= self.row:
            self.row -= int(number)
        elif letter in "KJ" and not number:
            self.rows[self.row] = self.rows[self.row][: self.column]
            if letter == "J":
                del self.rows[self.row + 1 :]
        elif letter != "m":
            raise ValueError(f"what is asked for is not known here: {number}{letter}")

    def show(self, text: str) -> None:
        for character in text:
            if self.column == self.width:
                self.feed()
            line = self.rows[self.row]
            self.rows[self.row] = line[: self.column].ljust(self.column) + character + line[self.column + 1 :]
            self.column += 1


def screen(text: str, width: int) -> list[str]:
    """What it shows in the end, with all that has scrolled away, without colors.

    :raises ValueError: the text asks for what is not known here.
    """
    found = _Rows(width)
    for number, letter, back, feed, shown, other in _PART.findall(text):
        if letter:
            found.obey(letter, number)
        elif back:
            found.column = 0
        elif feed:
            found.feed()
        elif shown:
            found.show(shown)
        else:
            raise ValueError(f"what is asked for is not known here: {other!r}")
    while found.rows and not found.rows[-1]:
        found.rows.pop()
    return found.rows
