# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which connections are waited for before a stop, and what is planned for it."""

from __future__ import annotations

import dataclasses
import typing as t

import pytest

from ansible_collections.daemonless.isolation.plugins.module_utils._errors import InvalidOption, IsolationError
from ansible_collections.daemonless.isolation.plugins.module_utils._host import flows
from ansible_collections.daemonless.isolation.plugins.module_utils._service.drain import Drain
from ansible_collections.daemonless.isolation.tests.unit.service.test_plan import but, kinds, one, settled, spec

HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
OWN, OTHER, LOOP = "1100580A", "0100580A", "0100007F"
OWN6, MAPPED = "000080FD000000000000000009000000", "0000000000000000FFFF00000100580A"
LOOP6, ANY, ANY6 = "00000000000000000000000001000000", "00000000", "0" * 32


def table(*rows: tuple[str, int, str, int, str, int]) -> str:
    """A table as of /proc/net/tcp, little-endian."""
    lines = [
        f"   {number}: {local}:{port:04X} {remote}:{other:04X} {state} 00000000:00000000 00:00000000 00000000     0        0 {inode} 1 0\n"
        for number, (local, port, remote, other, state, inode) in enumerate(rows)
    ]
    return HEAD + "".join(lines)


LISTENS = (ANY, 80, ANY, 0, "0A", 7)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ((OWN, 80, OTHER, 40000, "01", 9), 1),
        ((OWN, 80, OTHER, 40000, "01", 0), 1),  # not accepted yet
        ((OWN, 80, OTHER, 40000, "03", 0), 1),
        ((OWN, 80, OTHER, 40000, "04", 0), 1),
        ((OWN, 80, OTHER, 40000, "05", 9), 1),  # half closed: it still reads
        ((OWN, 80, OTHER, 40000, "05", 0), 0),
        ((OWN, 80, OTHER, 40000, "06", 0), 0),
        ((OWN, 80, OTHER, 40000, "08", 9), 1),
        ((OWN, 80, OTHER, 40000, "09", 0), 1),
        ((OWN, 80, OTHER, 40000, "0B", 0), 1),
        ((OWN, 40000, OTHER, 80, "01", 9), 0),  # it is the client
        ((OWN, 80, OWN, 40000, "01", 9), 0),
        ((LOOP, 80, LOOP, 40000, "01", 9), 0),
    ],
)
def test_what_counts(row: tuple[str, int, str, int, str, int], expected: int) -> None:
    assert flows.count([table(LISTENS, row), HEAD]) == expected
    assert flows.count([table(row), HEAD]) == 0, "nobody listens there"


def test_version_6_and_both_through_one_socket() -> None:
    six = table((ANY6, 80, ANY6, 0, "0A", 7), (OWN6, 80, MAPPED, 4000, "01", 8), (LOOP6, 80, LOOP6, 4001, "01", 9))
    assert flows.count([table((OWN, 80, OTHER, 40000, "01", 9)), six]) == 2
    assert flows.count([]) == 0


def test_a_stop_waits_first() -> None:
    world = settled(spec())
    seen = dataclasses.replace(world, connections={"web": 3})
    done = one(spec(state="stopped", drain={"timeout": "5s"}), seen)
    assert kinds(done.steps) == ["SaveRecord", "Boot", "Drain", "Stop"]
    assert [step.waits for step in done.steps if hasattr(step, "waits")] == [True, True]
    assert [change.after for change in done.changes] == [
        "stopped",
        "not started",
        "until nobody is connected, for at most 5s",
    ]
    assert done.result["drained"] == {"seconds": None, "remaining": 3}
    gone = one(spec(state="absent", drain={"timeout": "5s"}), seen)
    assert isinstance(gone.prepare[0], Drain)
    assert gone.result["drained"] == {"seconds": None, "remaining": 3}


@pytest.mark.parametrize("state", ["stopped", "absent"])
def test_what_does_not_run_is_not_waited_for(state: str) -> None:
    world = but(settled(spec()), "web", running=None)
    done = one(spec(state=state, drain={"timeout": "5s"}), world)
    assert not any(isinstance(step, Drain) for step in (*done.prepare, *done.steps))
    assert "drained" not in done.result


@pytest.mark.parametrize("state", ["present", "started", "restarted"])
def test_only_with_a_stop(state: str) -> None:
    with pytest.raises(InvalidOption, match=f"web: drain: only with state: stopped or absent.*with state: {state} new"):
        spec(state=state, drain={"timeout": "5s"})


def test_not_among_others() -> None:
    shared: dict[str, t.Any] = {"namespaces": {"network": "host"}}
    world = settled(spec(**shared))
    with pytest.raises(InvalidOption, match="web: drain: its network namespace is host"):
        spec(**shared, state="stopped", drain={"timeout": "5s"})
    with pytest.raises(IsolationError, match="service web: drain: its network namespace is host"):
        one(spec(state="absent", drain={"timeout": "5s"}), world)
