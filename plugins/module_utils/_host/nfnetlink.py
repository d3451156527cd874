# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the kernel tells of nftables by netlink itself, where nft(8) takes too long: thousands of elements, and the ruleset's number.

Messages are those of linux/netfilter/nf_tables.h, in nfnetlink's and netlink(7)'s own form. docs/dependencies.md says why they
are not read with pyroute2. Reads only.
"""

from __future__ import annotations

import errno
import functools
import os
import socket
import struct
import typing as t

from .._errors import IsolationError

_NETLINK_NETFILTER = 12
_SUBSYSTEM = 10
_GET_ELEMENTS, _NEW_GENERATION, _GET_GENERATION = 13, 15, 16
_REQUEST, _DUMP, _INTERRUPTED = 0x1, 0x300, 0x10
_ERROR, _DONE = 2, 3
_INET = 1
"""NFPROTO_INET (linux/netfilter.h)."""

_TABLE, _SET, _ELEMENTS = 1, 2, 3
_KEY, _DATA, _USER, _KEY_END = 1, 2, 6, 10
_VALUE, _VERDICT = 1, 2
_GOTO = -4
_CODE, _CHAIN = 1, 2
_COMMENT = 0
_KIND = 0x3FFF
"""Bits of an attribute's type that are the type (NLA_TYPE_MASK, linux/netlink.h)."""

_REMEDIES = {errno.EPERM: "run as root, with CAP_NET_ADMIN"}
_REMEDY = "a kernel with nf_tables is needed, 5.10 or newer"

_HEAD = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_BUFFER = 1 << 18


class NfnetlinkError(IsolationError):
    """The kernel did not tell."""


class ChangedMeanwhile(NfnetlinkError):
    """Somebody has changed a set while the kernel listed it: what it told is of no use."""


class Element(t.NamedTuple):
    """An element of a set: its key, the end of an interval of keys, what the key leads to, and its comment.

    Keys and data are the kernel's bytes, each part of a concatenation padded to four; a verdict is `goto CHAIN`.
    """

    key: bytes
    end: bytes | None
    data: bytes
    verdict: str
    comment: str


def _attributes(data: bytes, start: int = 0) -> t.Iterator[tuple[int, bytes]]:
    while start + 4 <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, start)
        if length < 4:
            return
        yield kind & _KIND, data[start + 4 : start + length]
        start += (length + 3) & ~3


def _text(data: bytes) -> str:
    return data.rstrip(b"\0").decode(errors="replace")


def _verdict(data: bytes) -> str:
    found = dict(_attributes(data))
    (code,) = struct.unpack("!i", found.get(_CODE, b"\0\0\0\0"))
    return f"goto {_text(found.get(_CHAIN, b''))}" if code == _GOTO else f"verdict {code}"


def _comment(data: bytes) -> str:
    """The comment among the triples of type, length and value that nft keeps with an element (libnftnl, udata.h)."""
    while len(data) >= 2:
        if data[0] == _COMMENT:
            return _text(data[2 : 2 + data[1]])
        data = data[2 + data[1] :]
    return ""


@functools.lru_cache(maxsize=4096)
def _rest(data: bytes) -> tuple[bytes | None, bytes, str, str]:
    """What follows the key of an element. Many elements have the same."""
    end, value, verdict, comment = None, b"", "", ""
    for kind, body in _attributes(data):
        if kind == _KEY_END:
            end = body[4:]
        elif kind == _DATA:
            for inner, content in _attributes(body):
                value, verdict = (content, verdict) if inner == _VALUE else (value, _verdict(content))
        elif kind == _USER:
            comment = _comment(body)
    return end, value, verdict, comment


def parse_element(listed: bytes) -> Element:
    """An element from its attributes. The kernel puts the key first (nf_tables_fill_setelem).

    :raises NfnetlinkError: it has another form.
    """
    length, kind = _ATTRIBUTE.unpack_from(listed) if len(listed) >= 8 else (0, 0)
    if kind & _KIND != _KEY or length < 8:
        raise NfnetlinkError("nf_tables: the kernel lists elements in an unknown form: upgrade the collection")
    value, _kind = _ATTRIBUTE.unpack_from(listed, 4)
    return Element(listed[8 : 4 + value], *_rest(listed[(length + 3) & ~3 :]))


def _attribute(kind: int, text: str) -> bytes:
    body = text.encode() + b"\0"
    return _ATTRIBUTE.pack(4 + len(body), kind) + body + bytes(-len(body) % 4)


def _messages(data: bytes) -> t.Iterator[tuple[int, int, int, bytes]]:
    """Type, flags, sequence number and payload of each message in a datagram."""
    offset = 0
    while offset + _HEAD.size <= len(data):
        length, kind, flags, number, _port = _HEAD.unpack_from(data, offset)
        yield kind, flags, number, data[offset + _HEAD.size : offset + length]
        offset += max(_HEAD.size, (length + 3) & ~3)


class Reader:
    """A conversation with the kernel about one table of the family inet. Use it as a context manager."""

    def __init__(self, table: str) -> None:
        self._table = table
        self._number = 0
        self._kernel = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER)
        self._kernel.settimeout(10)

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_error: object) -> None:
        self._kernel.close()

    def _send(self, kind: int, flags: int, family: int, body: bytes = b"") -> None:
        self._number += 1
        size = _HEAD.size + 4 + len(body)
        head = _HEAD.pack(size, _SUBSYSTEM << 8 | kind, flags, self._number, 0)
        self._kernel.send(head + bytes((family, 0, 0, 0)) + body)

    def generation(self) -> int | None:
        """The number of the ruleset of this network namespace, which every change raises; None if the kernel does not tell."""
        self._send(_GET_GENERATION, _REQUEST, 0)
        for kind, _flags, number, body in _messages(self._kernel.recv(_BUFFER)):
            if number == self._number and kind == _SUBSYSTEM << 8 | _NEW_GENERATION:
                found = dict(_attributes(body, 4)).get(1, b"")
                return int.from_bytes(found, "big") if found else None
        return None

    def elements(self, name: str) -> list[bytes]:
        """The elements of a set or map of the table, for `parse_element`; none if there is no such set.

        :raises ChangedMeanwhile: it is to be asked for again.
        :raises NfnetlinkError: the kernel refused.
        """
        self._send(_GET_ELEMENTS, _REQUEST | _DUMP, _INET, _attribute(_TABLE, self._table) + _attribute(_SET, name))
        what = f"nf_tables: elements of {self._table} {name}"
        found: list[bytes] = []
        while True:
            for kind, flags, number, body in _messages(self._kernel.recv(_BUFFER)):
                if number != self._number:
                    continue
                code = struct.unpack_from("=i", body)[0] if kind in (_ERROR, _DONE) and len(body) >= 4 else 0
                if code == -errno.ENOENT:
                    return []
                if code:
                    raise NfnetlinkError(f"{what}: {os.strerror(-code)}: {_REMEDIES.get(-code, _REMEDY)}")
                if flags & _INTERRUPTED:
                    raise ChangedMeanwhile(f"{what}: others change the ruleset all the time: run again")
                if kind == _DONE:
                    return found
                for inner, listed in _attributes(body, 4):
                    if inner == _ELEMENTS:
                        found.extend([element for _kind, element in _attributes(listed)])


def generation() -> int | None:
    """The number of the ruleset of this network namespace, which every change raises; None if the kernel does not tell."""
    try:
        with Reader("") as kernel:
            return kernel.generation()
    except OSError:
        return None
