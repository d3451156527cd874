# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Data in an answer of a module that has to come back as it was, whatever else of the answer must not be shown.

Ansible blanks values out that must not be shown wherever they are part of a text: also where a name has a short password in it by chance. None is written in
Braille.

Note: this is private to the collection, and may change at any time.
"""

from __future__ import annotations

import json
import typing as t
import zlib

_BRAILLE = 0x2800
"""The first of Unicode's 256 Braille patterns, which has no dot."""


def packed(data: t.Mapping[str, t.Any]) -> str:
    """JSON, compressed (RFC 1950), each byte a pattern of Braille."""
    return "".join(chr(_BRAILLE + byte) for byte in zlib.compress(json.dumps(data).encode()))


def unpacked(text: str) -> dict[str, t.Any]:
    """What was packed."""
    return dict(json.loads(zlib.decompress(bytes(ord(letter) - _BRAILLE for letter in text))))
