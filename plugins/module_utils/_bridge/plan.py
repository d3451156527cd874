# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What brings the host's bridges to what is asked for. Pure."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

from .. import _paths
from .._host import unmanaged
from .._host.boot import EnsureBoot, TidyBoot
from .._host.files import RemoveFile, WriteFile
from .._host.iproute import Batch
from .._host.netlink import ChangeAddress, DeleteLink, MakeBridge, SetBridge, SetLink, SetPort
from .._host.nft import ApplyRuleset
from .._host.records import DropRecord, Record, SaveRecord
from .._host.sysctl import WriteSysctl
from .._names import LINK_GROUP
from .._plan import Change, Plan, Step, TaskPlan, compare
from . import bootfiles, hostwide, render, routes, routing
from .apply import RequireTools
from .check import BridgeError, check
from .spec import BridgeSpec, from_record
from .state import FOLDER, LAYER, SCRIPT, TABLE_FILE, Link, World, bridge_mac, describe, desired_bridges, own_sysctls

DEFAULT_MTU = 1500


@dataclass
class _Draft:
    """A plan in the making."""

    spec: BridgeSpec
    changes: list[Change] = field(default_factory=list)
    prepare: list[Step] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    result: dict[str, t.Any] = field(default_factory=dict)
    fresh: bool = False
    """Whether the bridge comes or goes as a whole, so that its own rules need no lines of their own."""


def _mtu(spec: BridgeSpec, world: World) -> int:
    uplink = world.uplink()
    if spec.mtu is not None:
        return spec.mtu
    if uplink is None:
        return DEFAULT_MTU
    # A tunnel's MTU may be less than v6 needs (RFC 8200, 5).
    return max(uplink.mtu, 1280) if spec.subnets(6) else uplink.mtu


def _flags(isolated: bool, hairpin: bool) -> str:
    """The flags of a port, in the words of `ip link set type bridge_slave`.

    Isolated ports send each other nothing (bridge(8)). Where bridged packets are translated (br_netfilter), they could not be
    sent on to a sibling then, so that the table of the family bridge keeps them apart instead.
    """
    return f"isolated {'on' if isolated else 'off'} hairpin {'on' if hairpin else 'off'}"


def _service_ports(spec: BridgeSpec, world: World) -> list[Link]:
    found = (world.links.get(name) for name in world.attached.get(spec.name, ()))
    return [link for link in found if link is not None and link.master == spec.name]


def _port_flags(spec: BridgeSpec, world: World) -> str:
    """The flags of services' ports as they are: of the first that differs from what is wanted, else what is wanted."""
    wanted = _flags(not spec.l2 and not world.bridge_nf, world.bridge_nf)
    found = (_flags(link.isolated, link.hairpin) for link in _service_ports(spec, world))
    return next((flags for flags in found if flags != wanted), wanted)


def _configured(spec: BridgeSpec, world: World) -> dict[str, t.Any]:
    """The properties of the link that a spec asks for."""
    return {
        "addresses": sorted(spec.addresses),
        "mac": bridge_mac(spec, world.machine),
        "mtu": _mtu(spec, world),
        "stp": spec.stp,
        "forward_delay": f"{spec.forward_delay / 100:g}s",
        "ageing_time": f"{spec.ageing_time / 100:g}s",
        "vlan_filtering": spec.vlan_filtering,
        "group": str(LINK_GROUP),
        "up": True,
        "ports": list(spec.ports),
        "service ports": _flags(not spec.l2 and not world.bridge_nf, world.bridge_nf),
    }


def _found(spec: BridgeSpec, link: Link, world: World) -> dict[str, t.Any]:
    """The same properties as the kernel has them. Ports that are not named by us are services'."""
    record = world.records.get(spec.name)
    named = {*spec.ports, *(record.spec.get("ports", []) if record else [])}
    return {
        "addresses": sorted(link.addresses),
        "mac": link.mac,
        "mtu": link.mtu,
        "stp": bool(link.stp),
        "forward_delay": f"{link.forward_delay / 100:g}s",
        "ageing_time": f"{link.ageing_time / 100:g}s",
        "vlan_filtering": bool(link.vlan_filtering),
        "group": link.group,
        "up": link.up,
        "service ports": _port_flags(spec, world),
        "ports": sorted(port for port in named if port in world.links and world.links[port].master == spec.name),
    }


def _route_steps(spec: BridgeSpec, world: World) -> tuple[list[Step], list[Step]]:
    """Steps that take routes away, and steps that make them: before the addresses go that they need, and after those are there."""
    away: list[Step] = []
    there: list[Step] = []
    for version in (4, 6):
        stale, fresh = routes.commands(world.bridge_routes(spec.name), spec.routes, spec.name, version)
        away += [Batch(stale, version)] if stale else []
        there += [Batch(fresh, version)] if fresh else []
    return away, there


def _link_steps(spec: BridgeSpec, before: t.Mapping[str, t.Any], after: t.Mapping[str, t.Any]) -> list[Step]:
    """Steps that bring a link from some properties to others, in place."""
    name = spec.name
    changed = {key for key, value in after.items() if before.get(key) != value}
    steps: list[Step] = []
    plain = {"mac": ("address", after["mac"]), "mtu": ("mtu", after["mtu"]), "group": ("group", LINK_GROUP)}
    values = {attribute: value for key, (attribute, value) in plain.items() if key in changed}
    if values:
        steps.append(SetLink(name, values))
    own = {
        "stp": ("br_stp_state", int(spec.stp)),
        "forward_delay": ("br_forward_delay", spec.forward_delay),
        "ageing_time": ("br_ageing_time", spec.ageing_time),
        "vlan_filtering": ("br_vlan_filtering", int(spec.vlan_filtering)),
    }
    numbers = {attribute: value for key, (attribute, value) in own.items() if key in changed}
    if numbers:
        steps.append(SetBridge(name, numbers))
    old, new = before.get("addresses", []), list(spec.addresses)
    steps += [ChangeAddress("add", name, address) for address in new if address not in old]
    steps += [ChangeAddress("del", name, address) for address in old if address not in new]
    if "up" in changed:
        steps.append(SetLink(name, {"state": "up"}))
    held = before.get("ports", [])
    steps += [SetPort(port, None) for port in held if port not in spec.ports]
    steps += [SetPort(port, name) for port in spec.ports if port not in held]
    return steps


_POLICY = (
    "mode",
    "ipv6_mode",
    "masquerade_source",
    "trusted_interfaces",
    "allow_bridges",
    "siblings",
    "sibling_pairs",
    "l2",
    "service_to_host",
    "forward_between_others",
    "mark_bit",
)
"""Options that rules enforce. Those that have their default are no line of a new bridge's diff."""


def _policy(spec: BridgeSpec) -> dict[str, t.Any]:
    kept = spec.record()
    return {key: kept[key] for key in _POLICY}


def _files(spec: BridgeSpec, world: World) -> dict[str, str]:
    return {
        f"{FOLDER}/{spec.name}.ip": bootfiles.ip_batch(spec, bridge_mac(spec, world.machine), _mtu(spec, world)),
        f"{FOLDER}/{spec.name}.sysctl": bootfiles.sysctl_file(own_sysctls(spec, world.six)),
    }


def _present(spec: BridgeSpec, world: World, project: str) -> _Draft:
    draft = _Draft(spec)
    link, known = world.links.get(spec.name), world.records.get(spec.name)
    after = _configured(spec, world)
    record = Record(LAYER, spec.name, project, spec.record(), {})
    draft.fresh = link is None
    if link is None:
        draft.changes.append(Change("state", "absent", "present"))
        plain = _policy(BridgeSpec(spec.name))
        shown = {key: value for key, value in _policy(spec).items() if key.endswith("mode") or value != plain[key]}
        new = {
            key: value
            for key, value in after.items()
            if key not in ("service ports", "vlan_filtering") or value is True
        }
        draft.changes += [change for change in compare({}, {**new, **shown}) if change.after not in ([], None)]
        draft.steps.append(MakeBridge(spec.name, after["mac"]))
        draft.steps += [WriteSysctl(key, value) for key, value in own_sysctls(spec, world.six).items()]
        draft.steps += _link_steps(spec, {"mac": after["mac"], "vlan_filtering": False}, after)
        draft.changes += routes.compare((), spec.routes)
        draft.steps += _route_steps(spec, world)[1]
        draft.result = {
            **describe(spec.name, spec, None, world.links),
            "mac": after["mac"],
            "mtu": after["mtu"],
            "ports": list(spec.ports),
        }
    else:
        before = _found(spec, link, world)
        draft.changes += compare(before, after)
        for key, value in own_sysctls(spec, world.six).items():
            if world.sysctls.get(key) != value:
                draft.changes.append(Change(key.replace("/", "."), world.sysctls.get(key), value))
                draft.steps.append(WriteSysctl(key, value))
        draft.changes += routes.compare(world.bridge_routes(spec.name), spec.routes)
        away, there = _route_steps(spec, world)
        draft.steps += [*away, *_link_steps(spec, before, after), *there]
        if before["service ports"] != after["service ports"]:
            lines = (
                f"link set dev {port.name} type bridge_slave {after['service ports']}"
                for port in _service_ports(spec, world)
            )
            draft.steps.append(Batch(tuple(lines)))
        kept = _policy(from_record(spec.name, known.spec)) if known else {}
        draft.changes += compare(kept, _policy(spec))
        draft.result = describe(spec.name, spec, link, world.links)
        if draft.changes:
            draft.result.update(addresses=list(spec.addresses), mac=after["mac"], mtu=after["mtu"])
    draft.prepare.append(RequireTools())
    if known != record:
        if not draft.changes:
            draft.changes.append(Change("record", "other" if known else "absent", "present"))
        draft.prepare.append(SaveRecord(record))
    stale = {path: text for path, text in _files(spec, world).items() if world.files.get(path) != text}
    draft.prepare += [WriteFile(path, text) for path, text in stale.items()]
    if stale and not draft.changes:
        draft.changes.append(Change("boot files", "other", ", ".join(sorted(stale))))
    return draft


def _absent(spec: BridgeSpec, world: World) -> _Draft:
    draft = _Draft(spec, result={"name": spec.name, "state": "absent"})
    record, link = world.records.get(spec.name), world.links.get(spec.name)
    if record is None:
        return draft
    draft.fresh = True
    named = record.spec.get("ports", [])
    users = sorted(port.name for port in world.links.values() if port.master == spec.name and port.name not in named)
    if users and not spec.force:
        raise BridgeError(
            f"bridge {spec.name}: links are attached to it: {', '.join(users)}: remove the services that use it first, or set force"
        )
    draft.changes.append(Change("state", "present", "absent"))
    draft.prepare.append(RequireTools())
    if link is not None:
        draft.prepare.append(DeleteLink(spec.name))
    draft.steps += [RemoveFile(f"{FOLDER}/{spec.name}.{kind}", _paths.ETC) for kind in ("ip", "sysctl")]
    draft.steps.append(DropRecord(record))
    return draft


def _rule_changes(world: World, bridges: t.Mapping[str, BridgeSpec]) -> list[tuple[str, Change]]:
    """A line for each rule that differs, with the bridge whose it is (`` for the table's own)."""
    if render.is_same(world.actual, world.wanted) and (world.actual is not None or not bridges):
        return []
    if world.actual is None:
        return [("", Change("nftables", "absent", f"table {render.TABLE}"))]
    found = []
    before, after = render.parse_listing(world.actual), render.parse_listing(world.wanted or "")
    for chain in [*after, *(chain for chain in before if chain not in after)]:
        old, new = before.get(chain, []), after.get(chain, [])
        if old == new:
            continue
        owner = chain.partition("-")[2]
        gone = [rule for rule in old if rule not in new]
        added = [rule for rule in new if rule not in old]
        found += [(owner, Change(f"nft {chain}", rule, None)) for rule in gone]
        found += [(owner, Change(f"nft {chain}", None, rule)) for rule in added]
        if not gone and not added:
            found.append((owner, Change(f"nft {chain}", "in another order", f"{len(new)} rules in order")))
        if chain not in before and not new:
            found.append((owner, Change(f"nft {chain}", None, "an empty chain")))
    return found or [("", Change("nftables", "other definitions", f"table {render.TABLE}"))]


def _attribute(drafts: t.Sequence[_Draft], changes: t.Iterable[tuple[str, Change]], always: bool) -> None:
    """Give changes of the whole host to the element that they are about, else to the first that changes or stays.

    Rules and boot files of a bridge that comes or goes are part of that, and get lines only with `always`.
    """
    by_name = {draft.spec.name: draft for draft in drafts}
    staying = [draft for draft in drafts if draft.changes or draft.spec.present]
    for owner, change in changes:
        draft = by_name.get(owner)
        if draft is None and staying:
            draft = next((one for one in staying if one.changes), staying[0])
        if draft is not None and draft in staying and (always or not draft.fresh):
            draft.changes.append(change)


def _shared(
    world: World, bridges: t.Mapping[str, BridgeSpec], settings: hostwide.Settings
) -> tuple[list[Change], list[Step]]:
    """What is done once for all bridges: boot files, the table in one transaction, settings of the host."""
    text = render.table_text(bridges.values(), world.others)
    macs = [(bridge, bridge_mac(bridge, world.machine)) for bridge in bridges.values()]
    files = {TABLE_FILE: text, SCRIPT: bootfiles.boot_script(macs, FOLDER, TABLE_FILE), **settings.files}
    steps, changes = _managers(world, bridges)
    if bridges:
        stale = {path: content for path, content in files.items() if world.files.get(path) != content}
        steps += [WriteFile(path, content) for path, content in stale.items()]
        missing = [*stale, *world.boot_gaps]
        if missing:
            changes.append(Change("boot files", "other", ", ".join(sorted(missing))))
    elif world.files.get(TABLE_FILE) is not None:
        # Before the tables: what restores them goes by this file.
        steps.append(RemoveFile(TABLE_FILE, _paths.ETC))
    if not render.is_same(world.actual, world.wanted) or (bridges and world.actual is None):
        steps.append(ApplyRuleset(text, f"table {render.TABLE}"))
    lines, routed = _routing(world, bridges)
    changes += lines
    steps += [*routed, *settings.steps]
    gone = [path for path in (SCRIPT, *settings.obsolete) if not bridges or path in settings.obsolete]
    steps += [RemoveFile(path, _paths.ETC) for path in gone if world.files.get(path) is not None]
    return changes, steps


def _managers(world: World, bridges: t.Mapping[str, BridgeSpec]) -> tuple[list[Step], list[Change]]:
    """What keeps other managers of networks off our links. It comes first: they look at a new link at once."""
    names = [port for bridge in bridges.values() for port in bridge.ports]
    wanted = unmanaged.dropins(bridges, names, world.managers.managers)
    stale = unmanaged.stale(wanted, world.managers)
    changes = [Change("drop-ins", "other", ", ".join(stale))] if stale and bridges else []
    return list(unmanaged.steps(wanted, world.managers)), changes


def _routing(world: World, bridges: t.Mapping[str, BridgeSpec]) -> tuple[list[Change], list[Step]]:
    """The routing rules that differ.

    Ours are those for ranges that a record of ours, or this task, has, or that name a bridge of ours: a killed run may have left
    rules for what its record no longer has.
    """
    wanted = routing.desired(bridges.values(), world.six)
    known = [*bridges.values(), *(from_record(name, record.spec) for name, record in world.records.items())]
    ranges = {str(network) for bridge in known for version in (4, 6) for network in bridge.ranges(version)}
    links = {f"iif {bridge.name}" for bridge in known}
    ranges |= {rule.to for rule in world.rules if rule.which in links}
    stale = [rule for rule in world.rules if rule.to in ranges and rule not in wanted]
    missing = [rule for rule in wanted if rule not in world.rules]
    changes = [Change("routing rule", str(rule), None) for rule in stale]
    changes += [Change("routing rule", None, str(rule)) for rule in missing]
    steps: list[Step] = []
    for verb, rules in (("add", missing), ("del", stale)):
        for version in (4, 6):
            lines = tuple(rule.command(verb) for rule in rules if rule.version == version)
            if lines:
                steps.append(Batch(lines, version))
    return changes, steps


def plan_task(specs: t.Sequence[BridgeSpec], world: World, project: str) -> TaskPlan:
    """The plans of all bridges of a task.

    :raises IsolationError: something that was asked for can't be.
    """
    bridges = desired_bridges(specs, world.records)
    leaving = [spec.name for spec in specs if not spec.present]
    for spec in specs:
        check(spec, world, project, bridges, leaving)
    drafts = [_present(spec, world, project) if spec.present else _absent(spec, world) for spec in specs]
    settings = hostwide.settings(world, bridges)
    changes, shared = _shared(world, bridges, settings)
    _attribute(drafts, [("", change) for change in settings.changes], always=True)
    _attribute(drafts, [*(("", change) for change in changes), *_rule_changes(world, bridges)], always=False)
    if not any(draft.changes for draft in drafts):
        shared = []
    finish: Step = EnsureBoot() if bridges else TidyBoot()
    last = max((index for index, draft in enumerate(drafts) if draft.changes), default=-1)
    elements = tuple(
        Plan(
            name=draft.spec.name,
            changes=tuple(draft.changes),
            prepare=tuple(draft.prepare) if draft.changes else (),
            steps=tuple(draft.steps),
            finish=(finish,) if index == last else (),
            result=draft.result,
            warnings=(*world.warnings, *settings.warnings) if index == 0 else (),
        )
        for index, draft in enumerate(drafts)
    )
    # An element that fails does not keep the shared steps from being taken: they look for the tools themselves.
    return TaskPlan(elements, (RequireTools(), *shared) if shared else ())
