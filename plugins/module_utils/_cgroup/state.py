# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Observe the host and its slices, as the kernel, systemd and the records show them."""

from __future__ import annotations

import os
import typing as t

from .._errors import InvalidOption
from .._host import cgroupfs, machine, systemd
from .._host.boot import gaps
from .._host.cgroupfs import Hierarchy
from .._host.files import read_text
from .._host.records import Record, load_records
from . import boot, metrics, unit, v1, v2
from .facts import DEFAULTS, RECORDS, Host, SliceState, Unit, World
from .limits import LIMITS, Value, page_name, parse_list
from .spec import Spec

_UNIT_PROPERTIES = ("FragmentPath", "ActiveState", "NeedDaemonReload", "DropInPaths")


_SYMBOLS = {"io.latency": "iolatency_set_limit", "memory.zswap.max": "zswap_max_write"}
"""Files of v2 that many kernels are built without, and the function that is there with each."""


def _lacking(trees: t.Sequence[Hierarchy]) -> frozenset[str]:
    """Interface files that the kernel lacks, as far as a group can be looked at that would have them."""
    gone: set[str] = set()
    for tree in trees:
        if tree.version == 1:
            here = {*machine.list_directory(tree.path), "pids.max"}
            # Like pids.max, the weight is in every group but the root, which shows that there are weights.
            if "blkio.bfq.io_serviced" in here:
                here.add("blkio.bfq.weight")
            gone |= _expected(tree, tree.controllers) - here
            continue
        for child in cgroupfs.children(tree.path):
            directory = os.path.join(tree.path, child)
            enabled = cgroupfs.read_files(directory, ["cgroup.controllers"]).get("cgroup.controllers", "").split()
            gone |= _expected(tree, enabled) - set(machine.list_directory(directory))
    return frozenset(gone)


def _unbuilt(specs: t.Sequence[Spec], trees: t.Sequence[Hierarchy]) -> set[str]:
    """Files that are asked for and that the kernel was built without, also where no group shows it yet."""
    asked = {option for spec in specs if spec.state != "absent" for option in spec.limits}
    files = {file for option in asked for file in v2.FILES[option] if file in _SYMBOLS}
    if not files or all(tree.version == 1 for tree in trees):
        return set()
    names = cgroupfs.kernel_functions([_SYMBOLS[file] for file in files])
    return set() if names is None else {file for file in files if _SYMBOLS[file] not in names}


def _settings(trees: t.Sequence[Hierarchy]) -> dict[str, frozenset[str]]:
    """The files of each controller of v2 that can be read and written, from the groups below the root that have it."""
    found: dict[str, frozenset[str]] = {}
    for tree in trees if any(tree.version == 2 for tree in trees) else ():
        for child in cgroupfs.children(tree.path) if tree.version == 2 else ():
            directory = os.path.join(tree.path, child)
            enabled = cgroupfs.read_files(directory, ["cgroup.controllers"]).get("cgroup.controllers", "").split()
            names = cgroupfs.settings(directory)
            for controller in enabled:
                here = frozenset(name for name in names if name.startswith(controller + "."))
                found[controller] = found.get(controller, frozenset()) | here
    return found


def _expected(tree: Hierarchy, controllers: t.Collection[str]) -> set[str]:
    """The interface files of our limits that a group with these controllers has."""
    words = v1 if tree.version == 1 else v2
    return {
        file
        for option, files in words.FILES.items()
        if words.controller(LIMITS[option].controller) in controllers
        for file in files
    }


def _find_disks(specs: t.Iterable[Spec]) -> dict[str, str]:
    """Device numbers of the paths that a task names."""
    found = {}
    for spec in specs:
        for option, path in spec.disks() if spec.state != "absent" else ():
            try:
                found[path] = machine.disk_of(path)
            except InvalidOption as error:
                raise InvalidOption(f"{spec.name}: {option}: {error}") from None
    return found


def observe_host(specs: t.Sequence[Spec] = ()) -> Host:
    """The facts that limits depend on; of the specs, the disks are looked up.

    :raises InvalidOption: one of them is no disk.
    """
    trees = cgroupfs.hierarchies()
    managed = systemd.booted()
    return Host(
        manager="systemd" if managed else "cgroupfs",
        hierarchies=trees,
        lacking=_lacking(trees) | _unbuilt(specs, trees),
        settings=_settings(trees) if any(spec.unified for spec in specs) else {},
        huge_pages={page_name(size): size for size in cgroupfs.huge_pages()},
        cpus=parse_list(machine.online_cpus()),
        nodes=parse_list(machine.online_nodes()),
        memory=machine.memory_total(),
        page=machine.page_size(),
        disks=machine.disks(),
        devices=_find_disks(specs),
        systemd=systemd.version() if managed else 0,
        boot_gaps=() if managed else gaps(),
    )


def _files(host: Host, tree: Hierarchy) -> list[str]:
    """The files to read in one hierarchy. v2 shows CPU time and pressure of every group, with or without controllers."""
    words, figures = (v1, metrics.V1) if tree.version == 1 else (v2, metrics.V2)
    found = _expected(tree, tree.controllers)
    if "hugetlb" in tree.controllers:
        found |= {words.page_file(size) for size in host.huge_pages}
    if not host.unentered(tree):
        found |= {name for name in figures if tree.version == 2 or name.split(".", 1)[0] in tree.controllers}
    return sorted(found)


def _figures(host: Host, path: str, files: t.Mapping[str, str]) -> dict[str, t.Any]:
    if host.version == "v2":
        return metrics.read_v2(files, host.numbers)
    found = metrics.read_v1(files, host.numbers)
    memory = host.tree("memory")
    if memory is not None:
        # v1 counts a kill in the victim's own group alone, which a runtime makes below the slice.
        groups = cgroupfs.descendants(os.path.join(memory.path, path))
        texts = [cgroupfs.read_files(group, ["memory.oom_control"]).get("memory.oom_control", "") for group in groups]
        kills = [metrics.flat(text).get("oom_kill") for text in texts]
        found["oom_kills"] = sum(kill for kill in kills if kill is not None) if any(texts) else None
    return found


def _parents_cpuset(tree: Hierarchy, path: str) -> dict[str, str]:
    """What the nearest group above that has a cpuset may use: that is what a slice without one of its own may use."""
    suffix = ".effective" if tree.version == 2 else ""
    found: dict[str, str] = {}
    while not found and path:
        path = os.path.dirname(path)
        found = cgroupfs.read_files(os.path.join(tree.path, path), ("cpuset.cpus" + suffix, "cpuset.mems" + suffix))
    return {name[: len("cpuset.cpus")]: text for name, text in found.items()}


def _read_kernel(host: Host, path: str) -> tuple[dict[str, Value], dict[str, t.Any], dict[str, str]]:
    """Limits and figures of one slice, and its parent's cpuset, which is the slice's default.

    A controller that v2 does not hand down to the slice, and a hierarchy of v1 in which the slice is only when it needs it,
    limit nothing: the limits there are the kernel's defaults.
    """
    limits: dict[str, Value] = {}
    known: dict[str, str] = {}
    parents: dict[str, str] = {}
    for tree in host.hierarchies:
        directory = os.path.join(tree.path, path)
        words = v1 if tree.version == 1 else v2
        files = cgroupfs.read_files(directory, _files(host, tree))
        parent = _parents_cpuset(tree, path)
        parents.update(parent)
        known.update(files)
        optional = tree.version == 2 or tree not in host.core()
        for option, limit in LIMITS.items():
            if host.tree(limit.controller) is not tree or not host.serves(option):
                continue
            value = words.decode(option, files, parent, host.numbers)
            if value is None and optional:
                value = limit.default
            if value is not None:
                limits[option] = value
    return {option: limits[option] for option in LIMITS if option in limits}, _figures(host, path, known), parents


def _read_raw(host: Host, path: str, keys: t.Iterable[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for key in keys:
        tree = host.raw_tree(key)
        if tree is not None:
            found.update(cgroupfs.read_files(os.path.join(tree.path, path), [key]))
    return found


def _handed_down(host: Host, path: str) -> frozenset[str]:
    """The v2 controllers that reach a slice."""
    found: set[str] = set()
    for tree in host.hierarchies:
        if tree.version == 2:
            name = "cgroup.controllers"
            found.update(cgroupfs.read_files(os.path.join(tree.path, path), [name]).get(name, "").split())
    return frozenset(found)


def _observe_unit(name: str, shown: t.Mapping[str, str]) -> Unit:
    return Unit(
        text=read_text(systemd.unit_file(systemd.slice_unit(name))),
        fragment=shown.get("FragmentPath", ""),
        active=shown.get("ActiveState") == "active",
        stale=shown.get("NeedDaemonReload") == "yes",
        drop_ins=shown.get("DropInPaths", ""),
    )


def _observe_slice(
    host: Host, name: str, record: Record | None, keys: t.Iterable[str], shown: t.Mapping[str, str]
) -> SliceState:
    path = host.path(name)
    noted = record.assigned.get(DEFAULTS, {}) if record is not None else {}
    present = tuple(tree for tree in host.hierarchies if os.path.isdir(os.path.join(tree.path, path)))
    limits, figures, parent = _read_kernel(host, path)
    if not present:
        limits, figures = {}, metrics.nothing()
    found_unit = _observe_unit(name, shown) if host.manager == "systemd" else None
    if found_unit is not None and not found_unit.active and found_unit.text is not None:
        # Nothing is in the slice, so that the kernel has none: what will be in force is what the unit says.
        limits = {option: limit.default for option, limit in LIMITS.items() if host.serves(option)}
        limits.update(unit.parse(found_unit.text))
    freezer = host.freezer()
    return SliceState(
        name=name,
        record=record,
        present=present,
        controllers=_handed_down(host, path),
        limits=limits,
        raw=_read_raw(host, path, sorted({*keys, *noted})),
        figures=figures,
        parent=parent,
        processes=frozenset(pid for tree in present for pid in cgroupfs.processes(os.path.join(tree.path, path))),
        frozen=freezer is not None and cgroupfs.is_frozen(freezer, path),
        boot_text=read_text(boot.path(name)),
        unit=found_unit,
    )


def _units(host: Host, names: t.Sequence[str]) -> dict[str, dict[str, str]]:
    if host.manager != "systemd":
        return {}
    shown = systemd.show([systemd.slice_unit(name) for name in names], _UNIT_PROPERTIES)
    return {name: shown.get(systemd.slice_unit(name), {}) for name in names}


def observe(specs: t.Sequence[Spec]) -> World:
    """What a task for these slices has to know.

    :raises InvalidOption: a disk of `io_max` or `io_latency` is none.
    """
    host = observe_host(specs)
    records = load_records(RECORDS)
    shown = _units(host, [spec.name for spec in specs])
    slices = {
        spec.name: _observe_slice(host, spec.name, records.get(spec.name), spec.unified, shown.get(spec.name, {}))
        for spec in specs
    }
    return World(host, slices, records)


def observe_all() -> World:
    """Every slice that we have a record of."""
    host = observe_host()
    records = load_records(RECORDS)
    shown = _units(host, list(records))
    return World(
        host,
        {name: _observe_slice(host, name, record, (), shown.get(name, {})) for name, record in records.items()},
        records,
    )
