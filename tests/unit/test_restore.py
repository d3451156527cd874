# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The helper that restores tables: what it takes for news of a deletion, and the units that start it."""

from __future__ import annotations

import configparser
import socket
import struct
import threading
import typing as t

import pytest

from ansible_collections.daemonless.isolation.plugins.module_utils import _paths
from ansible_collections.daemonless.isolation.plugins.module_utils._host import restore as units
from ansible_collections.daemonless.isolation.plugins.module_utils._host.helpers import restore

NEWTABLE, DELTABLE, NEWRULE, DELRULE = (10 << 8 | kind for kind in (0, 2, 6, 8))


def message(kind: int, payload: bytes = b"", flags: int = 0, sequence: int = 0) -> bytes:
    """One netlink message, padded (netlink(7))."""
    text = struct.pack("=IHHII", 16 + len(payload), kind, flags, sequence, 0) + payload
    return text + bytes(-len(text) % 4)


@pytest.mark.parametrize("payload", [b"", b"\x02\0\0\1", b"odd"])
def test_a_deletion_is_found_wherever_it_stands(payload: bytes) -> None:
    others = message(NEWRULE, payload) + message(NEWTABLE, payload)
    deletion = message(DELTABLE, payload)
    for data in (deletion, others + deletion, deletion + others, others + deletion + others):
        assert restore.tells_of_deletion(data)
    assert not restore.tells_of_deletion(others + message(DELRULE, payload))


@pytest.mark.parametrize("data", [b"", b"\x0a\x02", bytes(15), bytes(64), message(NEWRULE)[:17] + b"\x02\x0a"])
def test_what_is_no_message_is_no_deletion(data: bytes) -> None:
    """A length of zero ends nowhere, and is passed over."""
    assert not restore.tells_of_deletion(data)


@pytest.fixture
def news(monkeypatch: pytest.MonkeyPatch) -> t.Iterator[socket.socket]:
    """The other end of what the helper takes for its socket."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ours, theirs:
        ours.setblocking(False)
        monkeypatch.setattr(restore, "NEWS", ours.fileno())
        yield theirs


def test_all_that_waits_is_taken(news: socket.socket) -> None:
    assert not restore.drain()
    for kind in (NEWRULE, DELTABLE, NEWTABLE):
        news.send(message(kind))
    assert restore.drain()
    assert not restore.drain()


NAT = b"\x01\0\0\0" + b"\x12\0\x01\0isolation_nat\0\0\0"
OTHER = b"\x02\0\0\0" + b"\x08\0\x02\0\0\0\0\0" + b"\x08\0\x01\0nat\0"


def ask(news: socket.socket, *answers: t.Callable[[int], bytes]) -> set[tuple[int, str]] | None:
    """What the helper makes of answers to its request, each made from the request's sequence number."""

    def answer() -> None:
        sequence = struct.unpack_from("=I", news.recv(64), 8)[0]
        news.send(b"".join(one(sequence) for one in answers))

    thread = threading.Thread(target=answer)
    thread.start()
    try:
        return restore.tables()
    finally:
        thread.join()


def part(kind: int, payload: bytes = b"", flags: int = 2) -> t.Callable[[int], bytes]:
    return lambda sequence: message(kind, payload, flags, sequence)


def test_tables_are_listed(news: socket.socket) -> None:
    rule = message(NEWRULE)
    listed = ask(news, part(NEWTABLE, NAT), lambda _sequence: rule, part(NEWTABLE, OTHER), part(3, bytes(4)))
    assert listed == {(1, "isolation_nat"), (2, "nat")}


@pytest.mark.parametrize(
    "answers",
    [
        [part(2, bytes(20), 0)],
        [part(NEWTABLE, NAT, 2 | 0x10), part(3, bytes(4))],
        [part(NEWTABLE, NAT), lambda _sequence: message(DELTABLE, NAT), part(3, bytes(4))],
    ],
    ids=["error", "interrupted", "deleted meanwhile"],
)
def test_a_list_that_may_be_wrong_is_none(news: socket.socket, answers: list[t.Callable[[int], bytes]]) -> None:
    assert ask(news, *answers) is None


def test_units() -> None:
    """The socket is bound to the group of nf_tables, and no burst of news disables it; the helper is isolated from its surroundings."""
    texts = {path: text for path, (text, _mode) in units.files().items()}
    assert all(_paths.MARKER in text for text in texts.values())
    parser = configparser.ConfigParser(strict=True)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(texts[f"{_paths.UNITS}/{units.SOCKET}"])
    assert dict(parser["Socket"]) == {"ListenNetlink": f"netfilter {1 << (7 - 1)}", "TriggerLimitIntervalSec": "0"}
    service = texts[f"{_paths.UNITS}/{units.SERVICE}"]
    assert f"ExecStart={units.HELPER}\n" in service
    assert "StartLimitIntervalSec=0\n" in service
    assert texts[units.HELPER].splitlines()[0].endswith(" -IS")


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


OWN, FAR, OWN6, FAR6 = bytes([192, 0, 2, 1]), bytes([192, 0, 2, 9]), b"\xfd" + bytes(15), b"\xfe" + bytes(15)


@pytest.mark.parametrize(
    ("status", "source", "target", "goes"),
    [
        (0x8, FAR, OWN, True),
        (0x8 | 0x2, FAR, OWN, False),
        (0x8 | 0x10, FAR, OWN, False),
        (0x8 | 0x20, FAR, OWN, False),
        (0x8, FAR6, FAR6, True),
        (0x8, OWN, OWN, True),
        (0x8, OWN, FAR, False),
        (0x8, OWN6, FAR6, False),
    ],
)
def test_connections_that_began_in_vain(status: int, source: bytes, target: bytes, goes: bool) -> None:
    """Unanswered and untranslated ones go, each by its own tuple, number and zone. What the host has asked elsewhere does not."""
    head, number, zone = b"\x0a\0\0\0", b"\0\0\0\7", b"\0\3"
    first = 3 if len(source) == 16 else 1
    ends = attribute(first, source) + attribute(first + 1, target)
    flow = attribute(1 | 0x8000, ends) + attribute(2 | 0x8000, attribute(1, b"\x11"))
    told = attribute(1 | 0x8000, flow) + attribute(2 | 0x8000, b"answer") + attribute(3, struct.pack(">I", status))
    order = restore.order_to_forget(head + told + attribute(12, number) + attribute(18, zone), {OWN, OWN6})
    if not goes:
        assert order == b""
        return
    (kind, flags, _sequence, payload), *others = restore.messages(order)
    assert (kind, flags, others) == (1 << 8 | 2, 1, [])
    assert payload[:4] == head
    assert restore.attributes(payload, 4) == {1: flow, 12: number, 18: zone}


def test_own_addresses() -> None:
    """This machine has its loopback addresses at least."""
    assert bytes([127, 0, 0, 1]) in restore.own_addresses()
