# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Measure what it costs to start services and to have them: with this collection, and beside it with runtimes and engines, in one run."""

from __future__ import annotations

import argparse
import os
import sys
import typing as t

from ..common.engines import FAILURES, TOP, Engine, failure_text
from ..common.figures import Figure, Run, Subject
from ..common.machine import machine
from ..common.report import be_program, complete, now, parser, say_failure, write
from ..common.worlds import disk_world, make_archive
from . import engines, ours, plot
from .figures import Row
from .ours import Setting
from .table import table

NUMBERS = (1, 10, 50)
OURS = "namespaced_service"


def setting(options: argparse.Namespace) -> Setting:
    """How much to repeat."""
    return Setting(3, 1) if options.quick else Setting(15, 5)


def progress(name: str, row: Row) -> None:
    """One line on the standard error stream, so that waiting is not blind."""
    said = f"bench: {name}: {row.services} services"
    said += f" in {row.fill.median:.2f} s" if row.fill else ""
    print(said, file=sys.stderr, flush=True)


def measure_ours(archive: str, options: argparse.Namespace) -> list[Subject[Row]]:
    """The collection, and what needs its bundle or its root filesystem: the runtimes alone, and systemd-nspawn."""
    how, subject = setting(options), Subject[Row](OURS)
    alone: list[Subject[Row]] = []
    with disk_world(ours.DATA) as world, ours.prepared(world, archive):
        found = ours.starts(world, how.starts)
        for number in NUMBERS if not options.quick else NUMBERS[:2]:
            subject.rows.append(ours.measure(world, number, how))
            progress(OURS, subject.rows[-1])
        subject.rows[0].start = found.pop(OURS)
        alone += [_runtime(name, figure) for name, figure in found.items()]
        if not (options.quick or options.no_peers):
            nspawn = Subject[Row]("systemd-nspawn")
            try:
                nspawn.rows.append(engines.nspawn(world, how.starts))
            except FAILURES as error:
                nspawn.failure = failure_text(error)
            say_failure(nspawn)
            alone.append(nspawn)
    return [subject, *alone]


def _runtime(name: str, figure: Figure | None) -> Subject[Row]:
    return Subject(name, [Row(1, start=figure)])


def measure_engine(engine: Engine, archive: str, options: argparse.Namespace) -> Subject[Row]:
    """All numbers of services, in one world. What does not run here is said, and the run goes on."""
    subject: Subject[Row] = Subject(engine.name)
    if not os.path.exists(engine.program):
        subject.failure = f"{engine.program} is not installed: run tests/tools/bench-packages"
        return subject
    how, row = setting(options), Row(0)
    try:
        with disk_world(TOP) as world:
            own = engines.prepare(world, engine, archive)
            started = engines.starts(world, engine, how.starts)
            for number in NUMBERS:
                row = Row(number, start=started if number == 1 else None, engine=own)
                subject.rows.append(row)
                engines.measure(world, engine, row, how)
                progress(engine.name, row)
    except FAILURES as error:
        subject.failure = f"with {row.services} services: {failure_text(error)}"
    say_failure(subject)
    return subject


def main(arguments: t.Sequence[str]) -> None:
    """Measure, print, write."""
    options = complete(parser(__doc__, "service").parse_args(arguments))
    archive = make_archive()
    facts = machine("Docker", "Podman", "crun", "runc", "systemd-nspawn")
    subjects = measure_ours(archive, options)
    if not (options.quick or options.no_peers):
        subjects += [measure_engine(engine, archive, options) for engine in engines.ENGINES]
    run = Run(now(), facts, subjects)
    write(options.output, "service", run, table(run), plot.plot)


if __name__ == "__main__":
    sys.exit(be_program(main))
