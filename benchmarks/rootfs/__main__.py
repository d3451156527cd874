# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Measure what root filesystems of services cost: with this collection, and beside it with Docker and Podman, in one run."""

from __future__ import annotations

import argparse
import os
import sys
import typing as t

from ..common.engines import FAILURES, TOP, Engine, failure_text
from ..common.figures import Run, Subject
from ..common.machine import machine
from ..common.report import be_program, complete, now, parser, say_failure, write
from ..common.worlds import disk_world, make_archive
from . import engines, ours, plot
from .figures import Row
from .ours import Setting
from .table import table

NUMBERS = (1, 10, 100)
OURS = "rootfs_prepare"


def parse(arguments: t.Sequence[str]) -> argparse.Namespace:
    """The options."""
    return complete(parser(__doc__, "rootfs").parse_args(arguments))


def setting(number: int, options: argparse.Namespace) -> Setting:
    """How much to repeat. The first one takes long and does not depend on how many are to follow."""
    if options.quick:
        return Setting(1, 3)
    return Setting(3 if number == 1 else 1, 9)


def progress(name: str, row: Row) -> None:
    """One line on the standard error stream, so that waiting is not blind."""
    said = f"bench: {name}: {row.services} services"
    if row.one_more:
        said += f": one more in {row.one_more.median:.3f} s"
    print(said, file=sys.stderr, flush=True)


def measure_ours(archive: str, options: argparse.Namespace) -> Subject[Row]:
    """All numbers of services, in one world."""
    subject: Subject[Row] = Subject(OURS)
    with disk_world(ours.DATA) as world:
        for number in NUMBERS:
            subject.rows.append(ours.measure(world, number, archive, setting(number, options)))
            progress(OURS, subject.rows[-1])
    return subject


def measure_engine(engine: Engine, archive: str, options: argparse.Namespace) -> Subject[Row]:
    """All numbers of services, in one world. What does not run here is said, and the run goes on."""
    subject: Subject[Row] = Subject(engine.name)
    if not os.path.exists(engine.program):
        subject.failure = f"{engine.program} is not installed: run tests/tools/bench-packages"
        return subject
    row = Row(0)
    try:
        with disk_world(TOP) as world:
            engines.prepare(world, engine)
            for number in NUMBERS:
                row = Row(number)
                subject.rows.append(row)
                engines.measure(world, engine, row, archive, setting(number, options))
                progress(engine.name, row)
    except FAILURES as error:
        subject.failure = f"with {row.services} services: {failure_text(error)}"
    say_failure(subject)
    return subject


def main(arguments: t.Sequence[str]) -> None:
    """Measure, print, write."""
    options = parse(arguments)
    archive = make_archive()
    facts = machine("Docker", "Podman")
    facts["archive"] = f"{os.path.getsize(archive) / 2**20:.1f} MiB"
    subjects = [measure_ours(archive, options)]
    if not (options.quick or options.no_peers):
        subjects += [measure_engine(engine, archive, options) for engine in engines.ENGINES]
    run = Run(now(), facts, subjects)
    write(options.output, "rootfs", run, table(run), plot.plot)


if __name__ == "__main__":
    sys.exit(be_program(main))
