# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a host has of root filesystems: records, images, mounts, processes. `lookup` and `observe_all` serve other layers."""

from __future__ import annotations

import contextlib
import os
import typing as t
from dataclasses import dataclass, field

from .. import _paths
from .._host import images, instances, systemd
from .._host.files import file_matches
from .._host.helpers import rootfs as _boot_helper
from .._host.helpers.rootfs import Layout
from .._host.idrange import foreign_ranges, own_ranges
from .._host.images import Image
from .._host.instances import Seen
from .._host.libexec import path as helper_path
from .._host.libexec import program
from .._host.manifest import Damage
from .._host.mounts import Mount, Resident, mounts
from .._host.process import find_tool
from .._host.records import Record, load_records
from .sources import Archive, resolve
from .spec import RootfsSpec

LAYER = "rootfs"
HELPER = "rootfs"


@dataclass(frozen=True)
class UnitState:
    """The boot artifact of one root filesystem on a systemd host."""

    text: str | None
    enabled: bool = False
    active: bool = False


@dataclass(frozen=True)
class Instance:
    """One root filesystem as the host has it: its record, the mount, the processes inside, its unit."""

    record: Record | None
    seen: Seen
    users: tuple[Resident, ...] = ()
    unit: UnitState | None = None


@dataclass(frozen=True)
class World:
    """All that planning looks at. `sources` holds the digest that each present element asks for, `untold` instead the tool that would tell it.

    `used_images` are layers of mounts that are not our instances', `unpacked` images that this run has unpacked, in
    seconds. For images that are found damaged, `image_users` has the processes on them and `image_mounts` the mounted
    layouts by name. For collecting, `busy` are root filesystems that processes use or services name, `abandoned` claims
    of killed runs, `ages` when records were written (ns), `leftovers` paths. `process` is our own process id.
    """

    records: t.Mapping[str, Record]
    services: t.Mapping[str, Record]
    ranges: t.Mapping[str, Record]
    foreign: tuple[tuple[int, int], ...]
    images: t.Mapping[str, Image]
    used_images: frozenset[str]
    unpacked: t.Mapping[str, float]
    instances: t.Mapping[str, Instance]
    sources: t.Mapping[str, str]
    archives: t.Mapping[str, Archive]
    systemd: bool
    helper: str
    helper_current: bool
    helper_there: bool
    tools: t.Mapping[str, bool] = field(default_factory=dict)
    untold: t.Mapping[str, str] = field(default_factory=dict)
    damage: t.Mapping[str, Damage] = field(default_factory=dict)
    image_users: t.Mapping[str, tuple[Resident, ...]] = field(default_factory=dict)
    image_mounts: t.Mapping[str, t.Mapping[str, Layout]] = field(default_factory=dict)
    busy: frozenset[str] = frozenset()
    abandoned: frozenset[str] = frozenset()
    ages: t.Mapping[str, int] = field(default_factory=dict)
    leftovers: tuple[str, ...] = ()
    process: int = 0


@dataclass(frozen=True)
class RootfsView:
    """A root filesystem as other layers need it: `path` is the mount point, `image` the image's `rootfs` directory."""

    name: str
    path: str
    image: str
    upper: str
    id_base: int
    digest: str
    mode: str
    mounted: bool


def unit_name(name: str) -> str:
    """The systemd unit that mounts a root filesystem at boot."""
    return f"isolation-rootfs-{systemd.escape(name)}.service"


def claimed(record: Record) -> bool:
    """Whether a record says no more than that a run has begun."""
    return "claim" in record.assigned


def layout_of(record: Record) -> Layout:
    """The layout that a record stands for."""
    image = os.path.join(record.assigned["image"], "rootfs")
    return Layout(record.name, image, record.assigned["id_base"], record.spec["mode"], record.spec.get("size"))


def _view(record: Record, among: t.Sequence[Mount]) -> RootfsView:
    layout = layout_of(record)
    mount = _boot_helper.find(layout.target, among)
    mounted = mount is not None and _boot_helper.matches(mount, layout)
    return RootfsView(
        record.name,
        layout.target,
        layout.image,
        layout.upper,
        layout.id_base,
        record.assigned["digest"],
        layout.mode,
        mounted,
    )


def lookup(name: str) -> RootfsView | None:
    """A root filesystem by its name, or None if there is none of ours."""
    record = load_records(LAYER).get(name)
    return None if record is None else _view(record, mounts())


def observe_all() -> list[dict[str, t.Any]]:
    """Every root filesystem of the host, as host_info reports it."""
    among = mounts()
    processes = instances.all_residents()
    found = []
    for record in load_records(LAYER).values():
        view = _view(record, among)
        image = images.load(view.digest)
        found.append(
            {
                "name": record.name,
                "project": record.project,
                "service": record.spec.get("service"),
                "path": view.path,
                "digest": view.digest,
                "image": record.assigned["image"],
                "size": image.size if image else None,
                "id_base": view.id_base,
                "mode": view.mode,
                "mounted": view.mounted,
                "pids": [user.pid for user in instances.users(record.name, processes)],
            }
        )
    return found


def observe_images() -> list[dict[str, t.Any]]:
    """Every image of the host's store, and which root filesystems refer to it."""
    users: dict[str, list[str]] = {}
    for record in load_records(LAYER).values():
        users.setdefault(record.assigned["digest"], []).append(record.name)
    return [
        {
            "digest": image.digest,
            "path": image.path,
            "source": dict(image.source),
            "size": image.size,
            "entries": image.entries,
            "rootfs": sorted(users.get(image.digest, [])),
        }
        for image in images.load_all().values()
    ]


def _units(names: t.Sequence[str]) -> dict[str, UnitState]:
    """Boot units by root filesystem."""
    from .._host.files import read_text

    shown = systemd.show([unit_name(name) for name in names], ["UnitFileState", "ActiveState"])
    states = {}
    for name in names:
        unit = unit_name(name)
        properties = shown.get(unit, {})
        enabled = properties.get("UnitFileState") == "enabled"
        states[name] = UnitState(read_text(systemd.unit_file(unit)), enabled, properties.get("ActiveState") == "active")
    return states


def _ages(records: t.Iterable[Record]) -> dict[str, int]:
    """When the records of root filesystems were last written, in nanoseconds."""
    found = {}
    for record in records:
        with contextlib.suppress(FileNotFoundError):
            found[record.name] = os.stat(record.path).st_mtime_ns
    return found


def _abandoned(records: t.Iterable[Record]) -> frozenset[str]:
    """Claims whose run is gone."""
    return frozenset(
        record.name for record in records if claimed(record) and not os.path.exists(f"/proc/{record.assigned['claim']}")
    )


def _busy(
    records: t.Iterable[Record], services: t.Mapping[str, Record], processes: t.Sequence[Resident]
) -> frozenset[str]:
    """Root filesystems that a process uses, or the record of a service names."""
    layers = frozenset().union(*(process.layers for process in processes))
    used = {record.name for record in records if instances.upper(record.name) in layers}
    return frozenset(used | {str(record.spec.get("rootfs")) for record in services.values()})


def _image_users(digests: t.Iterable[str], processes: t.Sequence[Resident]) -> dict[str, tuple[Resident, ...]]:
    found = {}
    for digest in digests:
        layer = os.path.join(images.folder(digest), "rootfs")
        found[digest] = tuple(process for process in processes if layer in process.layers)
    return found


def _image_mounts(
    digests: t.Iterable[str], records: t.Iterable[Record], among: t.Sequence[Mount]
) -> dict[str, dict[str, Layout]]:
    """The mounted root filesystems of images."""
    targets = {mount.target for mount in among}
    return {
        digest: {
            record.name: layout_of(record)
            for record in records
            if record.assigned["digest"] == digest and instances.mount_point(record.name) in targets
        }
        for digest in digests
    }


def observe(specs: t.Sequence[RootfsSpec]) -> World:
    """What the host has of what the specs name.

    :raises InvalidOption: a source can't be read.
    """
    records, services = load_records(LAYER), load_records("service")
    known = images.load_all()
    among = mounts()
    collecting = any(spec.prune_images or spec.keep is not None for spec in specs)
    looking = collecting or any(spec.verify or spec.name in records for spec in specs)
    processes = instances.all_residents() if looking else []
    on_systemd = systemd.booted()
    units = _units([spec.name for spec in specs]) if on_systemd else {}
    found: dict[str, Instance] = {}
    sources, archives, untold, damage = {}, {}, {}, {}
    for spec in specs:
        record = records.get(spec.name)
        layout = layout_of(record) if record else Layout(spec.name, "", 0, spec.mode)
        seen = instances.see(layout, among, [file.path for file in spec.files])
        found[spec.name] = Instance(record, seen, instances.users(spec.name, processes), units.get(spec.name))
        if spec.present:
            told = resolve(spec, record, known)
            image = known.get(told.digest or "")
            wrong = images.damage(image) if spec.verify and image is not None else None
            if image is not None and wrong is not None:
                damage[image.digest] = wrong
                others = {key: one for key, one in known.items() if key != image.digest}
                told = resolve(spec, record, others)  # it must be there to be unpacked again
            if told.digest is not None:
                sources[spec.name] = told.digest
            if told.missing is not None:
                untold[spec.name] = told.missing
            if told.archive is not None:
                archives[spec.name] = told.archive
    pruning = damage or any(spec.prune_images for spec in specs)
    text = program(_boot_helper)
    return World(
        records=records,
        services=services,
        ranges=own_ranges(),
        foreign=foreign_ranges(),
        images=known,
        used_images=images.in_use(instances=False) if pruning else frozenset(),
        unpacked=dict(images.unpacked_now),
        instances=found,
        sources=sources,
        archives=archives,
        systemd=on_systemd,
        helper=text,
        helper_current=file_matches(helper_path(HELPER), text, 0o755),
        helper_there=os.path.lexists(helper_path(HELPER)),
        tools={tool: find_tool(tool) is not None for tool in ("mmdebstrap", "skopeo")},
        untold=untold,
        damage=damage,
        image_users=_image_users(damage, processes),
        image_mounts=_image_mounts(damage, records.values(), among),
        busy=_busy(records.values(), services, processes) if collecting else frozenset(),
        abandoned=_abandoned(records.values()) if collecting else frozenset(),
        ages=_ages(records.values()) if collecting else {},
        leftovers=images.leftovers() + instances.leftovers(),
        process=os.getpid(),
    )


def unit_text(name: str) -> str:
    """The unit that mounts a root filesystem at boot. A service's unit requires it; it is wanted by itself, too."""
    return f"""# {_paths.MARKER}
[Unit]
Description=Root filesystem of {name}
RequiresMountsFor={_paths.LIB} {_paths.LIBEXEC}

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart={helper_path(HELPER)} mount {name}
ExecStop={helper_path(HELPER)} umount {name}

[Install]
WantedBy=multi-user.target
"""
