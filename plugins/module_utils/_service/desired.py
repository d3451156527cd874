# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What an instance is to be on this host: what was asked for, filled in by what the host and the records have. Pure."""

from __future__ import annotations

import hashlib
import typing as t
from dataclasses import dataclass

from .._bridge.ports import MAX_PORTS
from .._errors import InvalidOption, IsolationError
from .._host import oci, runit, systemd
from .._host.libexec import path as helper_path
from .._host.records import Record, check_project
from .._names import interface_name, mac_address
from .._plan import Step
from .._ranges import Ranges
from . import bundle, supervise
from .addresses import Pool, canonical
from .bundle import Attachment, Facts
from .spec import Network, ServiceSpec
from .state import LAYER, BridgeView, Root, World, cgroup_path, directory

Promises = t.Mapping[str, t.Any]

FLOORS: dict[str, tuple[tuple[int, ...], ...]] = {"crun": ((1, 25, 1),), "runc": ((1, 2, 8), (1, 3, 3), (1, 4))}
"""The first version of each line that has no known way out (CVE-2024-21626, CVE-2025-31133, -52565, -52881)."""


class ServiceRefused(IsolationError):
    """What is asked of a service can't be."""


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


def promised(expect: Promises, kind: str, name: str) -> t.Mapping[str, t.Any] | None:
    """What an earlier layer of the same run would make; None if it promises no such thing."""
    for item in expect.get(kind) or []:
        if item.get("name") == name and item.get("state") != "absent":
            return t.cast("t.Mapping[str, t.Any]", item)
    return None


def digest(text: str) -> str:
    """What tells one content of an artifact from another."""
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:16]


class Networks:
    """Addresses as they stand after the elements planned so far."""

    def __init__(self, world: World, expect: Promises) -> None:
        self._world = world
        self._expect = expect
        self._pools: dict[str, Pool] = {}
        self._asked: set[str] = set()
        self._ports: dict[str, set[str]] = {}
        self._owners = dict(world.reserved)
        for name, record in world.records.items():
            for item in record.assigned.get("networks", []):
                self._owners.update({item[key]: name for key in ("ipv4", "ipv6") if item.get(key)})

    def reserve(self, specs: t.Iterable[ServiceSpec]) -> None:
        """Keep what elements of this task ask for by number from being assigned to others."""
        for spec in specs:
            for network in spec.networks:
                self._asked.update(address for address in (network.ipv4, network.ipv6) if address)

    def view(self, spec: ServiceSpec, bridge: str) -> BridgeView:
        """A bridge as it is promised, else as it is.

        :raises ServiceRefused: it neither exists nor is promised.
        """
        promise = promised(self._expect, "bridges", bridge)
        found = self._world.bridges.get(bridge)
        if promise is not None and promise.get("addresses") is not None:
            ports = found.ports if found is not None else frozenset()
            gateways = tuple(canonical(str(route.get("via"))) for route in promise.get("routes") or ())
            return BridgeView(tuple(promise["addresses"]), True, bool(promise.get("l2")), ports, gateways)
        if found is None:
            raise ServiceRefused(
                f"service {spec.name}: networks: there is no bridge {bridge} on this host: make it with"
                " daemonless.isolation.bridge first, or promise it with expect"
            )
        return found

    def pool(self, spec: ServiceSpec, bridge: str) -> Pool:
        """The addresses of a bridge.

        :raises ServiceRefused: it neither exists nor is promised.
        """
        if bridge not in self._pools:
            view = self.view(spec, bridge)
            # Who is to be a gateway asks for its address by number, perhaps in a later task.
            self._pools[bridge] = Pool(bridge, view.addresses, self._owners, {*self._asked, *view.gateways})
        return self._pools[bridge]

    def _plug(self, spec: ServiceSpec, bridge: str, view: BridgeView) -> str:
        """The host's end of a link to a bridge.

        :raises ServiceRefused: the bridge has no port left.
        """
        link = interface_name(spec.name, bridge)
        ports = self._ports.setdefault(bridge, set(view.ports))
        if link not in ports and len(ports) >= MAX_PORTS:
            raise ServiceRefused(
                f"service {spec.name}: networks: bridge {bridge} has {len(ports)} ports, as many as the kernel gives a bridge:"
                " use another bridge"
            )
        ports.add(link)
        return link

    def attach(self, spec: ServiceSpec, network: Network) -> Attachment:
        """A network with its addresses: the given ones, else those of the record, else new ones."""
        pool = self.pool(spec, network.bridge)
        record = self._world.records.get(spec.name)
        kept: t.Mapping[str, t.Any] = {}
        for item in record.assigned.get("networks", []) if record is not None else []:
            if item["bridge"] == network.bridge:
                kept = item
        found: dict[int, str | None] = {}
        for version, given, key in ((4, network.ipv4, "ipv4"), (6, network.ipv6, "ipv6")):
            if given is not None:
                found[version] = pool.take(given, spec.name)
            elif kept.get(key) and pool.holds(kept[key]):
                found[version] = pool.take(kept[key], spec.name)
            else:
                found[version] = pool.assign(version, spec.name)
        if not any(found.values()):
            raise ServiceRefused(
                f"service {spec.name}: networks: bridge {network.bridge} has no address, so that a service can have none:"
                " give it one (option addresses of daemonless.isolation.bridge)"
            )
        view = self.view(spec, network.bridge)
        return Attachment(
            network.bridge,
            self._plug(spec, network.bridge, view),
            mac_address(spec.name, network.bridge),
            found[4],
            found[6],
            pool.gateway(4),
            pool.gateway(6),
            view.ours,
            view.l2,
            pool.length(found[4]) if view.l2 else 32,
            pool.length(found[6]) if view.l2 else 128,
            tuple(version for version in (4, 6) if found[version] in view.gateways),
        )


def _resolve_id(name: str, table: str, spec: ServiceSpec) -> tuple[int, int]:
    """The id of a name in passwd(5) or group(5), and its group's for a user."""
    for line in table.splitlines():
        fields = line.split(":")
        if fields[0] == name and len(fields) > 3 and fields[2].isdigit():
            return int(fields[2]), int(fields[3]) if fields[3].isdigit() else int(fields[2])
    raise ServiceRefused(
        f"service {spec.name}: user: the root filesystem's /etc/passwd or /etc/group has no {name!r}: write numbers, or add it there"
    )


def resolve_user(spec: ServiceSpec, root: Root | None) -> tuple[int, int]:
    """The ids of a service's user and group inside. Where the root filesystem is only promised, names stand for 0.

    :raises ServiceRefused: a name is not there, or an id is outside of the range.
    """
    user, colon, group = spec.user.partition(":")
    passwd, groups = (root.passwd, root.group) if root is not None else ("", "")
    if user.isdigit():
        uid = int(user)
        lines = [line.split(":") for line in passwd.splitlines()]
        primary = [int(line[3]) for line in lines if len(line) > 3 and line[2] == user and line[3].isdigit()]
        gid = primary[0] if primary else uid
    elif root is None:
        uid = gid = 0
    else:
        uid, gid = _resolve_id(user, passwd, spec)
    if colon:
        gid = int(group) if group.isdigit() else 0 if root is None else _resolve_id(group, groups, spec)[0]
    if uid > 65534 or gid > 65534:
        raise ServiceRefused(f"service {spec.name}: user: {uid}:{gid}: a service's ids are 0 to 65534")
    return uid, gid


def below_floor(name: str, version: tuple[int, ...]) -> bool:
    """Whether a runtime of this version has known ways out."""
    lines = FLOORS[name]
    for floor in lines:
        if version[: len(floor) - 1] == floor[: len(floor) - 1]:
            return version < floor
    return version < lines[-1]


def _choose_runtime(spec: ServiceSpec, world: World) -> tuple[str, list[str], list[str]]:
    """The runtime's name, warnings, and what is lacking.

    :raises ServiceRefused: it is too old, and the policy is strict.
    """
    record = world.records.get(spec.name)
    kept = record.assigned.get("runtime") if record is not None else None
    if world.systemd and spec.runtime == "runc":
        raise ServiceRefused(
            f"service {spec.name}: runtime: runc makes control groups beside systemd's, out of the slice: use crun on this host"
        )
    known = oci.RUNTIMES[:1] if world.systemd else oci.RUNTIMES
    name = spec.runtime or kept or next((one for one in known if one in world.runtimes), known[0])
    runtime = world.runtimes.get(name)
    if runtime is None:
        return (
            name,
            [],
            [
                f"service {spec.name}: the runtime {name} is not installed: install the package {name}, or apply the role"
                " daemonless.isolation.isolation_host first"
            ],
        )
    if not below_floor(name, runtime.version):
        return name, [], []
    floors = " or ".join(".".join(map(str, floor)) for floor in FLOORS[name])
    said = (
        f"{runtime.shown} is older than {floors}: known ways out of a container are closed there (CVE-2025-31133,"
        " CVE-2025-52565, CVE-2025-52881), unless your distribution has mended this version"
    )
    if spec.strict:
        raise ServiceRefused(f"service {spec.name}: {said}: upgrade {name}, or set runtime_policy to warn")
    return name, [said], []


def _program(runtime: str, world: World) -> str:
    """What the supervisor starts: crun by the helper that knows about mixed control groups."""
    if runtime == "crun":
        return helper_path(oci.RUNTIME_HELPER)
    found = world.runtimes.get(runtime)
    return found.path if found is not None else f"/usr/bin/{runtime}"


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
    if owner != spec.service:
        raise ServiceRefused(
            f"service {spec.name}: rootfs: {spec.rootfs} is promised for service {owner}, not {spec.service}"
        )
    path = promise.get("path") or f"{directory(spec.rootfs)}/rootfs"
    return _Place(path, spec.rootfs, promise.get("mode") == "read_only", promise.get("id_base"), True)


def _check_sources(spec: ServiceSpec, world: World) -> None:
    for mount in spec.mounts:
        if mount.source in world.missing_sources:
            raise InvalidOption(f"{spec.name}: mounts: source: {mount.source} is not on this host")


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


def desired(spec: ServiceSpec, world: World, expect: Promises, project: str, ranges: Ranges, nets: Networks) -> Desired:
    """What an instance is to be.

    :raises IsolationError: it can't be so on this host.
    """
    known = world.records.get(spec.name)
    check_project(LAYER, spec.name, project, known)
    if known is not None and known.spec["service"] != spec.service:
        raise ServiceRefused(
            f"service {spec.name}: belongs to service {known.spec['service']}, not {spec.service}: remove it first (state: absent)"
        )
    place = _place(spec, world, expect)
    root = world.roots.get(spec.name)
    if root is not None:
        _check_root(spec, root)
    elif spec.name in world.promised_without:
        raise _no_command(spec, place.path)
    _check_slice(spec, world, expect)
    _check_sources(spec, world)
    runtime, warnings, lacking = _choose_runtime(spec, world)
    promised_base = place.id_base if place.promised else None
    base, claims = ranges.choose(spec.name, spec.service, spec.id_base, promised_base)
    if place.id_base not in (None, base):
        raise ServiceRefused(
            f"service {spec.name}: rootfs: {spec.rootfs} belongs to ids from {place.id_base} on, not {base}: prepare it for"
            f" the same service (service: {spec.service})"
        )
    attachments = tuple(nets.attach(spec, network) for network in spec.networks)
    uid, gid = resolve_user(spec, root)
    servers = _nameservers(spec, world, known)
    cgroup = cgroup_path(spec.name, spec.slice)
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
    )
    start = supervise.Start(spec, facts.directory, _program(runtime, world), runtime == "crun", cgroup, place.name)
    artifacts = {**bundle.files(spec, facts), **_supervision(start, world.systemd)}
    assigned = {
        "id_base": base,
        "networks": [item.record() for item in attachments],
        "runtime": runtime,
        "nameservers": list(servers),
        "user": f"{uid}:{gid}",
        "artifacts": {path: digest(text) for path, (text, _mode) in artifacts.items()},
    }
    return Desired(
        spec=spec,
        record=Record(LAYER, spec.name, project, spec.record(), assigned),
        artifacts=artifacts,
        start=start,
        attachments=attachments,
        claims=claims,
        lacking=tuple(lacking + _lacking(spec, world)),
        warnings=tuple(warnings),
        predicted=root is None,
    )


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
    return {systemd.unit_file(supervise.unit_name(start.spec.name)): (supervise.unit_text(start), 0o644)}
