# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Sockets of the host that wait for connections or packets, and whose they are (proc(5), /proc/net)."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import struct
import typing as t
from dataclasses import dataclass

from .files import read_text
from .process import find_tool, run

_TCP_LISTEN = "0A"
_UDP_UNCONNECTED = "07"
_TABLES = (
    ("tcp", "tcp", _TCP_LISTEN),
    ("tcp6", "tcp", _TCP_LISTEN),
    ("udp", "udp", _UDP_UNCONNECTED),
    ("udp6", "udp", _UDP_UNCONNECTED),
)


@dataclass(frozen=True)
class Listener:
    """A socket that is bound to a port. `user` names the process, as far as it can be found.

    `six_only` is set where `::` is every address of IPv6 alone (ipv6(7), IPV6_V6ONLY).
    """

    protocol: str
    address: str
    port: int
    user: str
    six_only: bool = False


def parse_address(text: str) -> str:
    """An address of /proc/net: 32-bit words in the machine's byte order. Mapped v4 addresses are given as v4."""
    words = [int(text[start : start + 8], 16) for start in range(0, len(text), 8)]
    packed = struct.pack(f"={len(words)}I", *words)
    address = ipaddress.ip_address(packed)
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or address)


def parse_table(text: str, state: str, ports: t.Collection[int]) -> list[tuple[str, int, str]]:
    """Address, port and inode of the sockets in that state at one of the ports, from a table such as /proc/net/tcp. Pure."""
    found = []
    for line in text.splitlines()[1:]:
        fields = line.split()
        address, _sep, port = fields[1].partition(":")
        if fields[3] == state and int(port, 16) in ports:
            found.append((parse_address(address), int(port, 16), fields[9]))
    return found


def parse_sctp(text: str, ports: t.Collection[int]) -> list[tuple[str, int, str]]:
    """The same of /proc/net/sctp/eps, which has a socket's local addresses at the end of its line. Pure."""
    found = []
    for line in text.splitlines()[1:]:
        fields = line.split()
        if len(fields) > 8 and fields[5].isdigit() and int(fields[5]) in ports:
            found += [(address, int(fields[5]), fields[7]) for address in fields[8:]]
    return found


def _users(inodes: t.Collection[str]) -> dict[str, str]:
    """The processes that hold sockets, by the sockets' inodes."""
    wanted = {f"socket:[{inode}]": inode for inode in inodes}
    found: dict[str, str] = {}
    for pid in os.listdir("/proc"):
        if not pid.isdigit() or len(found) == len(wanted):
            continue
        with contextlib.suppress(OSError):
            for descriptor in os.listdir(f"/proc/{pid}/fd"):
                with contextlib.suppress(OSError):
                    inode = wanted.get(os.readlink(f"/proc/{pid}/fd/{descriptor}"))
                    if inode is not None and inode not in found:
                        found[inode] = f"process {pid} ({(read_text(f'/proc/{pid}/comm') or '').strip()})"
    return found


def parse_six_only(text: str) -> set[str]:
    """The inodes of sockets that `ss --extended` says to be of IPv6 alone. Pure."""
    found: set[str] = set()
    for line in text.splitlines():
        words = line.split()
        if "v6only:1" in words:
            found.update(word[len("ino:") :] for word in words if word.startswith("ino:"))
    return found


def _six_only() -> set[str]:
    """The inodes of sockets of IPv6 alone: /proc has no word of it. None are, where ss is missing."""
    if find_tool("ss") is None:
        return set()
    shown = ["--no-header", "--numeric", "--listening", "--extended", "--ipv6"]
    return parse_six_only(run(["ss", *shown, "--tcp", "--udp"], check=False).stdout)


def listeners(ports: t.Collection[int]) -> tuple[Listener, ...]:
    """Sockets of this network namespace at these ports."""
    seen: list[tuple[str, str, int, str]] = []
    for table, protocol, state in _TABLES:
        text = read_text(f"/proc/self/net/{table}") or ""
        seen += [(protocol, *entry) for entry in parse_table(text, state, ports)]
    seen += [("sctp", *entry) for entry in parse_sctp(read_text("/proc/self/net/sctp/eps") or "", ports)]
    users = _users({inode for _protocol, _address, _port, inode in seen}) if seen else {}
    six_only = _six_only() if any(address == "::" for _protocol, address, _port, _inode in seen) else set()
    return tuple(
        Listener(protocol, address, port, users.get(inode, "an unknown process"), inode in six_only)
        for protocol, address, port, inode in seen
    )
