# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Count the requests that get no answer while a service is updated again and again: by this collection, and beside it by the modules for Docker and Podman."""

from __future__ import annotations

import argparse
import os
import pathlib
import sys
import tempfile
import typing as t

from world import World

from ..common.engines import FAILURES, TOP, Engine, failure_text
from ..common.figures import Run, Subject
from ..common.machine import machine
from ..common.report import REPOSITORY, be_program, complete, now, parser, say_failure, write
from ..common.worlds import disk_world, make_archive
from ..converge import engines
from ..converge.plays import OWN, PEERS, Controller
from . import ways
from .figures import Row
from .plot import plot
from .table import table

OURS = "role isolation"
UPDATES, FEW = 20, 3


def measure(name: str, data: str, do: t.Callable[[World], Row]) -> Subject[Row]:
    """One way, in a world of its own. What does not run here is said, and the run goes on."""
    subject: Subject[Row] = Subject(name)
    try:
        with disk_world(data) as world:
            row = do(world)
            subject.rows.append(row)
            print(
                f"bench: {name}: {row.updates} updates, {row.failed} requests without an answer",
                file=sys.stderr,
                flush=True,
            )
    except FAILURES as error:
        subject.failure = failure_text(error)
    say_failure(subject)
    return subject


def measure_engine(engine: Engine, archive: str, folder: pathlib.Path, updates: int) -> Subject[Row]:
    """The same by an engine."""
    if not os.path.exists(engine.program):
        missing = f"{engine.program} is not installed: run tests/tools/bench-packages"
        return Subject(engine.name, [], missing)

    def do(world: World) -> Row:
        engines.prepare(world, engine, archive)
        return ways.theirs(Controller(world, folder, PEERS), engine, updates)

    return measure(engine.name, TOP, do)


def main(arguments: t.Sequence[str]) -> None:
    """Measure, print, write."""
    options: argparse.Namespace = complete(parser(__doc__, "updates").parse_args(arguments))
    archive = make_archive()
    facts = machine("Docker", "Podman", "crun")
    updates = FEW if options.quick else UPDATES
    with tempfile.TemporaryDirectory(prefix="bench-", dir=REPOSITORY / ".build") as name:
        folder = pathlib.Path(name)
        subjects = [
            measure(
                OURS, "/var/lib/isolation", lambda world: ways.ours(Controller(world, folder, OWN), archive, updates)
            )
        ]
        if not (options.quick or options.no_peers):
            subjects += [measure_engine(engine, archive, folder, updates) for engine in engines.ENGINES]
    run = Run(now(), facts, subjects)
    write(options.output, "updates", run, table(run), plot)


if __name__ == "__main__":
    sys.exit(be_program(main))
