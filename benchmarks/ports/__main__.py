# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Measure what publishing ports costs: with this collection, and beside it with Docker and Podman, in one run."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import typing as t

from world import World

from ..common.engines import FAILURES, Engine, failure_text
from ..common.figures import Run, Subject
from ..common.machine import PYTHON, machine
from ..common.report import be_program, complete, now, parser, say_failure, write
from . import engines, ours, plot
from .figures import Row
from .ours import Setting
from .table import table

NUMBERS = (1, 100, 1000, 10000)
OURS = "nat_portmap"


def parse(arguments: t.Sequence[str]) -> argparse.Namespace:
    """The options."""
    found = parser(__doc__, "ports")
    found.add_argument("--long", action="store_true", help="Docker and Podman with 1000 ports too; takes minutes")
    found.add_argument(
        "--own-numbers", action="store_true", help="lead each port to the same number of the service, not all to one"
    )
    return complete(found.parse_args(arguments))


def our_setting(number: int, options: argparse.Namespace) -> Setting:
    """How much to repeat: less where once takes long."""
    if options.quick:
        return Setting(1, 3, 300, options.own_numbers)
    return Setting({1: 9, 100: 7, 1000: 5}.get(number, 3), 10, 1000, options.own_numbers)


def engine_setting(number: int, options: argparse.Namespace) -> Setting:
    """As above, for the others, which take long earlier."""
    return Setting({0: 5, 1: 5, 100: 3}.get(number, 1), 10, 1000, options.own_numbers)


def progress(name: str, row: Row) -> None:
    """One line on the standard error stream, so that waiting is not blind."""
    said = f"bench: {name}: {row.ports} ports"
    if row.apply and row.remove:
        said += f": published in {row.apply.median:.3f} s, removed in {row.remove.median:.3f} s"
    print(said, file=sys.stderr, flush=True)


def measure_ours(options: argparse.Namespace) -> Subject[Row]:
    """All numbers of ports, in one world."""
    subject: Subject[Row] = Subject(OURS)
    with World(python=PYTHON, compiled=False) as world:
        ours.prepare(world)
        for number in NUMBERS:
            subject.rows.append(ours.measure(world, number, our_setting(number, options)))
            progress(OURS, subject.rows[-1])
    return subject


def measure_engine(engine: Engine, options: argparse.Namespace) -> Subject[Row]:
    """All numbers of ports, in one world. What does not run here is said, and the run goes on."""
    subject: Subject[Row] = Subject(engine.name)
    if not os.path.exists(engine.program):
        subject.failure = f"{engine.program} is not installed: run tests/tools/bench-packages"
        return subject
    row = Row(0)
    numbers = (0, 1, 100, 1000) if options.long else (0, 1, 100)
    try:
        with World() as world:
            engines.prepare(world, engine)
            for number in numbers:
                row = Row(number)
                subject.rows.append(row)
                engines.measure(world, engine, row, engine_setting(number, options))
                progress(engine.name, row)
    except FAILURES as error:
        step = "remove" if row.apply and isinstance(error, subprocess.TimeoutExpired) else "start"
        subject.failure = f"{step} with {row.ports} ports: {failure_text(error)}"
    say_failure(subject)
    return subject


def main(arguments: t.Sequence[str]) -> None:
    """Measure, print, write."""
    options = parse(arguments)
    facts = machine("nftables", "iptables", "Docker", "Podman", "netavark")
    facts["service"] = "its ports are the published ones" if options.own_numbers else "all ports lead to one of it"
    subjects = [measure_ours(options)]
    if not (options.quick or options.no_peers):
        subjects += [measure_engine(engine, options) for engine in engines.ENGINES]
    run = Run(now(), facts, subjects)
    write(options.output, "ports", run, table(run), plot.plot)


if __name__ == "__main__":
    sys.exit(be_program(main))
