# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What brings published ports to what is asked for. Pure."""

from __future__ import annotations

import functools
import typing as t
from dataclasses import dataclass, field

from .. import _paths, _siblings
from .._host.boot import EnsureBoot, TidyBoot
from .._host.files import RemoveFile, WriteFile
from .._host.hosts import RenewHosts
from .._host.netlink import Flow, ForgetUdp
from .._host.nft import ApplyRuleset
from .._host.records import DropRecord, Record, SaveRecord, check_project
from .._plan import Change, Plan, Step, TaskPlan
from . import render
from .apply import RequireTools, VerifyOrRevert
from .check import check_conflicts, check_listeners, check_service_addresses
from .elements import (
    CHAIN,
    Elements,
    Key,
    all_elements,
    mapping_elements,
    port_keys,
    service_element,
    show_data,
    show_key,
    udp_place,
)
from .model import Mapping, PortmapSpec, from_record, mappings_of_record
from .state import SCRIPT, TABLE_FILE, World, describe
from .unconfirmed import LAYER, Owners, owners_after
from .wayback import steps as wayback_steps

_SCRIPT = f"#!/bin/sh\n# {_paths.MARKER}\nset -e\nnft -f {TABLE_FILE}\n"


@dataclass(frozen=True)
class Delta:
    """What changes the table's elements: keys to delete, elements to add; a key in both is swapped."""

    delete: frozenset[Key] = frozenset()
    add: Elements = field(default_factory=dict)

    @property
    def keys(self) -> set[Key]:
        """All keys that change."""
        return {*self.delete, *self.add}

    def back(self, actual: t.Mapping[Key, tuple[str, str]]) -> Delta:
        """What undoes it: `actual` are the elements before."""
        return Delta(frozenset(self.add), {key: actual[key] for key in self.delete})


def desired_specs(specs: t.Iterable[PortmapSpec], records: t.Mapping[str, Record]) -> dict[str, PortmapSpec]:
    """What all owners of the host are to publish: those of the records, with this task's in their place."""
    mine = {spec.name: spec for spec in specs}
    found = {name: from_record(name, record.spec) for name, record in records.items() if name not in mine}
    found.update({name: spec for name, spec in mine.items() if spec.present})
    return found


def plan_delta(actual: t.Mapping[Key, tuple[str, str]], wanted: Elements, scope: t.Collection[str]) -> Delta:
    """What brings elements to what is wanted: those of the owners in `scope`, of owners that nobody knows, and of none."""
    known = {owner for _data, owner in wanted.values()}
    add = {
        key: value for key, value in wanted.items() if actual.get(key) != value and (value[1] in scope or not value[1])
    }
    delete = {key for key in add if key in actual}
    for key, (_data, owner) in actual.items():
        if key not in wanted and (not owner or owner in scope or owner not in known):
            delete.add(key)
    gone = {key for key in delete if key[0] == CHAIN}
    if gone:
        # An owner that this task is not about may still lead to a chain.
        held = {(CHAIN, data[len("goto ") :]) for key, (data, _owner) in actual.items() if key not in delete}
        delete -= gone & held
    return Delta(frozenset(delete), add)


def _before(
    mapping: Mapping, actual: t.Mapping[Key, tuple[str, str]], old: t.Mapping[str, Mapping], owner: str
) -> str | None:
    """What the kernel has in place of a mapping, for people."""
    earlier = old.get(mapping.label)
    if earlier is not None:
        wanted = mapping_elements(earlier, owner)
        if all(actual.get(key) == value for key, value in wanted.items()):
            return earlier.summary
    keys = port_keys(mapping)
    held = [actual[key] for key in keys if key in actual]
    if not held:
        return None
    if len(keys) == 1:
        data, holder = held[0]
        return show_data(data) + ("" if holder == owner else f" (of {holder or 'nobody'})")
    return f"{len(held)} of {len(keys)} ports"


def _changes(spec: PortmapSpec, actual: t.Mapping[Key, tuple[str, str]], record: Record | None) -> list[Change]:
    """A line for each mapping and service address that differs."""
    kept: t.Mapping[str, t.Any] = record.spec if record is not None else {"mappings": ()}
    differing = spec.differing(actual) if spec.present else []
    wanted: t.Collection[Key] = spec.elements if spec.present else ()
    stale = {key for key, (_data, owner) in actual.items() if owner == spec.name and key not in wanted}
    earlier = mappings_of_record(kept, {mapping.low for mapping, _part in differing}) if differing else []
    by_label = {mapping.label: mapping for mapping in earlier}
    changes = [
        Change(mapping.label, _before(mapping, actual, by_label, spec.name), mapping.summary)
        for mapping, _part in differing
    ]
    for service in spec.service_addresses if spec.present else ():
        ((key, value),) = service_element(service, spec.name).items()
        if actual.get(key) != value:
            changes.append(Change(show_key(key), actual.get(key, (None,))[0], service.to))
    labels = {change.key for change in changes}
    for mapping, part in from_record(spec.name, kept).parts if stale else ():
        mine = stale.intersection(part)
        if mine and mapping.label not in labels:
            changes.append(Change(mapping.label, mapping.summary, None))
        stale -= mine
    changes += [Change(show_key(key), show_data(actual[key][0]), None) for key in sorted(stale)]
    return changes


def _flows(keys: t.Iterable[Key], specs: t.Iterable[PortmapSpec]) -> tuple[Flow, ...]:
    """Tracked UDP connections that a change of these elements leaves behind; `specs` are what is published now."""
    places = {place for place in map(udp_place, keys) if place is not None}
    if not places:
        return ()
    mappings: dict[tuple[bool, str | None, int], Mapping] = {}
    services: dict[str, str] = {}
    for spec in specs:
        services.update((service.address, service.to) for service in spec.service_addresses)
        for mapping in spec.mappings:
            if mapping.protocol == "udp":
                mappings.update(((mapping.six, mapping.host_address, port), mapping) for port in mapping.ports)
    flows = {}
    for six, address, ports in places:
        for port in ports or ():
            mapping_ = mappings.get((six, address, port))
            flows[six, address, port] = (
                Flow(six, address, port)
                if mapping_ is None
                else Flow(six, address, port, frozenset(mapping_.targets(port)), mapping_.allow, mapping_.deny)
            )
        if ports is None and address is not None:
            kept = frozenset({(services[address], None)}) if address in services else frozenset()
            flows[six, address, 0] = Flow(six, address, None, kept)
    return tuple(flows[key] for key in sorted(flows, key=lambda key: (key[0], key[1] or "", key[2])))


def _element(spec: PortmapSpec, world: World, project: str) -> tuple[list[Change], list[Step], list[Step]]:
    """Changes, steps before and steps after the transaction, of one owner."""
    record = world.records.get(spec.name)
    changes = _changes(spec, world.elements, record)
    if not spec.present:
        if record is not None:
            changes = changes or [Change("state", "present", "absent")]
        return changes, [RequireTools()] if changes else [], [DropRecord(record)] if record else []
    wanted = Record(LAYER, spec.name, project, spec.kept, {})
    before: list[Step] = [RequireTools()]
    if record != wanted:
        if not changes:
            changes = [Change("record", "other" if record else "absent", "present")]
        before.append(SaveRecord(wanted))
    return changes, before, []


def _forget(flows: tuple[Flow, ...]) -> list[Step]:
    return [ForgetUdp(flows)] if flows else []


def _ruleset(script: str) -> Step:
    return ApplyRuleset(script, f"table {render.TABLE}")


def _remove(world: World, keys: t.Iterable[Key], there: bool) -> list[Step]:
    """Away with the table. The files go before it: what restores it goes by them."""
    files = ((TABLE_FILE, world.table_file), (SCRIPT, world.script))
    steps: list[Step] = [RemoveFile(path, _paths.ETC) for path, text in files if text is not None]
    return [*steps, *([_ruleset(render.table_text(None))] if there else []), *_forget(_flows(keys, ()))]


@dataclass(frozen=True)
class Target:
    """What the table is to be: of whom, with which elements, as text, and what changes in it."""

    specs: t.Mapping[str, PortmapSpec]
    elements: Elements
    text: str
    delta: Delta


@functools.lru_cache(maxsize=2)
def _text(specs: tuple[PortmapSpec, ...]) -> str:
    """The table's text. That of the same owners is made once."""
    return render.table_text(all_elements(specs))


def _target(specs: t.Mapping[str, PortmapSpec], world: World, scope: t.Collection[str]) -> Target:
    wanted = all_elements(specs.values())
    delta = plan_delta(world.elements, wanted, scope) if world.intact else Delta()
    return Target(specs, wanted, _text(tuple(specs.values())), delta)


def _shared(world: World, target: Target) -> list[Step]:
    """The file, then the one transaction, then what it leaves behind."""
    if not target.specs:
        return _remove(world, world.elements, world.there)
    steps: list[Step] = []
    for path, content, found in ((TABLE_FILE, target.text, world.table_file), (SCRIPT, _SCRIPT, world.script)):
        if found != content:
            steps.append(WriteFile(path, content))
    if world.intact:
        keys = target.delta.keys
        script = render.delta_text(target.delta.delete, target.delta.add) if keys else ""
    else:
        keys = _differing(target.elements, world.elements)
        script = target.text
    steps += [_ruleset(script)] if script else []
    return [*steps, *_forget(_flows(keys, target.specs.values()))]


def _differing(one: t.Mapping[Key, t.Any], other: t.Mapping[Key, t.Any]) -> set[Key]:
    return {key for key in {*one, *other} if one.get(key) != other.get(key)}


def _earlier(world: World) -> dict[str, PortmapSpec]:
    """What is published by the records."""
    return {name: from_record(name, record.spec) for name, record in world.records.items()}


def _back(world: World, target: Target, specs: t.Sequence[PortmapSpec], project: str) -> list[Step]:
    """What undoes a task: records, files, and the table, in one transaction.

    A table that was damaged or missing is not damaged again: it becomes what the records said.
    """
    steps: list[Step] = []
    for spec in specs:
        record = world.records.get(spec.name)
        if spec.present:
            steps.append(SaveRecord(record) if record else DropRecord(Record(LAYER, spec.name, project)))
    earlier = _earlier(world)
    if not earlier and not world.there:
        gone = World(table_file="", script="")
        return [*steps, *_remove(gone, target.elements, True)]
    wanted = all_elements(earlier.values())
    if world.intact:
        back = target.delta.back(world.elements)
        keys, script = back.keys, render.delta_text(back.delete, back.add) if back.keys else ""
    else:
        keys, script = _differing(wanted, target.elements), render.table_text(wanted)
    for path, content in ((TABLE_FILE, world.table_file), (SCRIPT, world.script)):
        steps.append(RemoveFile(path, _paths.ETC) if content is None else WriteFile(path, content))
    steps += [_ruleset(script)] if script else []
    return [*steps, *_forget(_flows(keys, earlier.values()))]


def _verify(
    world: World, target: Target, specs: t.Sequence[PortmapSpec], project: str, unconfirmed: Owners
) -> list[Step]:
    checks = tuple((spec.name, spec.verify) for spec in specs if spec.present and spec.verify is not None)
    if not checks:
        return []
    back = _back(world, target, specs, project)
    back += wayback_steps((), _earlier(world), unconfirmed, world.unconfirmed, True)
    return [VerifyOrRevert(checks, tuple(back))]


def _names(specs: t.Sequence[PortmapSpec], world: World, project: str) -> list[tuple[str, Change]]:
    """Lines about names of services that mean another address for their siblings, each with the service."""
    after = {name: record for name, record in world.records.items() if all(spec.name != name for spec in specs)}
    after.update({spec.name: Record(LAYER, spec.name, project, spec.kept, {}) for spec in specs if spec.present})
    stable = [_siblings.of_portmaps(records.values()) for records in (world.records, after)]
    if stable[0] == stable[1]:
        return []
    directories = [_siblings.Directory(world.services, world.booted, one) for one in stable]
    found: dict[tuple[str, str], Change] = {}
    for record in world.services.values():
        if record.project == project:
            old, new = (one.siblings(record) for one in directories)
            for (service, name), (first, second) in _siblings.differing(old, new).items():
                found[service, name] = Change(f"name {name}", first or None, second or None)
    return [(service, line) for (service, _name), line in sorted(found.items(), key=lambda one: one[0])]


def _foreign(world: World, target: Target) -> list[Key]:
    """Elements that go although no record of ours has asked for them: those that do with a mapping need no line."""
    unasked = {
        key for key in target.delta.delete if key not in target.elements and world.elements[key][1] not in target.specs
    }
    if not unasked:
        return []
    asked = all_elements(from_record(name, record.spec) for name, record in world.records.items())
    return sorted(unasked - set(asked))


def _common_changes(world: World, target: Target, touched: bool) -> list[Change]:
    """Lines about what all owners share; files that differ because a mapping does need none."""
    changes = []
    if world.there and not world.intact:
        changes.append(Change("nftables", "other definitions", f"table {render.TABLE}"))
    if not world.there and not touched:
        changes.append(Change("nftables", "absent", f"table {render.TABLE}"))
    keys = _foreign(world, target) if touched else sorted(target.delta.keys)
    if keys:
        changes.append(Change("nftables", "other elements", ", ".join(map(show_key, keys))))
    if touched:
        return changes
    stale = [] if world.table_file == target.text else [TABLE_FILE]
    stale += [] if world.script == _SCRIPT else [SCRIPT]
    stale += world.boot_gaps
    if stale:
        changes.append(Change("boot files", "other", ", ".join(sorted(stale))))
    return changes


_Draft = t.Tuple[t.List[Change], t.List[Step], t.List[Step]]
"""Changes of one owner, its steps before the transaction and those after it."""


def _way_back(
    specs: t.Sequence[PortmapSpec], desired: t.Mapping[str, PortmapSpec], world: World, drafts: t.Sequence[_Draft]
) -> tuple[Owners, list[Step]]:
    """Whose change is not confirmed afterwards, and the steps for that. Adds a line for each owner whose earlier change is confirmed."""
    changed = {spec.name for spec, draft in zip(specs, drafts) if draft[0]}
    after = owners_after(specs, changed, world.records, world.unconfirmed)
    for spec, draft in zip(specs, drafts):
        if spec.name in world.unconfirmed and spec.name not in after:
            draft[0].append(Change("confirmed", False, True))
    return after, wayback_steps(specs, desired, world.unconfirmed, after, bool(changed))


def plan_task(specs: t.Sequence[PortmapSpec], world: World, project: str) -> TaskPlan:
    """The plans of all owners of a task.

    :raises IsolationError: something that was asked for can't be.
    """
    scope = {spec.name for spec in specs}
    for spec in specs:
        check_project(LAYER, spec.name, project, world.records.get(spec.name))
    desired = desired_specs(specs, world.records)
    check_conflicts(desired, scope)
    for spec in specs:
        if spec.present:
            check_listeners(spec, world)
            check_service_addresses(spec, desired, world.own)
    target = _target(desired, world, scope)
    drafts = [_element(spec, world, project) for spec in specs]
    names = _names(specs, world, project)
    for spec, draft in zip(specs, drafts):
        if draft[0]:
            draft[0].extend(line for service, line in names if service == spec.name)
    touched = any(changes for changes, _before_, _after in drafts)
    for index, spec in enumerate(specs):
        if spec.present:
            drafts[index][0].extend(_common_changes(world, target, touched))
            break
    unconfirmed, arming = _way_back(specs, desired, world, drafts)
    changed = any(changes for changes, _before_, _after in drafts)
    last = max((index for index, draft in enumerate(drafts) if draft[0]), default=-1)
    finish: Step = EnsureBoot() if desired else TidyBoot()
    elements = tuple(
        Plan(
            name=spec.name,
            changes=tuple(changes),
            prepare=tuple(before) if changes else (),
            steps=tuple(after) if changes else (),
            finish=((RenewHosts(project),) if names else ()) + (finish,) if index == last else (),
            result=describe(spec, spec.name in unconfirmed),
            warnings=world.warnings if index == 0 else (),
        )
        for index, (spec, (changes, before, after)) in enumerate(zip(specs, drafts))
    )
    if not changed:
        return TaskPlan(elements)
    # An element that fails does not keep the shared steps from being taken: they look for the tools themselves.
    shared = [
        RequireTools(),
        *arming,
        *_shared(world, target),
        *_verify(world, target, specs, project, unconfirmed),
    ]
    return TaskPlan(elements, tuple(shared))
