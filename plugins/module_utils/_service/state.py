# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the host has of services: records, artifacts, supervision, and the processes themselves."""

from __future__ import annotations

import contextlib
import glob
import os
import typing as t
from dataclasses import dataclass, field

from .. import _paths
from .._bridge import state as _bridge_layer
from .._host import boot, cgroupfs, devices, enter, health, hosts, iproute, oci, proc, runit, secrets, systemd, volumes
from .._host.files import read_text
from .._host.idrange import foreign_ranges, own_ranges
from .._host.libexec import path as helper_path
from .._host.oci import Runtime
from .._host.records import Record, load_records
from .._rootfs import state as _rootfs
from .._rootfs.state import RootfsView
from .._siblings import ServiceAddress
from . import secrets as _secrets
from .roots import Root, lacks_command, roots
from .spec import ServiceSpec
from .supervise import unit_name

LAYER = "service"
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
    keeps it running, `at_boot` whether it will after the next boot, `supervised` whether a supervisor knows it.
    """

    record: Record | None
    running: Running | None = None
    wanted: bool = False
    at_boot: bool = False
    supervised: bool = False
    links: tuple[str, ...] = ()
    files: t.Mapping[str, tuple[str, int]] = field(default_factory=dict)
    updated: float | None = None

    @property
    def state(self) -> str:
        """In one word."""
        if self.running is not None:
            return "started"
        return "failing" if self.wanted else "stopped"


@dataclass(frozen=True)
class BridgeView:
    """A bridge as services see it: its addresses with prefixes, whether it is ours, one broadcast domain, and its ports.

    `gateways` are addresses of services that the bridge's routes lead through. `mtu` and `mac` are None where it is only promised.
    """

    addresses: tuple[str, ...] = ()
    ours: bool = False
    l2: bool = False
    ports: frozenset[str] = frozenset()
    gateways: tuple[str, ...] = ()
    mtu: int | None = None
    mac: str | None = None


@dataclass(frozen=True)
class World:
    """All that planning looks at.

    `promised_without` names instances whose root filesystem is only promised, from an image that the host has already, and in which
    the command will not be.
    """

    systemd: bool
    machine: str
    records: t.Mapping[str, Record]
    ranges: t.Mapping[str, Record]
    foreign: tuple[tuple[int, int], ...]
    instances: t.Mapping[str, Instance]
    slices: t.Collection[str]
    groups: t.Collection[str]
    bridges: t.Mapping[str, BridgeView]
    rootfs: t.Mapping[str, RootfsView]
    roots: t.Mapping[str, Root]
    promised_without: frozenset[str]
    reserved: t.Mapping[str, str]
    runtimes: t.Mapping[str, Runtime]
    init: str | None
    masked: tuple[str, ...]
    nameservers: tuple[str, ...]
    profiles: t.Mapping[str, t.Mapping[str, t.Any]]
    missing_sources: frozenset[str]
    helpers: t.Mapping[str, tuple[str, int] | None]
    boot_gaps: tuple[str, ...]
    watched: tuple[str, ...]
    tools: t.Mapping[str, bool] = field(default_factory=dict)
    volumes: volumes.Volumes = field(default_factory=volumes.Volumes)
    secrets: secrets.Secrets = field(default_factory=secrets.Secrets)
    enter: str = ""
    devices: t.Mapping[str, devices.Device] = field(default_factory=dict)
    looks: health.Looks = field(default_factory=health.Looks)
    time_namespaces: bool = True
    files: frozenset[str] = frozenset()
    booted: frozenset[str] = frozenset()
    stable: tuple[ServiceAddress, ...] = ()


def directory(name: str) -> str:
    """The directory of an instance, which holds its bundle."""
    return os.path.join(_paths.INSTANCES, name)


def cgroup_path(name: str, slice_name: str | None) -> str:
    """The control group of an instance where the runtime makes it."""
    return f"{cgroupfs.slice_path(slice_name or name)}/{name}"


def _file(path: str) -> tuple[str, int] | None:
    text = read_text(path)
    if text is None:
        return None
    return text, os.stat(path).st_mode & 0o7777


def _artifacts(name: str, on_systemd: bool) -> dict[str, tuple[str, int]]:
    """All files of ours that an instance has: the bundle, and what supervises it."""
    paths = [path for path in glob.glob(directory(name) + "/*") if os.path.isfile(path)]
    if on_systemd:
        paths.append(systemd.unit_file(unit_name(name)))
    else:
        top = runit.directory(name)
        paths += [
            os.path.join(top, part) for part in ("run", "finish", "control/t", "control/k", runit.RELOAD, "log/run")
        ]
    found = {}
    for path in paths:
        content = _file(path)
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
    slice_name = record.spec.get("slice") if record is not None else None
    running = find_running(name, cgroup_path(name, slice_name))
    return Instance(
        record,
        running,
        status is not None and status.want_up,
        os.path.isdir(runit.directory(name)) and not runit.is_down_marked(name),
        status is not None,
        runit.links(name, watched),
        _artifacts(name, False),
        _updated(record),
    )


def _by_systemd(name: str, record: Record | None, shown: t.Mapping[str, str]) -> Instance:
    pid = int(shown.get("MainPID") or 0)
    active = shown.get("ActiveState", "inactive")
    return Instance(
        record,
        _look_at(pid, shown.get("ControlGroup", "").lstrip("/") or None) if active == "active" else None,
        active in ("active", "activating", "reloading"),
        shown.get("UnitFileState") == "enabled",
        shown.get("LoadState") == "loaded",
        (),
        _artifacts(name, True),
        _updated(record),
    )


def _updated(record: Record | None) -> float | None:
    with contextlib.suppress(OSError):
        return round(os.stat(record.path).st_mtime, 3) if record is not None else None
    return None


def _instances(
    names: t.Iterable[str], records: t.Mapping[str, Record], on_systemd: bool, watched: t.Sequence[str]
) -> dict[str, Instance]:
    wanted = list(dict.fromkeys(names))
    if not on_systemd:
        return {name: _by_runit(name, records.get(name), watched) for name in wanted}
    shown = systemd.show([unit_name(name) for name in wanted], _PROPERTIES)
    return {name: _by_systemd(name, records.get(name), shown.get(unit_name(name), {})) for name in wanted}


def _link(name: str) -> tuple[int | None, str | None]:
    """MTU and MAC address of a link."""
    mtu, mac = (read_text(f"/sys/class/net/{name}/{part}") for part in ("mtu", "address"))
    return int(mtu) if mtu else None, mac.strip() if mac else None


def _bridges(specs: t.Sequence[ServiceSpec]) -> dict[str, BridgeView]:
    """The bridges that are named and there: by our record of the bridge, else by the kernel."""
    named = {network.bridge for spec in specs for network in spec.networks}
    there = {name for name in named if os.path.isdir(f"/sys/class/net/{name}/bridge")}
    records = load_records(_bridge_layer.LAYER)
    found = {}
    for name in there & set(records):
        spec = records[name].spec
        links = frozenset(os.listdir(f"/sys/class/net/{name}/brif"))
        gateways = tuple(sorted({route.partition(" via ")[2] for route in spec.get("routes", ())}))
        found[name] = BridgeView(
            tuple(spec.get("addresses", ())), True, bool(spec.get("l2")), links, gateways, *_link(name)
        )
    if there - set(found):
        for link in iproute.links():
            if link.get("ifname") in there and link["ifname"] not in found:
                found[link["ifname"]] = BridgeView(
                    tuple(
                        f"{item['local']}/{item['prefixlen']}"
                        for item in link.get("addr_info", [])
                        if item.get("scope") == "global"
                    ),
                    mtu=link.get("mtu"),
                    mac=link.get("address"),
                )
    return found


def _reserved() -> dict[str, str]:
    """Service addresses that nat_portmap answers for, by address."""
    found = {}
    for record in load_records("portmap").values():
        for item in record.spec.get("service_addresses", []):
            with contextlib.suppress(KeyError, TypeError):
                found[str(item["address"])] = f"the service address of portmap {record.name}"
    return found


def _groups(names: t.Iterable[str]) -> set[str]:
    """Those of the slices whose control groups the kernel has."""
    trees = cgroupfs.hierarchies()
    return {
        name
        for name in names
        if any(os.path.isdir(os.path.join(tree.path, cgroupfs.slice_path(name))) for tree in trees)
    }


def observe(specs: t.Sequence[ServiceSpec], expect: t.Mapping[str, t.Any]) -> World:
    """What the host has of what the specs name, and of what is promised."""
    on_systemd = systemd.booted()
    watched = () if on_systemd else runit.watched()
    records = load_records(LAYER)
    names = [name for spec in specs for name in (spec.name, spec.replaces) if name]
    joined = {spec.joins for spec in specs if spec.joins}
    names += [name for name, record in records.items() if name in joined or record.spec.get("service") in joined]
    views = {}
    for name in {spec.rootfs for spec in specs if spec.present and not spec.rootfs.startswith("/")}:
        view = _rootfs.lookup(name)
        if view is not None:
            views[name] = view
    slices = {spec.slice for spec in specs if spec.slice}
    there = roots(specs, views)
    promises = {promise.get("name"): promise for promise in expect.get("rootfs", [])}
    return World(
        systemd=on_systemd,
        machine=os.uname().machine,
        records=records,
        ranges=own_ranges(),
        foreign=foreign_ranges(),
        instances=_instances(names, records, on_systemd, watched),
        slices=frozenset(load_records("cgroup")),
        groups=frozenset(_groups(slices)),
        bridges=_bridges(specs),
        rootfs=views,
        roots=there,
        promised_without=frozenset(
            spec.name
            for spec in specs
            if spec.present
            and spec.name not in there
            and spec.rootfs in promises
            and lacks_command(spec, promises[spec.rootfs])
        ),
        reserved=_reserved(),
        runtimes=oci.find_runtimes() if any(spec.present for spec in specs) else {},
        init=oci.find_init(),
        masked=oci.more_masked(),
        nameservers=oci.nameservers(),
        profiles={spec.seccomp: oci.load_profile(spec.seccomp) for spec in specs if spec.seccomp.startswith("/")},
        missing_sources=frozenset(
            mount.source for spec in specs for mount in spec.mounts if not os.path.exists(mount.source)
        ),
        files=frozenset(
            mount.source
            for spec in specs
            for mount in spec.mounts
            if os.path.exists(mount.source) and not os.path.isdir(mount.source)
        ),
        enter=enter.text(),
        devices=devices.observe({item.path for spec in specs for item in spec.devices}),
        looks=health.observe(),
        helpers={
            name: _file(helper_path(name)) for name in (*oci.HELPERS, enter.HELPER, volumes.HELPER, secrets.HELPER)
        },
        boot_gaps=boot.gaps(),
        watched=watched,
        volumes=volumes.observe(),
        secrets=secrets.observe(
            {spec.name: _secrets.wanted(spec, records.get(spec.name)) for spec in specs if spec.present}
        ),
        time_namespaces=os.path.exists("/proc/self/ns/time"),
        booted=hosts.booted(),
        stable=hosts.service_addresses(),
    )


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
    return _instances(records, records, on_systemd, () if on_systemd else runit.watched()), on_systemd
