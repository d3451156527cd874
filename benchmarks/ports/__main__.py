# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Measure what publishing ports costs: with this collection, and beside it with Docker and Podman, in one run."""

from __future__ import annotations

import argparse
import datetime
import json
import os
import pathlib
import platform
import re
import shutil
import signal
import subprocess
import sys
import typing as t

from world import REPOSITORY, World

from . import engines, ours, plot
from .figures import Row, Run, Subject
from .ours import Setting
from .table import table

PYTHON = "/usr/bin/python3"
"""The host's own, as Ansible uses it there."""

NUMBERS = (1, 100, 1000, 10000)
OURS = "nat_portmap"
VERSIONS = {
    "nftables": ["nft", "--version"],
    "iptables": ["iptables", "--version"],
    "Docker": ["/usr/bin/docker", "--version"],
    "Podman": ["podman", "--version"],
    "netavark": ["/usr/lib/podman/netavark", "--version"],
}


def parse(arguments: t.Sequence[str]) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few repetitions, without the others; under a minute")
    parser.add_argument("--no-peers", action="store_true", help="without Docker and Podman")
    parser.add_argument("--long", action="store_true", help="Docker and Podman with 1000 ports too; takes minutes")
    parser.add_argument(
        "--own-numbers", action="store_true", help="lead each port to the same number of the service, not all to one"
    )
    parser.add_argument("--output", type=pathlib.Path, help="folder for ports.json, ports.md and ports.svg")
    options = parser.parse_args(arguments)
    if options.output is None:
        # What was measured in a hurry does not replace what is kept.
        where = (".build", "benchmarks") if options.quick else ("benchmarks", "results")
        options.output = REPOSITORY.joinpath(*where)
    return options


def machine() -> dict[str, str]:
    """What the figures depend on."""
    facts = {}
    model = re.search(r"^model name\s*: (.*)$", pathlib.Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    facts["processor"] = f"{os.cpu_count()} x {model[1] if model else platform.machine()}"
    facts["memory"] = f"{memory:.0f} GiB"
    facts["load before"] = f"{os.getloadavg()[0]:.2f}"
    facts["system"] = f"{platform.freedesktop_os_release()['PRETTY_NAME']}, kernel {platform.release()}"
    facts["Python"] = subprocess.run([PYTHON, "-c", "import platform; print(platform.python_version())"],
                                     capture_output=True, text=True, check=True).stdout.strip()  # fmt: skip
    for name, command in VERSIONS.items():
        if shutil.which(command[0]):
            said = subprocess.run(command, capture_output=True, text=True, check=False).stdout
            found = re.search(r"\d+\.\S+(?: \(\w+\))?", said)
            facts[name] = found[0].rstrip(",") if found else "?"
    return facts


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


def measure_ours(options: argparse.Namespace) -> Subject:
    """All numbers of ports, in one world."""
    subject = Subject(OURS)
    with World(python=PYTHON) as world:
        ours.prepare(world)
        for number in NUMBERS:
            subject.rows.append(ours.measure(world, number, our_setting(number, options)))
            progress(OURS, subject.rows[-1])
    return subject


def measure_engine(engine: engines.Engine, options: argparse.Namespace) -> Subject:
    """All numbers of ports, in one world. What does not run here is said, and the run goes on."""
    subject = Subject(engine.name)
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
    except subprocess.TimeoutExpired as error:
        step = "remove" if row.apply else "start"
        subject.failure = f"{step} with {row.ports} ports: not done after {error.timeout:.0f} s"
    except (AssertionError, OSError, RuntimeError, ValueError) as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        said = next((line for line in lines if "error" in line.lower()), lines[-1])
        subject.failure = f"with {row.ports} ports: {said[:500]}"
    if subject.failure:
        print(f"bench: {engine.name}: {subject.failure}", file=sys.stderr)
    return subject


def main(arguments: t.Sequence[str]) -> int:
    """Measure, print, write."""
    options = parse(arguments)
    if os.geteuid() != 0:
        print("bench: namespaces and control groups are made: run it as root", file=sys.stderr)
        return 1
    # An end from outside unwinds as Ctrl-C does, so that no world stays.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    facts = machine()
    facts["service"] = "its ports are the published ones" if options.own_numbers else "all ports lead to one of it"
    subjects = [measure_ours(options)]
    if not (options.quick or options.no_peers):
        subjects += [measure_engine(engine, options) for engine in engines.ENGINES]
    date = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    run = Run(date, facts, subjects)
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "ports.json").write_text(json.dumps(run.as_dict(), indent=2, ensure_ascii=False) + "\n")
    text = table(run)
    (options.output / "ports.md").write_text(text)
    plot.plot(run, options.output / "ports.svg")
    print(text)
    print(f"bench: written to {options.output}/ports.{{json,md,svg}}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    try:
        code = main(sys.argv[1:])
    except KeyboardInterrupt:
        print("bench: interrupted; everything that was made is removed", file=sys.stderr)
        code = 130
    sys.exit(code)
