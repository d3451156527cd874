# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Connections that a service has accepted, as the kernel has them in its network namespace (proc(5), /proc/PID/net/tcp)."""

from __future__ import annotations

import ipaddress
import typing as t

from . import proc
from .files import read_text
from .sockets import parse_address

_LISTEN = "0A"
_FIN_WAIT2 = "05"
_OPEN = frozenset({"01", "03", "04", _FIN_WAIT2, "08", "09", "0B"})
"""States in which something may still be on its way (include/net/tcp_states.h): all but those of clients that begin, of listeners, and
of what has ended.
"""


def _rows(text: str) -> t.Iterator[tuple[str, int, str, str, str]]:
    """Local address and port, the other end's address, state and inode of each socket."""
    for line in text.splitlines()[1:]:
        fields = line.split()
        local, _colon, port = fields[1].partition(":")
        yield local, int(port, 16), fields[2].partition(":")[0], fields[3], fields[9]


def _from_inside(local: str, remote: str) -> bool:
    """Whether both ends are in the same network namespace."""
    return local == remote or ipaddress.ip_address(parse_address(remote)).is_loopback


def count(tables: t.Iterable[str]) -> int:
    """The connections from outside to ports that are listened on, from tables such as /proc/net/tcp. Pure.

    Of those that the service has closed and the other end has not (FIN_WAIT2 without an owner), all has arrived.
    """
    rows = [row for text in tables for row in _rows(text)]
    ports = {port for _local, port, _remote, state, _inode in rows if state == _LISTEN}
    return sum(
        port in ports and state in _OPEN and (state, inode) != (_FIN_WAIT2, "0") and not _from_inside(local, remote)
        for local, port, remote, state, inode in rows
    )


def of_process(pid: int) -> int:
    """The connections from outside to ports on which the network namespace of a process listens; none if the process is gone.

    :raises OSError: the kernel does not tell.
    """
    try:
        return count([read_text(f"/proc/{pid}/net/{table}") or "" for table in ("tcp", "tcp6")])
    except OSError:
        if proc.is_alive(pid):
            raise
        return 0
