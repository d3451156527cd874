# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Services that start after others: by a task, and when the host comes up."""

from __future__ import annotations

from services import Host, end_supervisor


def test_by_a_task_and_at_boot(host: Host) -> None:
    world = host.world
    for name in ("web", "db"):
        host.rootfs(name)
    web, db = host.options("web", requires=["db"]), host.options("db")
    both = world.cycle("namespaced_service", aggregate=[web, db])
    assert [entry["name"] for entry in both["results"]] == ["web", "db"], "results are as given"
    first = {entry["name"]: entry["service"] for entry in both["results"]}
    began = {name: world.sh(f"stat -c %Y.%y /proc/{first[name]['pid']} | cut -d. -f1,3") for name in first}
    assert began["db"] <= began["web"]

    end_supervisor(world)
    world.wait(lambda: host.see("web")["pid"] is None, 20, "all have ended")
    world.sh("touch /etc/isolation/runit/sv/db/down")
    host.supervise()
    failing = world.wait(lambda: host.see("web")["pid"] is None and host.see("db")["pid"] is None, 20, "neither runs")
    assert failing
    world.sh("rm /etc/isolation/runit/sv/db/down; until sv up /etc/isolation/runit/sv/db; do sleep 0.2; done")
    world.wait(lambda: host.see("web")["state"] == "started", 30, "the other one has come up")

    world.sh("sv down /etc/isolation/runit/sv/db")
    world.wait(lambda: host.see("db")["pid"] is None, 20, "it has ended")
    assert host.see("web")["state"] == "started", "what runs is left running"


def test_what_can_not_be_waited_for(host: Host) -> None:
    host.run("web")
    assert "there is no service nothing" in host.world.refused(
        "namespaced_service", **host.options("web", after=["nothing"])
    )
    host.rootfs("db")
    aggregate = [host.options("web", after=["db"]), host.options("db", requires=["web"])]
    assert "they would wait for each other" in host.world.refused("namespaced_service", aggregate=aggregate)
