# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Bring our nftables tables back after somebody has flushed the ruleset.

Managed by daemonless.isolation. Why it is there: `nft flush ruleset`, which a restart of nftables.service begins with, deletes
every table of the host, and no tool of the host knows how to restore those of others. isolation-restore.socket listens
on netfilter's netlink group and starts this when any ruleset changes; descriptor 3 is that socket. It stays for as long
as changes keep coming, and a second more, so that a tool which writes a thousand rules starts it once. Nothing is
resident on a quiet host.
"""

from __future__ import annotations

import os
import select
import socket
import struct
import subprocess
import sys
import time
import typing as t

TABLES = {
    "/etc/isolation/bridge.nft": ("inet isolation_bridge", "bridge isolation_bridge"),
    "/etc/isolation/nat.nft": ("inet isolation_nat",),
}
"""What each file brings back. A module that removes a table removes the file first."""

LINGER = 1.0
"""Seconds without news after which it ends."""

PAUSE = 0.1
"""Seconds between two looks, at least."""

_DELETED = 10 << 8 | 2
"""The type of the message that tells of a deleted table: NFNL_SUBSYS_NFTABLES and NFT_MSG_DELTABLE (linux/netfilter)."""

_ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}


def tells_of_deletion(data: bytes) -> bool:
    """Whether a datagram of netlink messages (netlink(7)) has one about a deleted table."""
    offset = 0
    while offset + 16 <= len(data):
        length, kind = struct.unpack_from("=IH", data, offset)
        if kind == _DELETED:
            return True
        offset += max(16, (length + 3) & ~3)
    return False


def drain(news: socket.socket) -> bool:
    """Take all messages that wait; whether a table may be gone. Lost messages (ENOBUFS) may have told so."""
    found = False
    while True:
        try:
            found = tells_of_deletion(news.recv(1 << 18, socket.MSG_DONTWAIT)) or found
        except BlockingIOError:
            return found
        except OSError:
            found = True


def tell(text: str) -> None:
    """A line for the journal."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def _nft(*arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["nft", *arguments], input=text, capture_output=True, text=True, env=_ENVIRONMENT, check=False
    )


def missing() -> list[str]:
    """The files whose tables are not all there."""
    listed = set(_nft("list", "tables").stdout.splitlines())
    return [
        path
        for path, tables in TABLES.items()
        if os.path.exists(path) and any(f"table {table}" not in listed for table in tables)
    ]


def restore() -> bool:
    """Load what is missing as one transaction; False if nft refused it."""
    paths = missing()
    if not paths:
        return True
    done = _nft("-f", "-", text="".join(f'include "{path}"\n' for path in paths))
    if done.returncode == 0:
        tell(f"restored {', '.join(paths)}")
        return True
    # A file that has just gone belongs to a module that removes its table.
    if missing():
        tell(f"{', '.join(paths)}: nft refused: {done.stderr.strip()}: apply the collection's modules again")
        return False
    return True


def main(arguments: t.Sequence[str]) -> int:
    """Look at once, then after each deletion, until it is quiet."""
    if arguments:
        tell(f"usage: {sys.argv[0]}, started by isolation-restore.socket")
        return 2
    news = socket.socket(fileno=3)
    sound = True
    look = True
    drain(news)
    while look or select.select([news], [], [], LINGER)[0]:
        if drain(news) or look:
            sound = restore() and sound
        look = False
        time.sleep(PAUSE)
    return 0 if sound else 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
