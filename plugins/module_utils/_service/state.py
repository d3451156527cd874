# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the host has of what services name: their instances, and all that these need."""

from __future__ import annotations

import contextlib
import os
import typing as t
from dataclasses import dataclass, field

from .._bridge import state as _bridge_layer
from .._host import (
    boot,
    cgroupfs,
    devices,
    enter,
    environment,
    flows,
    health,
    hosts,
    iproute,
    lsm,
    oci,
    runit,
    secrets,
    sources,
    systemd,
    traffic,
    volumes,
    zones,
)
from .._host.files import read_text
from .._host.idrange import foreign_ranges, own_ranges
from .._host.inroot import resolve
from .._host.libexec import path as helper_path
from .._host.oci import Runtime
from .._host.records import Record, load_records
from .._rootfs import state as _rootfs
from .._rootfs.state import RootfsView
from .._siblings import ServiceAddress
from . import mounts
from . import secrets as _secrets
from .environment import with_files
from .instances import LAYER, Instance, find_instances, read_artifact
from .roots import Root, lacks_command, roots
from .spec import ServiceSpec, VolumeMount


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
    connections: t.Mapping[str, int] = field(default_factory=dict)
    links: t.Mapping[str, tuple[str, str]] = field(default_factory=dict)
    receiving: frozenset[str] = frozenset()
    lacking_targets: frozenset[tuple[str, str]] = frozenset()
    devices: t.Mapping[str, devices.Device] = field(default_factory=dict)
    looks: health.Looks = field(default_factory=health.Looks)
    time_namespaces: bool = True
    files: frozenset[str] = frozenset()
    env_files: t.Mapping[str, environment.EnvironmentFile] = field(default_factory=dict)
    zones: frozenset[str] = frozenset()
    lsm: lsm.Modules = field(default_factory=lsm.Modules)
    booted: frozenset[str] = frozenset()
    stable: tuple[ServiceAddress, ...] = ()
    astray: t.Mapping[str, str] = field(default_factory=dict)
    """The host's ends of links of running instances that do not lead to their bridge, each with what is wrong."""


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


def _astray(instances: t.Mapping[str, Instance]) -> dict[str, str]:
    found = {}
    for instance in instances.values():
        if instance.running is not None and instance.record is not None:
            for item in instance.record.assigned.get("networks", []):
                wrong = traffic.astray(str(item["interface"]), str(item["bridge"]))
                if wrong is not None:
                    found[str(item["interface"])] = wrong
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


def _lacking_targets(specs: t.Sequence[ServiceSpec]) -> frozenset[tuple[str, str]]:
    """Instances and those of their targets that lie in what is mounted read-only and has nothing there."""
    found = set()
    for spec in specs:
        for target, holder in mounts.in_read_only(spec):
            source = volumes.directory(holder.source) if isinstance(holder, VolumeMount) else holder.source
            if resolve(source, target[len(holder.target) :]) is None:
                found.add((spec.name, target))
    return frozenset(found)


def _connections(specs: t.Sequence[ServiceSpec], instances: t.Mapping[str, Instance]) -> dict[str, int]:
    """How many connections those have that are to be drained, by instance."""
    found = {}
    for spec in specs:
        running = instances[spec.name].running
        if spec.drain is not None and running is not None:
            found[spec.name] = flows.of_process(running.pid)
    return found


def observe(specs: t.Sequence[ServiceSpec], expect: t.Mapping[str, t.Any]) -> World:
    """What the host has of what the specs name, and of what is promised."""
    env_files = environment.read({path for spec in specs for path in spec.env_files})
    specs = [with_files(spec, env_files) for spec in specs]
    on_systemd = systemd.booted()
    watched = () if on_systemd else runit.watched()
    records = load_records(LAYER)
    names = [name for spec in specs for name in (spec.name, spec.replaces) if name]
    joined = {spec.joins for spec in specs if spec.joins}
    names += [name for name, record in records.items() if name in joined or record.spec.get("service") in joined]
    views = {}
    for name in {spec.rootfs for spec in specs if spec.declared and not spec.rootfs.startswith("/")}:
        view = _rootfs.lookup(name)
        if view is not None:
            views[name] = view
    slices = {spec.slice for spec in specs if spec.slice}
    there = roots(specs, views)
    promises = {promise.get("name"): promise for promise in expect.get("rootfs", [])}
    instances = find_instances(names, records, on_systemd, watched)
    return World(
        systemd=on_systemd,
        machine=os.uname().machine,
        records=records,
        ranges=own_ranges(),
        foreign=foreign_ranges(),
        instances=instances,
        slices=frozenset(load_records("cgroup")),
        groups=frozenset(_groups(slices)),
        bridges=_bridges(specs),
        rootfs=views,
        roots=there,
        promised_without=frozenset(
            spec.name
            for spec in specs
            if spec.declared
            and spec.name not in there
            and spec.rootfs in promises
            and lacks_command(spec, promises[spec.rootfs])
        ),
        reserved=_reserved(),
        runtimes=oci.find_runtimes() if any(spec.declared for spec in specs) else {},
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
        env_files=env_files,
        zones=zones.present({spec.timezone for spec in specs if spec.timezone}),
        connections=_connections(specs, instances),
        lsm=lsm.observe() if any(spec.apparmor_profile or spec.selinux_label for spec in specs) else lsm.Modules(),
        links=sources.loose_links({mount.source for spec in specs for mount in spec.mounts}),
        receiving=sources.receiving(
            {mount.source for spec in specs for mount in spec.mounts if mount.propagation != mounts.PRIVATE}
        ),
        lacking_targets=_lacking_targets(specs),
        enter=enter.text(),
        devices=devices.observe({item.path for spec in specs for item in spec.devices}),
        looks=health.observe(),
        helpers={
            name: read_artifact(helper_path(name))
            for name in (*oci.HELPERS, enter.HELPER, volumes.HELPER, secrets.HELPER)
        },
        boot_gaps=boot.gaps(),
        watched=watched,
        volumes=volumes.observe(),
        secrets=secrets.observe(
            {spec.name: _secrets.wanted(spec, records.get(spec.name)) for spec in specs if spec.declared}
        ),
        time_namespaces=os.path.exists("/proc/self/ns/time"),
        booted=hosts.booted(),
        stable=hosts.service_addresses(),
        astray=_astray(instances),
    )
