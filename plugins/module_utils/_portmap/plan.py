# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What brings published ports to what is asked for. Pure."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

from .. import _paths
from .._errors import InvalidOption, IsolationError
from .._host.boot import EnsureBoot, TidyBoot
from .._host.files import RemoveFile, WriteFile
from .._host.netlink import Flow, ForgetUdp
from .._host.nft import ApplyRuleset
from .._host.records import DropRecord, Record, SaveRecord, check_project
from .._plan import Change, Plan, Step, TaskPlan
from . import render
from .apply import RequireTools
from .render import Elements, Key
from .spec import Mapping, PortmapSpec, from_record
from .state import LAYER, SCRIPT, TABLE_FILE, World, describe

_SCRIPT = f"#!/bin/sh\n# {_paths.MARKER}\nset -e\nnft -f {TABLE_FILE}\n"


class PortmapError(IsolationError):
    """What is asked of published ports can't be."""


@dataclass(frozen=True)
class Delta:
    """What changes the table's elements: keys to delete, elements to add; a key in both is swapped."""

    delete: frozenset[Key] = frozenset()
    add: Elements = field(default_factory=dict)

    @property
    def keys(self) -> set[Key]:
        """All keys that change."""
        return {*self.delete, *self.add}


def desired_specs(specs: t.Iterable[PortmapSpec], records: t.Mapping[str, Record]) -> dict[str, PortmapSpec]:
    """What all owners of the host are to publish: those of the records, with this task's in their place."""
    found = {name: from_record(name, record.spec) for name, record in records.items()}
    for spec in specs:
        found.pop(spec.name, None)
        if spec.present:
            found[spec.name] = spec
    return found


def check_conflicts(specs: t.Mapping[str, PortmapSpec], names: t.Collection[str]) -> None:
    """Refuse a port of the host that is published twice. A port of every address is one of each address, as for bind(2).

    Only conflicts that one of the owners in `names` is part of are looked for.

    :raises InvalidOption: two mappings want the same port.
    """
    taken: dict[tuple[bool, str, int], dict[str | None, tuple[str, Mapping]]] = {}
    ordered = sorted(specs.values(), key=lambda spec: spec.name in names)
    for spec in ordered:
        for mapping in spec.mappings:
            for port in mapping.ports:
                holders = taken.setdefault((mapping.six, mapping.protocol, port), {})
                other = next(iter(holders.values()), None) if mapping.host_address is None else None
                other = other or holders.get(mapping.host_address) or holders.get(None)
                if other is not None and spec.name in names:
                    _refuse(spec.name, mapping, *other)
                holders[mapping.host_address] = (spec.name, mapping)
    addresses: dict[str, str] = {}
    for spec in ordered:
        for service in spec.service_addresses:
            holder = addresses.setdefault(service.address, spec.name)
            if holder != spec.name or sum(one.address == service.address for one in spec.service_addresses) > 1:
                raise InvalidOption(
                    f"portmap {spec.name}: service address {service.address} is taken by {holder}: choose another"
                )


def _refuse(name: str, mapping: Mapping, owner: str, other: Mapping) -> None:
    what = f"portmap {name}: {mapping.label} (to {mapping.target})"
    if owner == name:
        raise InvalidOption(
            f"{what} is published already, as {other.label} (to {other.target}): give each port of the host once"
        )
    raise InvalidOption(
        f"{what}: the port belongs to {owner}, which publishes {other.label} (to {other.target}): choose another port, or remove it there"
    )


def _check_listeners(spec: PortmapSpec, world: World) -> None:
    """Refuse ports at which a process of the host waits: it would get nothing any more."""
    for mapping in spec.mappings:
        wanted = render.mapping_elements(mapping, spec.name)
        if all(world.elements.get(key, ("", ""))[1] == spec.name for key in wanted):
            continue
        for listener in world.listeners:
            if listener.protocol != mapping.protocol or listener.port not in mapping.ports:
                continue
            if _hears(listener.address, mapping):
                raise PortmapError(
                    f"portmap {spec.name}: {mapping.label}: {listener.user} listens at {listener.protocol} {listener.address}"
                    f" port {listener.port} of this host: stop it, or publish another port or on another host_address"
                )


def _hears(address: str, mapping: Mapping) -> bool:
    """Whether a socket bound to `address` would lose packets to a mapping. `::` hears IPv4, too (ipv6(7), IPV6_V6ONLY)."""
    if address == "::":
        return True
    if (":" in address) != mapping.six:
        return False
    if mapping.host_address is None:
        return address != "::1"
    return address in (mapping.host_address, "0.0.0.0")  # noqa: S104 - compared, not bound


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
    return Delta(frozenset(delete), add)


def _before(
    mapping: Mapping, actual: t.Mapping[Key, tuple[str, str]], old: t.Mapping[str, Mapping], owner: str
) -> str | None:
    """What the kernel has in place of a mapping, for people."""
    earlier = old.get(mapping.label)
    if earlier is not None:
        wanted = render.mapping_elements(earlier, owner)
        if all(actual.get(key) == value for key, value in wanted.items()):
            return earlier.target
    keys = list(render.mapping_elements(mapping, owner))
    held = [actual[key] for key in keys if key in actual]
    if not held:
        return None
    if len(keys) == 1:
        data, holder = held[0]
        return data.replace(" . ", ":") + ("" if holder == owner else f" (of {holder or 'nobody'})")
    return f"{len(held)} of {len(keys)} ports"


def _changes(spec: PortmapSpec, actual: t.Mapping[Key, tuple[str, str]], record: Record | None) -> list[Change]:
    """A line for each mapping and service address that differs."""
    old = from_record(spec.name, record.spec) if record is not None else PortmapSpec(spec.name)
    by_label = {mapping.label: mapping for mapping in old.mappings}
    changes = []
    wanted: set[Key] = set()
    for mapping in spec.mappings if spec.present else ():
        elements = render.mapping_elements(mapping, spec.name)
        wanted.update(elements)
        if any(actual.get(key) != value for key, value in elements.items()):
            changes.append(Change(mapping.label, _before(mapping, actual, by_label, spec.name), mapping.target))
    for service in spec.service_addresses if spec.present else ():
        ((key, value),) = render.service_element(service, spec.name).items()
        wanted.add(key)
        if actual.get(key) != value:
            changes.append(Change(render.show_key(key), actual.get(key, (None,))[0], service.to))
    stale = {key for key, (_data, owner) in actual.items() if owner == spec.name} - wanted
    labels = {change.key for change in changes}
    for mapping in old.mappings:
        mine = set(render.mapping_elements(mapping, spec.name)) & stale
        if mine and mapping.label not in labels:
            changes.append(Change(mapping.label, mapping.target, None))
        stale -= mine
    changes += [Change(render.show_key(key), actual[key][0].replace(" . ", ":"), None) for key in sorted(stale)]
    return changes


def _flows(keys: t.Iterable[Key]) -> tuple[Flow, ...]:
    """Tracked UDP connections that a change of these elements leaves behind."""
    flows = []
    for key in sorted(keys):
        found = render.flow_of(key)
        if found is not None:
            six, address, ports = found
            flows += [Flow(six, address, port) for port in ports] if ports else [Flow(six, address, None)]
    return tuple(flows)


def _element(spec: PortmapSpec, world: World, project: str) -> tuple[list[Change], list[Step], list[Step]]:
    """Changes, steps before and steps after the transaction, of one owner."""
    record = world.records.get(spec.name)
    changes = _changes(spec, world.elements, record)
    if not spec.present:
        if record is not None:
            changes = changes or [Change("state", "present", "absent")]
        return changes, [RequireTools()] if changes else [], [DropRecord(record)] if record else []
    wanted = Record(LAYER, spec.name, project, spec.record(), {})
    before: list[Step] = [RequireTools()]
    if record != wanted:
        if not changes:
            changes = [Change("record", "other" if record else "absent", "present")]
        before.append(SaveRecord(wanted))
    return changes, before, []


def _shared(world: World, specs: t.Mapping[str, PortmapSpec], scope: t.Collection[str]) -> list[Step]:
    """The file, then the one transaction, then what it leaves behind."""
    steps: list[Step] = []
    if not specs:
        # The files before the table: what restores it goes by them.
        files = ((TABLE_FILE, world.table_file), (SCRIPT, world.script))
        steps += [RemoveFile(path, _paths.ETC) for path, text in files if text is not None]
        if world.there:
            steps += [ApplyRuleset(render.table_text(None), f"table {render.TABLE}")]
        return [*steps, ForgetUdp(_flows(world.elements))] if _flows(world.elements) else steps
    wanted = render.all_elements(specs.values())
    text = render.table_text(wanted)
    for path, content, found in ((TABLE_FILE, text, world.table_file), (SCRIPT, _SCRIPT, world.script)):
        if found != content:
            steps.append(WriteFile(path, content))
    if world.intact:
        delta = plan_delta(world.elements, wanted, scope)
        script = render.delta_text(delta.delete, delta.add) if delta.keys else ""
        flows = _flows(delta.keys)
    else:
        script = text
        flows = _flows(key for key in {*wanted, *world.elements} if wanted.get(key) != world.elements.get(key))
    if script:
        steps.append(ApplyRuleset(script, f"table {render.TABLE}"))
    if flows:
        steps.append(ForgetUdp(flows))
    return steps


def _boot_changes(world: World, specs: t.Mapping[str, PortmapSpec], touched: bool) -> list[Change]:
    """Lines about what all owners share; files that differ because a mapping does need none."""
    changes = []
    if specs and world.there and not world.intact:
        changes.append(Change("nftables", "other definitions", f"table {render.TABLE}"))
    if specs and not world.there and not touched:
        changes.append(Change("nftables", "absent", f"table {render.TABLE}"))
    if specs and not touched:
        stale = [] if world.table_file == render.table_text(render.all_elements(specs.values())) else [TABLE_FILE]
        stale += [] if world.script == _SCRIPT else [SCRIPT]
        stale += world.boot_gaps
        if stale:
            changes.append(Change("boot files", "other", ", ".join(sorted(stale))))
    return changes


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
            _check_listeners(spec, world)
    drafts = [_element(spec, world, project) for spec in specs]
    touched = any(changes for changes, _before_, _after in drafts)
    for index, spec in enumerate(specs):
        if spec.present:
            drafts[index][0].extend(_boot_changes(world, desired, touched))
            break
    changed = any(changes for changes, _before_, _after in drafts)
    last = max((index for index, draft in enumerate(drafts) if draft[0]), default=-1)
    finish: Step = EnsureBoot() if desired else TidyBoot()
    elements = tuple(
        Plan(
            name=spec.name,
            changes=tuple(changes),
            prepare=tuple(before) if changes else (),
            steps=tuple(after) if changes else (),
            finish=(finish,) if index == last else (),
            result=describe(spec) if spec.present else {"name": spec.name, "state": "absent"},
            warnings=world.warnings if index == 0 else (),
        )
        for index, (spec, (changes, before, after)) in enumerate(zip(specs, drafts))
    )
    # An element that fails does not keep the shared steps from being taken: they look for the tools themselves.
    return TaskPlan(elements, (RequireTools(), *_shared(world, desired, scope)) if changed else ())
