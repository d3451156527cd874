# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The helper that restores tables: what it takes for news of a deletion, and the units that start it."""

from __future__ import annotations

import configparser
import socket
import struct

import pytest

from ansible_collections.daemonless.isolation.plugins.module_utils import _paths
from ansible_collections.daemonless.isolation.plugins.module_utils._host import restore as units
from ansible_collections.daemonless.isolation.plugins.module_utils._host.helpers import restore

NEWTABLE, DELTABLE, NEWRULE, DELRULE = (10 << 8 | kind for kind in (0, 2, 6, 8))


def message(kind: int, payload: bytes = b"") -> bytes:
    """One netlink message, padded (netlink(7))."""
    text = struct.pack("=IHHII", 16 + len(payload), kind, 0, 0, 0) + payload
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


def test_all_that_waits_is_taken() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ours, theirs:
        assert not restore.drain(ours)
        for kind in (NEWRULE, DELTABLE, NEWTABLE):
            theirs.send(message(kind))
        assert restore.drain(ours)
        assert not restore.drain(ours)


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
