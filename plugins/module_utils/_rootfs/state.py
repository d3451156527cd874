# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a host has of root filesystems: records, images, mounts, processes. `lookup` and `observe_all` serve other layers."""

from __future__ import annotations

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
    """All that planning looks at. `sources` holds the digest that each present element asks for, `untold` instead the tool that would tell it."""

    records: t.Mapping[str, Record]
    services: t.Mapping[str, Record]
    ranges: t.Mapping[str, Record]
    foreign: tuple[tuple[int, int], ...]
    images: t.Mapping[str, Image]
    used_images: frozenset[str]
    unpacked: frozenset[str]
    instances: t.Mapping[str, Instance]
    sources: t.Mapping[str, str]
    archives: t.Mapping[str, Archive]
    systemd: bool
    helper: str
    helper_current: bool
    helper_there: bool
    tools: t.Mapping[str, bool] = field(default_factory=dict)
    untold: t.Mapping[str, str] = field(default_factory=dict)


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


def observe(specs: t.Sequence[RootfsSpec]) -> World:
    """What the host has of what the specs name.

    :raises InvalidOption: a source can't be read.
    """
    records = load_records(LAYER)
    known = images.load_all()
    among = mounts()
    processes = instances.all_residents() if any(spec.name in records for spec in specs) else []
    on_systemd = systemd.booted()
    units = _units([spec.name for spec in specs]) if on_systemd else {}
    found: dict[str, Instance] = {}
    sources, archives, untold = {}, {}, {}
    for spec in specs:
        record = records.get(spec.name)
        layout = layout_of(record) if record else Layout(spec.name, "", 0, spec.mode)
        seen = instances.see(layout, among, [file.path for file in spec.files])
        found[spec.name] = Instance(record, seen, instances.users(spec.name, processes), units.get(spec.name))
        if spec.present:
            told = resolve(spec, record, known)
            if told.digest is not None:
                sources[spec.name] = told.digest
            if told.missing is not None:
                untold[spec.name] = told.missing
            if told.archive is not None:
                archives[spec.name] = told.archive
    text = program(_boot_helper)
    return World(
        records=records,
        services=load_records("service"),
        ranges=own_ranges(),
        foreign=foreign_ranges(),
        images=known,
        used_images=images.in_use(instances=False) if any(spec.prune_images for spec in specs) else frozenset(),
        unpacked=frozenset(images.unpacked_now),
        instances=found,
        sources=sources,
        archives=archives,
        systemd=on_systemd,
        helper=text,
        helper_current=file_matches(helper_path(HELPER), text, 0o755),
        helper_there=os.path.lexists(helper_path(HELPER)),
        tools={tool: find_tool(tool) is not None for tool in ("mmdebstrap", "skopeo")},
        untold=untold,
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
