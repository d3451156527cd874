# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tables in Markdown, and the files of a run."""

from __future__ import annotations

import argparse
import datetime
import json
import os
import pathlib
import signal
import sys
import typing as t

from .figures import Figure, Run, Subject

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]


def seconds(figure: Figure | None) -> str:
    """A median; nothing of no figure."""
    if figure is None:
        return ""
    digits = 3 if figure.median < 1 else 2 if figure.median < 10 else 1
    return f"{figure.median:.{digits}f}"


def whole(value: int | None) -> str:
    """A number; nothing of none."""
    return "" if value is None else str(value)


def markdown(lines: t.Sequence[t.Sequence[str]]) -> str:
    """A table; the first line is the heading, the first column that of names."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]

    def text(line: t.Sequence[str]) -> str:
        cells = [
            cell.ljust(width) if index == 0 else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(line, widths))
        ]
        return f"| {' | '.join(cells)} |"

    rule = "|" + "|".join("-" * (width + 1) + ("-" if index == 0 else ":") for index, width in enumerate(widths)) + "|"
    return "\n".join([text(lines[0]), rule, *map(text, lines[1:])])


def closing(run: Run[t.Any]) -> list[str]:
    """What stands below the tables: what could not be measured, and on which machine the rest was."""
    failures = [f"* {subject.name}: {subject.failure}" for subject in run.subjects if subject.failure]
    parts = ["Not measured:\n\n" + "\n".join(failures)] if failures else []
    return [*parts, "\n".join([f"* date: {run.date}", *(f"* {key}: {value}" for key, value in run.machine.items())])]


def parser(description: str | None, name: str) -> argparse.ArgumentParser:
    """The options that every benchmark has."""
    found = argparse.ArgumentParser(prog=f"benchmarks/run {name}", description=description)
    found.add_argument("--quick", action="store_true", help="few repetitions, without the others; under a minute")
    found.add_argument("--no-peers", action="store_true", help="without Docker and Podman")
    found.add_argument("--output", type=pathlib.Path, help=f"folder for {name}.json, {name}.md and {name}.svg")
    return found


def complete(options: argparse.Namespace) -> argparse.Namespace:
    """Fill in where to write: what was measured in a hurry does not replace what is kept."""
    if options.output is None:
        where = (".build", "benchmarks") if options.quick else ("benchmarks", "results")
        options.output = REPOSITORY.joinpath(*where)
    return options


def now() -> str:
    """The date of a run."""
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC")


def write(
    folder: pathlib.Path, name: str, run: Run[t.Any], text: str, plot: t.Callable[[Run[t.Any], pathlib.Path], None]
) -> None:
    """Write figures, tables and plot; print the tables."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(run.as_dict(), indent=2, ensure_ascii=False) + "\n")
    (folder / f"{name}.md").write_text(text)
    plot(run, folder / f"{name}.svg")
    print(text)
    print(f"bench: written to {folder}/{name}.{{json,md,svg}}", file=sys.stderr)


def say_failure(subject: Subject[t.Any]) -> None:
    """Tell what could not be measured, at once."""
    if subject.failure:
        print(f"bench: {subject.name}: {subject.failure}", file=sys.stderr, flush=True)


def be_program(main: t.Callable[[t.Sequence[str]], None]) -> int:
    """Run a benchmark as root; returns its exit status. An end from outside unwinds as Ctrl-C does, so that no world stays."""
    if os.geteuid() != 0:
        print("bench: namespaces and control groups are made: run it as root", file=sys.stderr)
        return 1
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        main(sys.argv[1:])
    except KeyboardInterrupt:
        print("bench: interrupted; everything that was made is removed", file=sys.stderr)
        return 130
    return 0
