# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Instances of services as the host has them: records, artifacts, supervision, and the processes themselves."""

from __future__ import annotations

import contextlib
import glob
import os
import typing as t
from dataclasses import dataclass, field

from .. import _paths
from .._host import cgroupfs, ending, health, oci, proc, runit, secrets, systemd
from .._host.files import read_text
from .._host.records import Record, load_records
from . import output
from .supervise import unit_name

LAYER = "service"
NO_SLICE = "no.slice"
"""What holds the control groups of instances without a slice."""
_PROPERTIES = ("ActiveState", "SubState", "MainPID", "ControlGroup", "UnitFileState", "LoadState", "FragmentPath")


@dataclass(frozen=True)
class Running:
    """The first process of an instance, as the kernel has it."""

    pid: int
    age: float
    namespaces: t.Mapping[str, int]
    cgroup: str


@dataclass(frozen=True)
class Instance:
    """One instance as the host has it.

    `files` are its artifacts: content and mode by path, None where there is none. `wanted` says whether the supervisor
    keeps it running, `at_boot` whether it will after the next boot, `supervised` whether a supervisor knows it. `ending` are the seconds until the
    host stops it, None if it runs for good.
    """

    record: Record | None
    running: Running | None = None
    wanted: bool = False
    at_boot: bool = False
    supervised: bool = False
    links: tuple[str, ...] = ()
    files: t.Mapping[str, tuple[str, int]] = field(default_factory=dict)
    updated: float | None = None
    ending: float | None = None

    @property
    def state(self) -> str:
        """In one word."""
        if self.running is not None:
            return "started"
        return "failing" if self.wanted else "stopped"


def directory(name: str) -> str:
    """The directory of an instance, which holds its bundle."""
    return os.path.join(_paths.INSTANCES, name)


def cgroup_path(name: str, slice_name: str | None) -> str:
    """The control group of an instance where the runtime makes it. No slice has a name with a dot, so that it is in none of another's."""
    return f"{cgroupfs.slice_path(slice_name or NO_SLICE)}/{name}"


def recorded_cgroup(name: str, record: Record | None) -> str:
    """The control group of an instance that is there. Earlier versions put one without a slice below its own name, and wrote nothing down."""
    if record is None:
        return cgroup_path(name, None)
    slice_name = record.spec.get("slice") or (None if "cgroup" in record.assigned else name)
    return cgroup_path(name, slice_name)


def read_artifact(path: str) -> tuple[str, int] | None:
    """The content and mode of a file of ours; None if there is none."""
    text = read_text(path)
    if text is None:
        return None
    return text, os.stat(path).st_mode & 0o7777


def _artifacts(name: str, on_systemd: bool) -> dict[str, tuple[str, int]]:
    """All files of ours that an instance has: the bundle, and what supervises it."""
    paths = [path for path in glob.glob(directory(name) + "/*") if os.path.isfile(path)]
    if on_systemd:
        paths += map(systemd.unit_file, (unit_name(name), *output.units(name)))
    else:
        top = runit.directory(name)
        paths += [
            os.path.join(top, part) for part in ("run", "finish", "control/t", "control/k", runit.RELOAD, "log/run")
        ]
    found = {}
    for path in paths:
        content = read_artifact(path)
        if content is not None:
            found[path] = content
    return found


def _look_at(pid: int | None, cgroup: str | None, unit: str = "") -> Running | None:
    """The first process of an instance, if `pid` is it: a pid file may be older than the process that has the number now.

    It is told by its control group, also where its pid namespace is not its own; under systemd that is the unit's.
    """
    if not pid or not proc.is_alive(pid):
        return None
    groups = proc.control_groups(pid)
    if not any(group.endswith("/" + (cgroup if cgroup is not None else unit)) for group in groups):
        return None
    age = proc.age(pid)
    if age is None:
        return None
    own = cgroup if cgroup is not None else max(groups, key=len, default="")
    return Running(pid, age, proc.namespaces(pid), "/" + own.lstrip("/"))


def find_running(name: str, cgroup: str | None) -> Running | None:
    """The first process of an instance by its pid file. `cgroup` is where it must be; None where the supervisor decides."""
    return _look_at(proc.read_pid(oci.pid_file(name)), cgroup, unit_name(name))


def _by_runit(name: str, record: Record | None, watched: t.Sequence[str]) -> Instance:
    status = runit.status(name)
    running = find_running(name, recorded_cgroup(name, record))
    return Instance(
        record,
        running,
        status is not None and status.want_up,
        os.path.isdir(runit.directory(name)) and not runit.is_down_marked(name),
        status is not None,
        runit.links(name, watched),
        _artifacts(name, False),
        _updated(record),
        ending.left(name) if running is not None else None,
    )


def _by_systemd(name: str, record: Record | None, shown: t.Mapping[str, str]) -> Instance:
    pid = int(shown.get("MainPID") or 0)
    active = shown.get("ActiveState", "inactive")
    running = _look_at(pid, shown.get("ControlGroup", "").lstrip("/") or None) if active == "active" else None
    return Instance(
        record,
        running,
        active in ("active", "activating", "reloading"),
        shown.get("UnitFileState") == "enabled",
        shown.get("LoadState") == "loaded",
        (),
        _artifacts(name, True),
        _updated(record),
        ending.left(name) if running is not None else None,
    )


def _updated(record: Record | None) -> float | None:
    with contextlib.suppress(OSError):
        return round(os.stat(record.path).st_mtime, 3) if record is not None else None
    return None


def find_instances(
    names: t.Iterable[str], records: t.Mapping[str, Record], on_systemd: bool, watched: t.Sequence[str]
) -> dict[str, Instance]:
    wanted = list(dict.fromkeys(names))
    if not on_systemd:
        return {name: _by_runit(name, records.get(name), watched) for name in wanted}
    shown = systemd.show([unit_name(name) for name in wanted], _PROPERTIES)
    return {name: _by_systemd(name, records.get(name), shown.get(unit_name(name), {})) for name in wanted}


def _health(name: str, spec: t.Mapping[str, t.Any], running: Running | None) -> dict[str, t.Any] | None:
    """How it is asked whether it is well, and with a periodic check also what it has answered."""
    asked = spec.get("health")
    if not asked or not health.checked(spec):
        return asked
    seen = health.read_state(name)
    known = running is not None and seen.get("pid") == running.pid
    return {
        **asked,
        "status": seen["status"] if known else "starting" if running is not None else None,
        "since": seen.get("since") if known else None,
        "failures": seen.get("failures", 0) if known else 0,
        "restarts": seen.get("restarts", 0),
        "last": seen.get("last", []),
        "action": seen.get("action"),
    }


def describe(name: str, instance: Instance, on_systemd: bool) -> dict[str, t.Any]:
    """An instance as its module and host_info tell it."""
    record, running = instance.record, instance.running
    spec: t.Mapping[str, t.Any] = record.spec if record is not None else {}
    assigned: t.Mapping[str, t.Any] = record.assigned if record is not None else {}
    service = spec.get("service", name)
    return {
        "name": name,
        "service": service,
        "project": record.project if record is not None else None,
        "release": name[len(service) + 1 :] if name.startswith(service + "-") else None,
        "state": instance.state,
        "pid": running.pid if running else None,
        "uptime": round(running.age, 1) if running else None,
        "stops_in": None if instance.ending is None else round(instance.ending, 1),
        "addresses": [dict(item) for item in assigned.get("networks", [])],
        "unit": unit_name(name) if on_systemd else runit.directory(name),
        "supervisor": "systemd" if on_systemd else "runit",
        "cgroup": running.cgroup if running else None,
        "namespaces": dict(running.namespaces) if running else {},
        "id_base": assigned.get("id_base"),
        "runtime": assigned.get("runtime"),
        "rootfs": spec.get("rootfs"),
        "slice": spec.get("slice"),
        "command": spec.get("command"),
        "health": _health(name, spec, running),
        "secrets": secrets.states(record),
        "updated": instance.updated,
    }


def all_instances() -> tuple[dict[str, Instance], bool]:
    """Every instance of the host by name, and whether systemd supervises them."""
    on_systemd = systemd.booted()
    records = load_records(LAYER)
    return find_instances(records, records, on_systemd, () if on_systemd else runit.watched()), on_systemd
