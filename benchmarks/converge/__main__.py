# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Measure whole runs of ansible-playbook: with this collection, beside it with the modules for Docker and Podman, and over ssh on several hosts."""

from __future__ import annotations

import argparse
import os
import pathlib
import sys
import tempfile
import typing as t

from ..common.engines import FAILURES, TOP, Engine, failure_text
from ..common.figures import Run, Subject
from ..common.machine import machine
from ..common.report import REPOSITORY, be_program, complete, now, parser, say_failure, write
from ..common.worlds import disk_world, make_archive
from . import engines, fleet, ours, plot
from .figures import Row
from .ours import Setting
from .plays import OWN, PEERS, Controller
from .table import table

NUMBERS = (1, 10, 50)
HOSTS = (1, 5, 10, 20)
OURS, FLEET = "role isolation", "role isolation, over ssh"


def setting(number: int, options: argparse.Namespace, own: bool) -> Setting:
    """How much to repeat. Ten containers or more take the others long enough."""
    if options.quick or (number > 1 and not own):
        return Setting(1, 1)
    return Setting(1, 5 if own else 2)


def progress(name: str, row: Row) -> None:
    """One line on the standard error stream, so that waiting is not blind."""
    steps = ", ".join(f"{step} {figure.median:.1f} s" for step, figure in row.wall.items())
    print(f"bench: {name}: {row.hosts} hosts, {row.services} services: {steps}", file=sys.stderr, flush=True)


def measure_ours(archive: str, folder: pathlib.Path, options: argparse.Namespace) -> Subject[Row]:
    """All numbers of services, on one host that is its own controller."""
    subject: Subject[Row] = Subject(OURS)
    with disk_world("/var/lib/isolation") as world:
        controller = Controller(world, folder, OWN)
        controller.play(ours.TEARDOWN, {})  # compiles what is imported
        for number in NUMBERS:
            subject.rows.append(ours.measure(controller, number, archive, setting(number, options, True)))
            progress(OURS, subject.rows[-1])
    return subject


def measure_engine(engine: Engine, archive: str, folder: pathlib.Path, options: argparse.Namespace) -> Subject[Row]:
    """The same of an engine. What does not run here is said, and the run goes on."""
    subject: Subject[Row] = Subject(engine.name)
    if not os.path.exists(engine.program):
        subject.failure = f"{engine.program} is not installed: run tests/tools/bench-packages"
        return subject
    row = Row(0)
    try:
        with disk_world(TOP) as world:
            engines.prepare(world, engine, archive)
            controller = Controller(world, folder, PEERS)
            for number in NUMBERS:
                row = Row(number)
                subject.rows.append(row)
                engines.measure(controller, engine, row, setting(number, options, False))
                progress(engine.name, row)
    except FAILURES as error:
        subject.failure = f"with {row.services} services: {failure_text(error)}"
    say_failure(subject)
    return subject


def measure_fleet(archive: str, folder: pathlib.Path, options: argparse.Namespace) -> Subject[Row]:
    """All numbers of hosts."""
    subject: Subject[Row] = Subject(FLEET)
    if not os.path.exists(fleet.SSHD):
        subject.failure = f"{fleet.SSHD} is not installed: run tests/tools/bench-packages"
        return subject
    numbers = HOSTS[:2] if options.quick else HOSTS
    row = Row(0)
    try:
        for number in numbers:
            row = Row(fleet.SERVICES, number, over_ssh=True)
            with tempfile.TemporaryDirectory(dir=folder) as own, fleet.fleet(number, pathlib.Path(own)) as made:
                subject.rows.append(fleet.measure(made, archive, row))
            progress(FLEET, row)
    except FAILURES as error:
        subject.failure = f"with {row.hosts} hosts: {failure_text(error)}"
    say_failure(subject)
    return subject


def main(arguments: t.Sequence[str]) -> None:
    """Measure, print, write."""
    options = complete(parser(__doc__, "converge").parse_args(arguments))
    archive = make_archive()
    facts = machine("Docker", "Podman", "crun")
    with tempfile.TemporaryDirectory(prefix="bench-", dir=REPOSITORY / ".build") as name:
        folder = pathlib.Path(name)
        subjects = [measure_ours(archive, folder, options)]
        if not (options.quick or options.no_peers):
            subjects += [measure_engine(engine, archive, folder, options) for engine in engines.ENGINES]
        subjects.append(measure_fleet(archive, folder, options))
    run = Run(now(), facts, subjects)
    write(options.output, "converge", run, table(run), plot.plot)


if __name__ == "__main__":
    sys.exit(be_program(main))
