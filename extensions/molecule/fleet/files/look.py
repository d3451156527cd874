# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) daemonless.isolation contributors
"""Look at the service web with the kernel's and systemd's own means: look.py [SECONDS to wait for its answer]. Prints JSON."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import typing as t
import urllib.request
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
WANTED = ("Id", "Slice", "MainPID", "ExecMainStartTimestampMonotonic")


def run(*command: str) -> str:
    """Return what a command prints."""
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def answer(patience: float) -> str | None:
    """Return the release that the published port tells, or None if it does not within `patience` seconds."""
    until = time.monotonic() + patience
    while True:
        try:
            with urllib.request.urlopen("http://127.0.0.1:8080/", timeout=10) as response:
                return str(response.read().decode())
        except OSError:
            if time.monotonic() > until:
                return None
            time.sleep(0.5)


def properties(unit: str) -> dict[str, str]:
    """Return what systemd says of a unit."""
    text = run("systemctl", "show", "--property", ",".join((*WANTED, "ControlGroup")), "--", unit)
    return dict(line.split("=", 1) for line in text.splitlines())


def limit(name: str) -> str:
    """Return the memory limit of a slice, as the kernel has it."""
    return (CGROUPS / properties(name)["ControlGroup"].lstrip("/") / "memory.max").read_text().strip()


def instances() -> list[dict[str, str]]:
    """Return the instances that run."""
    listed = run(
        "systemctl", "list-units", "--type=service", "--state=running", "--plain", "--no-legend", "isolation-web*"
    )
    found = [properties(line.split()[0]) for line in listed.splitlines()]
    return [{**{key: unit[key] for key in WANTED}, "memory_max": limit(unit["Slice"])} for unit in found]


def files() -> list[str]:
    """Return what is written about services, and when it was."""
    tops = (Path("/etc/isolation"), Path("/etc/systemd/system"), Path("/var/lib/isolation/instances"))
    found = [path for top in tops for path in (top.rglob("*") if top != tops[2] else top.glob("*"))]
    return sorted(f"{path} {path.lstat().st_mtime_ns}" for path in found)


def main() -> None:
    """Look, and print what was seen."""
    patience = float(sys.argv[1]) if len(sys.argv) > 1 else 0.0
    seen: dict[str, t.Any] = {"release": answer(patience), "instances": instances(), "files": files()}
    seen["kept"] = len(list(Path("/etc/isolation/service").glob("web-*.json")))
    print(json.dumps(seen))


if __name__ == "__main__":
    main()
