# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) daemonless.isolation contributors
"""Look at service-demo on a systemd host with the kernel's and systemd's own means, without the collection.

Each check prints what it saw, or ends the program with what it saw instead.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
import typing as t
import urllib.request
from pathlib import Path

PORT = 8080
CGROUPS = Path("/sys/fs/cgroup")
LIMITS = {"memory.max": str(128 * 1024**2), "pids.max": "32", "cpu.max": "100000 100000"}
SLICE = re.compile(r"isolation-service\\x2ddemo-[0-9a-z\\]+\.slice")
PATIENCE = 5.0


def expect(condition: object, message: str) -> None:
    """End with `message` unless `condition` holds."""
    if not condition:
        sys.exit(f"FAILED: {message}")


def run(*command: str) -> str:
    """Return what a command prints."""
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def answer(address: str, timeout: float = 3) -> t.Optional[bytes]:
    """Return what the published port answers at an address, or None."""
    try:
        with urllib.request.urlopen(f"http://{address}:{PORT}/", timeout=timeout) as response:
            return bytes(response.read()) if response.status == 200 else None
    except OSError:
        return None


def own_address() -> str:
    """Return the machine's address on its uplink."""
    found = re.search(r"\bsrc ([0-9.]+)", run("ip", "-4", "route", "get", "192.0.2.1"))
    expect(found, "the machine has no default route")
    return str(found and found.group(1))


def properties(unit: str) -> dict[str, str]:
    """Return what systemd says of a unit."""
    text = run("systemctl", "show", "--property=Id,Slice,ControlGroup,MainPID,ActiveState", "--", unit)
    return dict(line.split("=", 1) for line in text.splitlines())


def service() -> dict[str, str]:
    """Return the properties of the one running unit in the service's slices."""
    lines = run("systemctl", "list-units", "--type=service", "--state=running", "--plain", "--no-legend").splitlines()
    units = [properties(line.split()[0]) for line in lines]
    inside = [unit for unit in units if SLICE.fullmatch(unit["Slice"])]
    expect(
        len(inside) == 1,
        f"one running unit in a slice of service-demo: found {inside} among {len(units)} running units",
    )
    return inside[0]


def processes(group: Path) -> list[int]:
    """Return the processes of a control group and of all below it."""
    return [int(pid) for file in sorted(group.rglob("cgroup.procs")) for pid in file.read_text().split()]


def namespace(pid: int) -> str:
    """Return the pid namespace of a process."""
    return os.readlink(f"/proc/{pid}/ns/pid")


def status(pid: int) -> dict[str, str]:
    """Return /proc/PID/status."""
    pairs = (line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return {key: value.strip() for key, value in pairs}


def wait_for_answer(address: str, seconds: float) -> float:
    """Return how long it took until the service answered."""
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        if answer(address, timeout=1) is not None:
            return time.monotonic() - began
        time.sleep(0.1)
    return seconds


def check_answers() -> None:
    """The published port answers on the machine's address and on its loopback."""
    for address in (own_address(), "127.0.0.1"):
        body = answer(address)
        expect(body == b"hello world\n", f"http://{address}:{PORT}/ answered {body!r}")
        print(f"http://{address}:{PORT}/ answers {body!r}")


def check_processes(unit: dict[str, str]) -> None:
    """No process but the service's own is in the unit's slice, and none has rights on the host."""
    main = int(unit["MainPID"])
    everything = processes(CGROUPS / unit["ControlGroup"].lstrip("/"))
    in_slice = processes((CGROUPS / unit["ControlGroup"].lstrip("/")).parent)
    expect(main in everything, f"{unit['Id']}: the main process {main} is not in its control group: {everything}")
    expect(
        sorted(in_slice) == sorted(everything),
        f"processes beside the unit's in its slice: {in_slice} against {everything}",
    )
    expect(namespace(main) != namespace(1), f"{unit['Id']}: the main process {main} is in the host's pid namespace")
    strangers = [pid for pid in everything if namespace(pid) != namespace(main)]
    expect(
        not strangers,
        f"{unit['Id']}: processes that are not the service's own: {[(pid, status(pid)['Name']) for pid in strangers]}",
    )
    expect(
        status(main)["NSpid"].split()[-1] == "1",
        f"the main process is not the service's init: NSpid {status(main)['NSpid']}",
    )
    for pid in everything:
        seen = status(pid)
        expect(
            int(seen["Uid"].split()[0]) >= 65536, f"process {pid} {seen['Name']} runs as uid {seen['Uid']} of the host"
        )
        expect(int(seen["CapEff"], 16) == 0, f"process {pid} {seen['Name']} has capabilities {seen['CapEff']}")
    names = ", ".join(f"{pid} {status(pid)['Name']}" for pid in everything)
    print(f"{unit['Id']} in {unit['Slice']}: {names}; all in {namespace(main)}")


def check_limits(unit: dict[str, str]) -> None:
    """The kernel enforces what the inventory asks for, on the slice that the unit is in."""
    group = CGROUPS / properties(unit["Slice"])["ControlGroup"].lstrip("/")
    seen = {name: (group / name).read_text().strip() for name in LIMITS}
    expect(seen == LIMITS, f"{unit['Slice']}: limits {seen}, expected {LIMITS}")
    print(f"{unit['Slice']}: {seen}")


def check_restart(unit: dict[str, str]) -> None:
    """Killed, the service's init is back and answers within five seconds."""
    main = int(unit["MainPID"])
    os.kill(main, signal.SIGKILL)
    while os.path.exists(f"/proc/{main}") and status(main)["State"][0] not in "ZX":
        time.sleep(0.01)
    took = wait_for_answer("127.0.0.1", PATIENCE)
    expect(took < PATIENCE, f"{unit['Id']} did not answer within {PATIENCE} s after kill -9 of its init")
    again = service()
    expect(again["MainPID"] != unit["MainPID"], f"{unit['Id']}: still process {main} after kill -9")
    print(f"kill -9 {main}: {again['Id']} answered again after {took:.1f} s as process {again['MainPID']}")


def main() -> None:
    """Run all checks."""
    wait_for_answer("127.0.0.1", 30)  # after a reboot the unit may still be starting
    check_answers()
    unit = service()
    print(run("systemctl", "status", "--no-pager", "--lines=0", "--", unit["Id"]))
    check_processes(unit)
    check_limits(unit)
    check_restart(unit)
    check_processes(service())


if __name__ == "__main__":
    main()
