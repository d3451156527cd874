# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Names of resources, and the forms of them that other tools accept."""

from __future__ import annotations

import hashlib
import re

from ._errors import InvalidOption

MAX_LENGTH = 48

LINK_GROUP = 0x69736F
"""The link group of our bridges (`iso` in ASCII): what is static in other tables can name them all by it."""

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")


def check_name(value: str, option: str = "name") -> str:
    """Return `value` if it is a valid resource name: lower-case letters, digits and inner dashes, at most 48 characters."""
    if len(value) > MAX_LENGTH or not _NAME.fullmatch(value):
        raise InvalidOption(
            f"{option}: {value!r} is not a valid name: use lower-case letters, digits and inner dashes,"
            f" at most {MAX_LENGTH} characters"
        )
    return value


def check_path_name(value: str, option: str = "name") -> str:
    """Return `value` if it is a path of valid names, such as `web/3fa91c2`."""
    for part in value.split("/"):
        check_name(part, option)
    return value


def interface_name(*parts: str) -> str:
    """A name for a network interface that is derived from `parts`: `iso` and 12 hexadecimal digits.

    IFNAMSIZ leaves 15 characters (netdevice(7)), too few for names of services, hence a hash.
    """
    digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()
    return "iso" + digest[:12]


def mac_address(*parts: str) -> str:
    """A stable, locally administered unicast MAC address that is derived from `parts` (IEEE 802, second bit of the first octet)."""
    digest = hashlib.sha256("\0".join(("mac",) + parts).encode()).digest()
    octets = [(digest[0] & 0xFC) | 0x02, *digest[1:6]]
    return ":".join(f"{octet:02x}" for octet in octets)
