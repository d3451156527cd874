# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The pure parts of the benchmarks."""

from __future__ import annotations

import pytest

from ansible_collections.daemonless.isolation.benchmarks.common.figures import Figure, Run, Subject
from ansible_collections.daemonless.isolation.benchmarks.converge import figures as converge
from ansible_collections.daemonless.isolation.benchmarks.converge.table import table as converge_table
from ansible_collections.daemonless.isolation.benchmarks.ports.figures import Latency, Row
from ansible_collections.daemonless.isolation.benchmarks.ports.scatter import scattered
from ansible_collections.daemonless.isolation.benchmarks.ports.table import table
from ansible_collections.daemonless.isolation.benchmarks.rootfs import figures as rootfs
from ansible_collections.daemonless.isolation.benchmarks.rootfs.table import table as rootfs_table
from ansible_collections.daemonless.isolation.benchmarks.service import figures as service
from ansible_collections.daemonless.isolation.benchmarks.service.table import table as service_table
from ansible_collections.daemonless.isolation.benchmarks.updates import figures as updates
from ansible_collections.daemonless.isolation.benchmarks.updates.table import table as updates_table


@pytest.mark.parametrize("number", [0, 1, 2, 100, 1000, 10000])
def test_scattered(number: int) -> None:
    """As many as asked for, valid, and no two of them make a range."""
    ports = scattered(number)
    assert len(set(ports)) == number
    assert all(1024 <= port <= 65535 for port in ports)
    assert all(after - before > 1 for before, after in zip(ports, ports[1:]))


def test_figure() -> None:
    """The median and the extremes; nothing of nothing."""
    assert Figure.of([]) is None
    assert Figure.of([3.0, 1.0, 100.0]) == Figure(median=3.0, low=1.0, high=100.0, count=3)


def test_table() -> None:
    """Every figure stands in its column, what was not measured is empty, and a failure is told."""
    ours = Row(
        100,
        apply=Figure.of([0.25]),
        change=Figure.of([12.34]),
        rules=69,
        kernel_bytes=Figure.of([2048]),
        processes=0,
        latency=Latency(40, 50, 41, 51, Figure(1.025, 1.01, 1.04, 10), 10000),
        cpu={"publish": Figure(1.5, 1, 2, 3)},
    )
    theirs = Row(100, apply=Figure.of([2.0]), processes=200, proxy_pss=150 * 2**20)
    run = Run("today", {"memory": "1 GiB"}, [Subject("ours", [ours]), Subject("theirs", [theirs], "broken")])
    first, second, third = (block.splitlines() for block in table(run).split("\n\n")[:3])
    heading, _rule, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in first]
    found = [dict(zip(heading, row)) for row in rows]
    assert found[0]["publish, s"] == "0.250"
    assert found[0]["change one, s"] == "12.3"
    assert found[0]["again, s"] == ""
    assert found[0]["kernel memory"] == "2 KiB"
    assert found[0]["connect first → last, µs"] == "40.0 → 41.0"
    assert found[0]["last / first"] == "1.02 (1.01 to 1.04)"
    assert (found[1]["processes"], found[1]["their memory"]) == ("200", "150.0 MiB")
    assert second[0].split() == ["|", "processor", "time,", "s", "|", "ports", "|", "publish", "|"]
    assert third == ["Not measured:"]
    assert "* theirs: broken" in table(run)


def test_rootfs_table() -> None:
    """The same of root filesystems; sizes are told in the unit that suits them."""
    row = rootfs.Row(
        10, one_more=Figure.of([0.1, 0.2, 0.3]), image=60 * 2**20, each=24 * 2**10, touched=9, touched_by_mount=0,
        cpu={"one more": Figure(0.15, 0.1, 0.2, 3)},
    )  # fmt: skip
    run = Run("today", {}, [Subject("ours", [row]), Subject[rootfs.Row]("theirs", [], "broken")])
    first, second = (block.splitlines() for block in rootfs_table(run).split("\n\n")[:2])
    heading, _rule, cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in first]
    found = dict(zip(heading, cells))
    assert found["one more, s"] == "0.200"
    assert (found["image"], found["disk for each"]) == ("60.0 MiB", "24 KiB")
    assert (found["touched by one more"], found["touched by the mount"]) == ("9", "0")
    assert found["again, s"] == ""
    assert second[-1].split() == ["|", "ours", "|", "10", "|", "0.150", "|"]
    assert "* theirs: broken" in rootfs_table(run)


def test_service_table() -> None:
    """The same of services."""
    row = service.Row(
        50, start=Figure.of([0.02, 0.03, 0.04]), fill=Figure.of([6.5]), beside=256 * 2**10, processes=2, engine=0
    )
    run = Run("today", {}, [Subject("ours", [row]), Subject[service.Row]("theirs", [], "broken")])
    heading, _rule, cells = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in service_table(run).split("\n\n", maxsplit=1)[0].splitlines()
    ]
    found = dict(zip(heading, cells))
    assert (found["way"], found["services"]) == ("ours", "50")
    assert (found["start to service, s"], found["all of them, s"], found["again, s"]) == ("0.030", "6.50", "")
    assert (found["beside each, MB"], found["processes beside each"], found["engine, MB"]) == ("0.25", "2", "0.00")
    assert "* theirs: broken" in service_table(run)


def test_converge_table() -> None:
    """The same of whole playbooks: wall clock and processor time of one host, and of several what each of them costs."""

    def figures(*values: float) -> dict[str, Figure]:
        return {step: Figure(value, value, value, 1) for step, value in zip(converge.STEPS, values)}

    one = converge.Row(50, wall=figures(18, 3.5, 4.5, 7), cpu=figures(12, 3, 4, 5))
    many = converge.Row(5, 20, over_ssh=True, wall=figures(80, 30), cpu=figures(40, 10))
    subjects = [
        Subject("ours", [one]),
        Subject[converge.Row]("theirs", [converge.Row(10)], "broken"),
        Subject("over ssh", [many]),
    ]
    text = converge_table(Run("today", {}, subjects))
    wall, cpu, fleet = (
        [[cell.strip() for cell in line.strip("|").split("|")] for line in block.splitlines()]
        for block in text.split("\n\n")[:3]
    )
    assert wall[0] == ["way", "services", "first, s", "again, s", "change of one, s", "remove, s"]
    assert wall[2:] == [["ours", "50", "18.0", "3.50", "4.50", "7.00"], ["theirs", "10", "", "", "", ""]]
    assert cpu[2] == ["ours", "50", "12.0", "3.00", "4.00", "5.00"]
    assert fleet[2:] == [["over ssh", "20", "5", "80.0", "4.00", "2.00", "30.0", "1.50", "0.500"]]
    assert "* theirs: broken" in text


def test_updates_table() -> None:
    """Requests without an answer are refused ones and lost ones together; what was not measured divides nothing."""
    row = updates.Row(4, Figure.of([8.0]), answered=100, closed=3, refused=5, lost=1)
    run = Run("today", {}, [Subject("ours", [row, updates.Row(0)]), Subject[updates.Row]("theirs", [], "broken")])
    heading, _rule, first, second = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in updates_table(run).split("\n\n", maxsplit=1)[0].splitlines()
    ]
    found = dict(zip(heading, first))
    assert (found["refused"], found["lost"], found["without an answer for each update"]) == ("5", "1", "1.5")
    assert (found["one update, s"], found["closed"]) == ("8.00", "3")
    assert dict(zip(heading, second))["without an answer for each update"] == ""
    assert "* theirs: broken" in updates_table(run)
