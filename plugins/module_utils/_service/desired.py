# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What an instance is to be on this host: what was asked for, filled in by what the host and the records have. Pure."""

from __future__ import annotations

import hashlib
import typing as t
from dataclasses import dataclass

from .. import _siblings
from .._errors import InvalidOption
from .._host import oci, runit, systemd
from .._host.libexec import path as helper_path
from .._host.records import Record, check_project
from .._plan import Step
from .._ranges import Ranges
from . import bundle, environment, mounts, output, secrets, supervise
from .bundle import Attachment, Facts
from .devices import check_devices, unusable
from .instances import LAYER, cgroup_path, directory, recorded_cgroup
from .joins import Joined, Joins, check_host_pids
from .labels import check_labels, doubtful
from .networks import Networks
from .paths import check_command, unfound
from .promises import Promises, ServiceRefused, promised
from .roots import Root
from .runtimes import choose_runtime, has_time_namespaces, program
from .spec import ServiceSpec
from .state import World
from .timezone import check_timezone
from .users import resolve_groups, resolve_user


@dataclass(frozen=True)
class Desired:
    """An instance to be: its record, its artifacts, and the steps that claim what it needs."""

    spec: ServiceSpec
    record: Record
    artifacts: t.Mapping[str, tuple[str, int]]
    start: supervise.Start
    attachments: tuple[Attachment, ...]
    claims: tuple[Step, ...]
    lacking: tuple[str, ...]
    warnings: tuple[str, ...]
    predicted: bool
    address: str | None = None


def digest(text: str) -> str:
    """What tells one content of an artifact from another."""
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:16]


def _check_slice(spec: ServiceSpec, world: World, expect: Promises) -> None:
    if spec.slice is None or spec.slice in world.slices or spec.slice in world.groups:
        return
    if promised(expect, "slices", spec.slice) is None:
        raise ServiceRefused(
            f"service {spec.name}: slice: there is no slice {spec.slice} on this host: make it with"
            " daemonless.isolation.cgroup_slice first, or promise it with expect"
        )


def _check_root(spec: ServiceSpec, root: Root) -> None:
    if root.blocked:
        raise ServiceRefused(
            f"service {spec.name}: rootfs: in {root.path} these are no real directories or files: {', '.join(root.blocked)}:"
            " what is mounted on them could be led elsewhere; make them, or use daemonless.isolation.rootfs_prepare, which does"
        )
    if root.command is None:
        raise _no_command(spec, root.path)
    _check_workdir(spec, root)
    check_command(spec, root)


def _check_workdir(spec: ServiceSpec, root: Root) -> None:
    """A working directory in a mount can't be looked for beforehand."""
    targets = [item.target for item in (*spec.mounts, *spec.volumes)] + [item.target for item in spec.tmpfs]
    if any(
        spec.workdir == target or spec.workdir.startswith(target + "/")
        for target in (*targets, "/dev", "/sys", "/run/secrets")
    ):
        return
    if root.workdir is None:
        raise ServiceRefused(
            f"service {spec.name}: workdir: {spec.workdir} is not a directory in the root filesystem {root.path}: make it there, or"
            " choose another"
        )
    if root.workdir == "/proc" or root.workdir.startswith("/proc/"):
        raise ServiceRefused(
            f"service {spec.name}: workdir: {spec.workdir} leads to {root.workdir}: a directory under /proc is refused"
        )


def _no_command(spec: ServiceSpec, path: str) -> ServiceRefused:
    return ServiceRefused(
        f"service {spec.name}: command: {spec.command[0]} is not a program in the root filesystem {path}:"
        " name one by its path inside, or add it to the root filesystem"
    )


@dataclass(frozen=True)
class _Place:
    """A root filesystem: its path on the host, and the id that its root has, or will have where it is only promised."""

    path: str
    name: str | None
    read_only: bool
    id_base: int | None
    promised: bool = False


def _place(spec: ServiceSpec, world: World, expect: Promises) -> _Place:
    if spec.rootfs.startswith("/"):
        if spec.name not in world.roots:
            raise ServiceRefused(f"service {spec.name}: rootfs: {spec.rootfs} is not a directory of this host")
        return _Place(spec.rootfs, None, False, None)
    view = world.rootfs.get(spec.rootfs)
    if view is not None:
        return _Place(view.path, view.name, view.mode == "read_only", view.id_base)
    promise = promised(expect, "rootfs", spec.rootfs)
    if promise is None:
        raise ServiceRefused(
            f"service {spec.name}: rootfs: there is no root filesystem {spec.rootfs} on this host: make it with"
            " daemonless.isolation.rootfs_prepare first, or promise it with expect"
        )
    owner = promise.get("service", spec.service)
    if owner != spec.service and spec.joins is None:
        raise ServiceRefused(
            f"service {spec.name}: rootfs: {spec.rootfs} is promised for service {owner}, not {spec.service}"
        )
    path = promise.get("path") or f"{directory(spec.rootfs)}/rootfs"
    return _Place(path, spec.rootfs, promise.get("mode") == "read_only", promise.get("id_base"), True)


def _check_sources(spec: ServiceSpec, world: World) -> None:
    mounts.check_links(spec, world.links)
    for mount in spec.mounts:
        if mount.source in world.missing_sources:
            raise InvalidOption(f"{spec.name}: mounts: source: {mount.source} is not on this host")
        if mount.source in world.files and not (mount.read_only or mount.executable):
            raise InvalidOption(
                f"{spec.name}: mounts: source: {mount.source} is a single file, which can't be mounted without exec where it can be"
                " written to: set read_only, or mount the directory"
            )
    mounts.check_receiving(spec, world.receiving, world.files)


def _lacking(spec: ServiceSpec, world: World) -> list[str]:
    found = []
    if spec.init and world.init is None:
        found.append(
            f"service {spec.name}: init: this host has no static init (catatonit or tini): install the package catatonit,"
            " or apply the role daemonless.isolation.isolation_host first, or set init to false"
        )
    if not world.systemd and not world.watched:
        found.append(f"service {spec.name}: nothing supervises services on this host: {runit.no_supervisor()}")
    return found


def _check(spec: ServiceSpec, world: World, expect: Promises, place: _Place, root: Root | None) -> None:
    """Refuse what this host can't have, or has not yet.

    :raises IsolationError: there is such a thing.
    """
    known = world.records.get(spec.name)
    if known is not None and known.spec["service"] != spec.service:
        raise ServiceRefused(
            f"service {spec.name}: belongs to service {known.spec['service']}, not {spec.service}: remove it first (state: absent)"
        )
    if root is not None:
        _check_root(spec, root)
        if place.read_only:
            secrets.check_mount_point(spec, root)
        lacking = {target for name, target in world.lacking_targets if name == spec.name}
        mounts.check_targets(spec, root.missing, place.read_only, lacking)
    elif spec.name in world.promised_without:
        raise _no_command(spec, place.path)
    _check_slice(spec, world, expect)
    _check_sources(spec, world)
    check_devices(spec, world.devices)
    check_labels(spec, world.lsm)
    check_timezone(spec, world.zones, root, place.read_only)
    check_host_pids(spec, world)


def desired(
    spec: ServiceSpec, world: World, expect: Promises, project: str, ranges: Ranges, nets: Networks, joins: Joins
) -> Desired:
    """What an instance is to be.

    :raises IsolationError: it can't be so on this host.
    """
    known = world.records.get(spec.name)
    check_project(LAYER, spec.name, project, known)
    place = _place(spec, world, expect)
    root = world.roots.get(spec.name)
    _check(spec, world, expect, place, root)
    runtime, warnings, lacking = choose_runtime(spec, world)
    promised_base = place.id_base if place.promised else None
    joined = joins.resolve(spec)
    base, claims = (
        ranges.choose(spec.name, spec.service, spec.id_base, promised_base) if joined is None else _shared(spec, joined)
    )
    if place.id_base not in (None, base):
        raise ServiceRefused(
            f"service {spec.name}: rootfs: {spec.rootfs} belongs to ids from {place.id_base} on, not {base}: prepare it for"
            f" the same service (service: {joined.service if joined is not None else spec.service})"
        )
    attachments = tuple(nets.attach(spec, network) for network in spec.networks)
    others = _siblings.siblings(
        Record(LAYER, spec.name, project, spec.record(), {"networks": [item.record() for item in attachments]}),
        world.records,
        world.booted,
        world.stable,
    )
    uid, gid = resolve_user(spec, root)
    servers = _nameservers(spec, world, known)
    cgroup, shared = _cgroup(spec, known, world)
    facts = Facts(
        directory=directory(spec.name),
        root=place.path,
        read_only=place.read_only,
        id_base=base,
        uid=uid,
        gid=gid,
        machine=world.machine,
        hook=helper_path(oci.NETWORK_HELPER),
        init=(world.init or "/usr/bin/catatonit") if spec.init else None,
        attachments=attachments,
        nameservers=servers,
        masked=world.masked,
        profile=world.profiles.get(spec.seccomp),
        cgroup=None if world.systemd else cgroup,
        siblings=others,
        groups=resolve_groups(spec, root),
        devices=world.devices,
        timezone=root is not None and root.timezone,
        files=world.files,
        joined=None if joined is None else joined.instance,
        time=has_time_namespaces(spec, runtime, world),
    )
    start = supervise.Start(
        spec, facts.directory, program(runtime, world), runtime == "crun", cgroup, place.name, facts.joined
    )
    artifacts = {**bundle.files(spec, facts), **_supervision(start, world.systemd)}
    assigned = _assigned(spec, facts, runtime, root)
    if not world.systemd and cgroup == cgroup_path(spec.name, None):
        assigned["cgroup"] = cgroup
    assigned["artifacts"] = {path: digest(text) for path, (text, _mode) in artifacts.items()}
    return Desired(
        spec=spec,
        record=Record(LAYER, spec.name, project, spec.record(), assigned),
        artifacts=artifacts,
        start=start,
        attachments=attachments,
        claims=claims,
        lacking=tuple(lacking + _lacking(spec, world)),
        warnings=(
            *warnings,
            *shared,
            *unusable(spec, world.devices, base, (uid, gid, facts.groups)),
            *unfound(spec, root),
            *doubtful(spec, world.lsm),
        ),
        predicted=root is None,
        address=_address(spec, attachments, joined),
    )


def _cgroup(spec: ServiceSpec, known: Record | None, world: World) -> tuple[str, tuple[str, ...]]:
    """The control group of an instance, and a warning if it shares that with a slice: one of an earlier version stays where it is."""
    if spec.slice is not None or known is None or known.spec.get("slice") is not None:
        return cgroup_path(spec.name, spec.slice), ()
    cgroup = recorded_cgroup(spec.name, known)
    if world.systemd or cgroup == cgroup_path(spec.name, None) or spec.name not in world.slices:
        return cgroup, ()
    return cgroup, (
        f"service {spec.name}: it has no slice, but lies in the control group of slice {spec.name} and has its limits, since an earlier version"
        f" has made it: set slice to {spec.name} if that is meant, else remove it (state: absent) and make it again",
    )


def _assigned(spec: ServiceSpec, facts: Facts, runtime: str, root: Root | None) -> dict[str, t.Any]:
    """What was chosen for an instance, and is kept in its record."""
    ids = (facts.uid, facts.gid)
    assigned: dict[str, t.Any] = {
        "id_base": facts.id_base,
        "networks": [item.record() for item in facts.attachments],
        "runtime": runtime,
        "nameservers": list(facts.nameservers),
        "user": f"{facts.uid}:{facts.gid}",
    }
    if spec.env_files:
        assigned["env_files"] = environment.digests(spec)
    if spec.secrets:
        assigned["secrets"] = secrets.owners(spec, root, ids)
    if facts.joined is not None:
        assigned["joined"] = facts.joined
    return assigned


def _address(spec: ServiceSpec, attachments: t.Sequence[Attachment], joined: Joined | None) -> str | None:
    """Where the host asks whether it is well: at its own first address, or that of the network namespace that it shares."""
    network = spec.namespace("network")
    if network == "host":
        return "127.0.0.1"
    if network != "private" and joined is not None:
        return joined.address
    return next((item.ipv4 or item.ipv6 for item in attachments), None)


def _shared(spec: ServiceSpec, joined: Joined) -> tuple[int, tuple[Step, ...]]:
    """The first id of the user namespace that is joined.

    :raises ServiceRefused: another one is asked for.
    """
    if spec.id_base not in (None, joined.id_base):
        raise ServiceRefused(
            f"service {spec.name}: id_base: {spec.id_base} is not that of {joined.instance}, whose user namespace it joins"
            f" ({joined.id_base}): leave id_base out"
        )
    return joined.id_base, ()


def _nameservers(spec: ServiceSpec, world: World, known: Record | None) -> tuple[str, ...]:
    """The given ones, else the host's as they were when the service was made, until it is told to restart."""
    if spec.dns.nameservers is not None:
        return spec.dns.nameservers
    if known is not None and known.spec.get("dns", {}).get("nameservers") is None and spec.state != "restarted":
        return tuple(known.assigned.get("nameservers", ()))
    return world.nameservers


def _supervision(start: supervise.Start, on_systemd: bool) -> dict[str, tuple[str, int]]:
    if not on_systemd:
        return supervise.runit_files(start)
    name = start.spec.name
    unit = supervise.unit_name(name)
    files = {systemd.unit_file(unit): (supervise.unit_text(start), 0o644)}
    return {**files, **output.unit_files(name, unit)} if start.spec.standard_output == "pipe" else files
