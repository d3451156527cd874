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

# No socket, subprocess or typing: loading them takes longer than all that is done here, and ports are away meanwhile.
import os
import select
import struct
import sys
import time

INET, BRIDGE = 1, 7
"""Families of tables (NFPROTO_INET and NFPROTO_BRIDGE, linux/netfilter.h)."""

TABLES = {
    "/etc/isolation/bridge.nft": ((INET, "isolation_bridge"), (BRIDGE, "isolation_bridge")),
    "/etc/isolation/nat.nft": ((INET, "isolation_nat"),),
}
"""What each file brings back. A module that removes a table removes the file first."""

NEWS = 3
"""The descriptor of the socket, as systemd hands it over (sd_listen_fds(3)). It takes requests, too."""

LINGER = 1.0
"""Seconds without news after which it ends."""

PAUSE = 0.1
"""Seconds between two looks, at least."""

_NEW, _GET, _DELETED = (10 << 8 | kind for kind in (0, 1, 2))
"""Types of messages about tables: NFNL_SUBSYS_NFTABLES, and NFT_MSG_NEWTABLE and the like (linux/netfilter)."""

_ERROR, _DONE = 2, 3
_REQUEST, _DUMP, _MULTI, _INTERRUPTED = 0x1, 0x300, 0x2, 0x10
"""Types and flags of netlink itself (linux/netlink.h)."""

_TABLE_NAME = 1

_FLOWS, _FORGET = (1 << 8 | kind for kind in (1, 2))
"""Messages about tracked connections: NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_GET and _DELETE (linux/netfilter)."""

_TUPLE, _STATUS, _ID, _ZONE = 1, 3, 12, 18
"""Attributes of a tracked connection (enum ctattr_type)."""

_ENDS = 1
_SIDES = ((1, 3), (2, 4))
"""The addresses of a tuple: source and destination, each of IPv4 and of IPv6 (enum ctattr_tuple, enum ctattr_ip)."""

_SETTLED = 0x2 | 0x10 | 0x20
"""Seen reply, translated source, translated destination (enum ip_conntrack_status)."""

_ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}


def tell(text: str) -> None:
    """A line for the journal."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def messages(data: bytes) -> list[tuple[int, int, int, bytes]]:
    """Type, flags, sequence number and payload of each message in a datagram (netlink(7))."""
    found, offset = [], 0
    while offset + 16 <= len(data):
        length, kind, flags, sequence = struct.unpack_from("=IHHI", data, offset)
        found.append((kind, flags, sequence, data[offset + 16 : offset + length]))
        offset += max(16, (length + 3) & ~3)
    return found


def tells_of_deletion(data: bytes) -> bool:
    """Whether a datagram has a message about a deleted table."""
    return any(message[0] == _DELETED for message in messages(data))


def drain() -> bool:
    """Take all messages that wait; whether a table may be gone. Lost messages (ENOBUFS) may have told so."""
    found = False
    while True:
        try:
            found = tells_of_deletion(os.read(NEWS, 1 << 18)) or found
        except BlockingIOError:
            return found
        except OSError:
            found = True


def attributes(data: bytes, offset: int = 0) -> dict[int, bytes]:
    """Each attribute by its number: its value, without the header."""
    found = {}
    while offset + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, offset)
        found[kind & 0x3FFF] = data[offset + 4 : offset + length]
        offset += max(4, (length + 3) & ~3)
    return found


def table(payload: bytes) -> tuple[int, str]:
    """The family and the name in a message about a table: a struct nfgenmsg, then attributes."""
    name = attributes(payload, 4).get(_TABLE_NAME, b"")
    return payload[0] if payload else 0, name.rstrip(b"\0").decode(errors="replace")


def tables() -> set[tuple[int, str]] | None:
    """All tables of the host, as the kernel lists them: in a hundredth of the time that nft takes.

    None if the list is of no use, since the ruleset changed meanwhile, or messages were lost.
    """
    sequence = time.monotonic_ns() & 0x7FFFFFFF
    os.write(NEWS, struct.pack("=IHHIIBBH", 20, _GET, _REQUEST | _DUMP, sequence, 0, 0, 0, 0))
    found: set[tuple[int, str]] = set()
    sound = True
    while select.select([NEWS], [], [], LINGER)[0]:
        try:
            data = os.read(NEWS, 1 << 18)
        except OSError:
            return None
        for kind, flags, number, payload in messages(data):
            if number == sequence and kind == _ERROR:
                return None
            if number != sequence or not flags & _MULTI:
                sound = sound and kind != _DELETED  # news, not a part of the list
                continue
            sound = sound and not flags & _INTERRUPTED
            if kind == _DONE:
                return found if sound else None
            if kind == _NEW:
                found.add(table(payload))
    return None


def missing() -> list[str]:
    """The files whose tables are not all there; all files if that can't be found out, for each can be loaded again."""
    listed = None
    for _attempt in range(3):
        listed = tables()
        if listed is not None:
            break
    return [path for path, ours in TABLES.items() if os.path.exists(path) and not (listed or set()).issuperset(ours)]


def load(text: str) -> tuple[bool, str]:
    """Have nft load a script as one transaction: whether it did, and what it said."""
    script, feed = os.pipe()
    answer, complaint = os.pipe()
    actions = [(os.POSIX_SPAWN_DUP2, script, 0), (os.POSIX_SPAWN_DUP2, complaint, 2)]
    process = os.posix_spawnp("nft", ["nft", "-f", "-"], _ENVIRONMENT, file_actions=actions)
    os.close(script)
    os.close(complaint)
    with open(feed, "w", encoding="utf-8") as stream:
        stream.write(text)
    with open(answer, encoding="utf-8", errors="replace") as stream:
        told = stream.read()
    _process, status = os.waitpid(process, 0)
    return status == 0, told.strip()


def own_addresses() -> set[bytes]:
    """All addresses of the host, packed (proc(5), net/if_inet6; net/fib_trie tells those of IPv4 by their routes)."""
    found, last = set(), ""
    if os.path.exists("/proc/net/if_inet6"):
        with open("/proc/net/if_inet6", encoding="ascii") as stream:
            found = {bytes.fromhex(line.split()[0]) for line in stream}
    with open("/proc/net/fib_trie", encoding="ascii") as stream:
        for line in stream:
            words = line.split()
            if words[:1] == ["|--"]:
                last = words[1]
            elif words == ["/32", "host", "LOCAL"]:
                found.add(bytes(map(int, last.split("."))))
    return found


def order_to_forget(payload: bytes, own: set[bytes]) -> bytes:
    """From a message about a tracked connection the one that deletes it; empty if it is to stay.

    It stays if it is translated or was answered, or leads from the host elsewhere: an answer to it would be taken for
    something new by the host's own firewall.
    """
    found = attributes(payload, 4)
    if struct.unpack(">I", found.get(_STATUS, bytes(4)))[0] & _SETTLED:
        return b""
    ends = attributes(attributes(found.get(_TUPLE, b"")).get(_ENDS, b""))
    source, target = (ends.get(four, ends.get(six, b"")) for four, six in _SIDES)
    if source in own and target not in own:
        return b""
    body = payload[:4]
    for kind in (_TUPLE, _ID, _ZONE):
        if kind in found:
            nested = 0x8000 if kind == _TUPLE else 0
            body += struct.pack("=HH", 4 + len(found[kind]), kind | nested) + found[kind] + bytes(-len(found[kind]) % 4)
    return struct.pack("=IHHII", 16 + len(body), _FORGET, _REQUEST, 0, 0) + body


def forget() -> None:
    """Forget connections that began in vain while the tables were away: the next packet of each is tracked anew.

    The host's own ruleset, which a restart of nftables.service loads first, may have had them tracked. A tracked connection
    keeps the translation of its first packet, or none, for as long as somebody sends.
    """
    import socket  # Only here, since ports are back.

    try:
        own = own_addresses()
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12) as kernel:
            kernel.settimeout(LINGER)
            kernel.send(struct.pack("=IHHIIBBH", 20, _FLOWS, _REQUEST | _DUMP, 1, 0, 0, 0, 0))
            orders: list[bytes] = []
            listing = True
            while listing:
                for kind, _flags, _number, payload in messages(kernel.recv(1 << 18)):
                    listing = listing and kind not in (_DONE, _ERROR)
                    if kind == 1 << 8:
                        orders.append(order_to_forget(payload, own))
            for order in filter(None, orders):
                kernel.send(order)
    except OSError as error:
        tell(f"connections that began meanwhile may go nowhere until they pause: {error}")


def restore() -> bool:
    """Load what is missing as one transaction; False if nft refused it."""
    paths = missing()
    if not paths:
        return True
    try:
        loaded, told = load("".join(f'include "{path}"\n' for path in paths))
    except OSError as error:
        loaded, told = False, f"it can't be started: {error.strerror}"
    if loaded:
        tell(f"restored {', '.join(paths)}")
        forget()
        return True
    # A file that has just gone belongs to a module that removes its table.
    if missing():
        tell(f"{', '.join(paths)}: nft refused: {told}: apply the collection's modules again")
        return False
    return True


def main(arguments: list[str]) -> int:
    """Look at once, then after each deletion, until it is quiet."""
    if arguments:
        tell(f"usage: {sys.argv[0]}, started by isolation-restore.socket")
        return 2
    os.set_blocking(NEWS, False)
    os.set_inheritable(NEWS, False)
    sound = True
    look = True
    drain()
    while look or select.select([NEWS], [], [], LINGER)[0]:
        if drain() or look:
            sound = restore() and sound
        look = False
        time.sleep(PAUSE)
    return 0 if sound else 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
