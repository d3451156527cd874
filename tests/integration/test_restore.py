# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The helper that restores tables after a flush (F5), with a socket as systemd would hand it over."""

from __future__ import annotations

import sys
import time

from world import COLLECTIONS, World

HELPER = COLLECTIONS / "ansible_collections/daemonless/isolation/plugins/module_utils/_host/helpers/restore.py"

LAUNCHER = """
import os, select, socket, subprocess, sys
s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)
s.bind((0, 64))
os.dup2(s.fileno(), 3)
print("listening", flush=True)
while True:
    select.select([3], [], [])
    print("started", flush=True)
    subprocess.run([sys.executable, "-IS", sys.argv[1]], pass_fds=[3])
"""


def listen(world: World) -> None:
    """Start the helper whenever the ruleset changes, as the socket unit does; it ends with the world."""
    world.popen(["sh", "-c", 'exec "$@" >/run/restore.log 2>&1', "sh", sys.executable, "-c", LAUNCHER, str(HELPER)])
    world.wait(lambda: "listening" in told(world), 5, "the socket")


def told(world: World) -> str:
    """What the helper has said, and how often it was started."""
    return world.sh("cat /run/restore.log 2>/dev/null || true")


def prepare(world: World) -> None:
    world.apply("bridge", name="iso0", addresses=["10.88.0.1/24", "fd88::1/64"])
    world.apply("nat_portmap", name="web", mappings=[{"host_port": 80, "address": "10.88.0.2"}])


def tables(world: World) -> list[str]:
    """The ruleset; the order of tables is that in which they were made."""
    return sorted(world.sh("nft -s list ruleset").splitlines())


def test_restored(world: World) -> None:
    """Flush after flush, everything is back in a moment, and a module finds nothing to do."""
    prepare(world)
    before = tables(world)
    listen(world)
    for pause in (0.0, 0.0, 0.3, 1.5):
        world.sh("nft flush ruleset")
        flushed = time.monotonic()
        world.wait(lambda: tables(world) == before, 2, "the tables")
        assert time.monotonic() - flushed < 1
        time.sleep(pause)
    assert not world.apply("nat_portmap", name="web", mappings=[{"host_port": 80, "address": "10.88.0.2"}])["changed"]
    # By one table only.
    world.sh("nft delete table bridge isolation_bridge")
    world.wait(lambda: tables(world) == before, 2, "the table")


def test_removed_for_good(world: World) -> None:
    """What a module removes stays removed."""
    clean = tables(world)
    prepare(world)
    listen(world)
    world.apply("nat_portmap", name="web", state="absent")
    world.apply("bridge", name="iso0", state="absent")
    time.sleep(1.5)
    assert tables(world) == clean


def test_storm(world: World) -> None:
    """Another tool that writes many rules, one by one, starts the helper once, and it does not look at each."""
    prepare(world)
    listen(world)
    world.sh(
        "nft add table inet other; nft add chain inet other c; for i in $(seq 200); do nft add rule inet other c counter; done"
    )
    time.sleep(1.5)
    world.sh("nft delete table inet other")
    world.wait(lambda: "table inet other {" not in tables(world), 1)
    assert 1 <= told(world).count("started") <= 3


def test_refused(world: World) -> None:
    """A file that nft refuses is told once, and not tried again and again."""
    prepare(world)
    listen(world)
    world.sh("echo nonsense >>/etc/isolation/nat.nft; nft flush ruleset")
    time.sleep(2)
    assert 1 <= told(world).count("nft refused") <= 2
    assert "nat.nft" in told(world)
