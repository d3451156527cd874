# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The harness itself: a world leaks nothing, sees its own, and its snapshots notice."""

from __future__ import annotations

import os

from world import CLIENT4, HOST4, HOST6, World, difference


def test_neighbours_reach_the_host(world: World) -> None:
    world.run(["ping", "-c1", "-W2", HOST4], ns="client")
    world.run(["ping", "-c1", "-W2", HOST6], ns="attacker")
    world.run(["ping", "-c1", "-W2", CLIENT4])


def test_snapshot_notices_each_kind(world: World) -> None:
    before = world.snapshot()
    assert difference(before, world.snapshot()) == {}
    world.sh(
        "ip link add probe type bridge; ip addr add 192.0.2.9/32 dev probe; ip link set probe up; ip rule add prio 77 to 192.0.2.0/24 lookup main;"
        "nft add table inet probe; mount -t tmpfs probe /var/log; ip netns add probe; mkdir /sys/fs/cgroup/memory/probe;"
        "sysctl -qw net.ipv4.ip_forward=1; touch /etc/probe"
    )
    assert {"links", "addresses", "routes", "rules", "nft", "mounts", "netns", "cgroups", "sysctls", "files"} <= set(
        difference(before, world.snapshot())
    )


def test_nothing_is_left_behind() -> None:
    with World() as made:
        made.sh("mkdir -p /sys/fs/cgroup/pids/a/b; touch /etc/isolation-probe /var/lib/isolation/probe")
        made.popen(["sleep", "300"])
        tag, pid = made.tag, made.pid
    assert not os.path.exists(f"/proc/{pid}")
    assert not os.path.exists("/etc/isolation-probe")
    assert not any(tag in name for top, names, _files in os.walk("/sys/fs/cgroup") for name in names)
