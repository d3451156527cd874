# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How an instance differs from what is asked for: the lines of the diff, and what each does to a running one. Pure."""

from __future__ import annotations

import os
import typing as t

from .. import _paths
from .._bridge import ports
from .._host import runit, systemd
from .._plan import Change
from . import devices, mounts, output, secrets, supervise, timezone
from .desired import Desired, digest
from .instances import Instance, directory
from .spec import LIVE, ServiceSpec
from .state import World
from .upgrade import completed, same_assigned

_BY_KEY = ("namespaces", "environment", "sysctls", "extra_hosts", "rlimits")
"""Options with a line of the diff for each of their keys."""

KNOWN_FILES = (
    "config.json",
    "resolv.conf",
    "hosts",
    "hosts.new",
    "hostname",
    "network",
    "network.ip",
    ports.GUARD_FILE,
    "joins",
    timezone.NAME_FILE,
)


def _shown(key: str, value: t.Any) -> t.Any:
    if value in (None, [], {}, ""):
        return None
    if key in ("command", "reload_command"):
        return supervise.quoted(tuple(value))
    if key == "networks":
        return [_shown_network(item) for item in value]
    if key == "mounts":
        return [_shown_mount(item) for item in value]
    if key == "secrets":
        return [secrets.shown(item) for item in value]
    if key == "devices":
        return [devices.shown(item) for item in value]
    if key == "tmpfs":
        return [f"{item['target']} {item['size']} {item['mode']}" for item in value]
    if key == "dns":
        given = {name: item for name, item in value.items() if item}
        return given or None
    if key == "stop_timeout":
        return f"{value:g}s"
    if key in ("restart", "health"):
        return {name: f"{item:g}s" if isinstance(item, float) else item for name, item in sorted(value.items())}
    return value


def _shown_network(item: t.Mapping[str, t.Any]) -> str:
    words = [item["bridge"], *item["address"]]
    words += [f"{key} {item[key]}" for key in ("mac", "mtu") if key in item]
    words += [f"alias {alias}" for alias in item.get("aliases", ())]
    words += [] if item.get("default_route", True) else ["no default route"]
    return " ".join(words + [f"to {route}" for route in item.get("routes", ())])


def _without_aliases(networks: t.Any) -> list[dict[str, t.Any]]:
    return [{key: value for key, value in item.items() if key != "aliases"} for item in networks or ()]


def _shown_mount(item: t.Mapping[str, t.Any]) -> str:
    volume = "volume " if item.get("type") == "volume" else ""
    flags = f"{' read-only' if item['read_only'] else ''}{'' if item.get('exec', True) else ' noexec'}"
    if item.get("propagation", mounts.PRIVATE) != mounts.PRIVATE:
        flags += f" {item['propagation']}"
    return f"{volume}{item['source']} on {item['target']}{flags}"


def _option_changes(old: t.Mapping[str, t.Any], new: t.Mapping[str, t.Any]) -> list[Change]:
    """A line for each option that differs, for each key of a dictionary. Both have all options (see `completed`)."""
    changes = []
    for key in [*new, *(key for key in old if key not in new)]:
        before, after = old.get(key), new.get(key)
        if before == after:
            continue
        effect = secrets.effect(before, after) if key == "secrets" else "live" if key in LIVE else "restart"
        if key == "networks" and _without_aliases(before) == _without_aliases(after):
            effect = "live"
        if key in _BY_KEY:
            first, second = before or {}, after or {}
            changes += [
                Change(f"{key} {name}", first.get(name), second.get(name), effect)
                for name in sorted({*first, *second})
                if first.get(name) != second.get(name)
            ]
            continue
        shown = (_shown(key, before), _shown(key, after))
        if shown[0] != shown[1]:
            changes.append(Change(key, *shown, effect))
    return changes


def _assigned_changes(old: t.Mapping[str, t.Any], new: t.Mapping[str, t.Any]) -> list[Change]:
    changes = [
        Change(shown, old.get(key), new.get(key), "restart")
        for key, shown in (("id_base", "id_base"), ("runtime", "runtime"), ("user", "ids"))
        if not old or (key in old and old[key] != new.get(key))
    ]
    if old.get("joined") != new.get("joined"):
        changes.append(Change("joins", old.get("joined"), new.get("joined"), "restart"))
    read = old.get("env_files", {})
    changes += [
        Change(f"env_files {path}", "former variables", "other variables", "restart")
        for path, now in new.get("env_files", {}).items()
        if path in read and read[path] != now
    ]
    had = {item["bridge"]: item for item in old.get("networks", [])}
    for item in new.get("networks", []):
        before = had.get(item["bridge"])
        if before is None:
            changes.append(Change(f"address {item['bridge']}", None, shown_addresses(item), "restart"))
        elif not same_assigned(before, item):
            changes += [
                Change(f"{word} {item['bridge']}", old_value, new_value, "restart")
                for word, old_value, new_value in (
                    ("address", shown_addresses(before), shown_addresses(item)),
                    ("mac", before.get("mac"), item["mac"]),
                    ("interface", before.get("interface"), item["interface"]),
                )
                if old_value is not None and old_value != new_value
            ]
    return changes


def shown_addresses(item: t.Mapping[str, t.Any] | None) -> list[str] | None:
    return [item[key] for key in ("ipv4", "ipv6") if item.get(key)] if item is not None else None


def _link_changes(assigned: t.Mapping[str, t.Any], world: World) -> list[Change]:
    """Links that have been cut while the instance runs. Only a start makes them, in the instance's own network namespace."""
    return [
        Change(f"link {item['bridge']}", world.astray[item["interface"]], "attached", "restart")
        for item in assigned.get("networks", [])
        if item.get("interface") in world.astray
    ]


def _artifact_changes(want: Desired, instance: Instance) -> list[Change]:
    """Artifacts that are not as they are rendered now. What another version rendered otherwise, or did not have, is renewed
    without a restart.
    """
    changes = []
    noted: t.Mapping[str, str] = instance.record.assigned.get("artifacts", {}) if instance.record is not None else {}
    for path, content in want.artifacts.items():
        there = instance.files.get(path)
        if there == content:
            continue
        name = os.path.relpath(path, directory(want.spec.name)) if path.startswith(_paths.LIB) else path
        if there is None:
            before = "missing" if path in noted else "not rendered before"
        elif there[0] == content[0]:
            before = f"mode {there[1]:04o}"
        elif digest(there[0]) == noted.get(path):
            before = "as rendered before"
        else:
            before = "edited"
        bundle = path.startswith(_paths.LIB) and before in ("edited", "missing")
        if there is not None and name == "hosts":  # it is written anew in place, so that a running service sees it
            bundle, before = False, "other names"
        changes.append(Change(f"artifact {name}", before, "as asked for", "restart" if bundle else "live"))
    return changes


def stale_files(want: Desired, instance: Instance) -> tuple[str, ...]:
    """Files of a former bundle that this one does not have."""
    known = {os.path.join(directory(want.spec.name), name) for name in KNOWN_FILES}
    known.add(os.path.join(runit.directory(want.spec.name), runit.RELOAD))
    known.update(map(systemd.unit_file, output.units(want.spec.name)))
    return tuple(sorted(path for path in instance.files if path in known and path not in want.artifacts))


def state_changes(spec: ServiceSpec, instance: Instance) -> list[Change]:
    """Differences between how an instance is and how it is to be: running or not, now and at boot."""
    if spec.state == "present":
        return []
    before = instance.state if instance.record is not None else None
    if spec.state == "restarted":
        return [Change("state", before, "restarted", "restart")]
    if spec.state == "reloaded" and instance.running is not None:
        return [Change("state", before, "reloaded"), *_boot_changes(spec, instance)]
    changes = []
    wanted = "started" if spec.state == "reloaded" else spec.state
    if spec.keep_running and instance.running is not None:
        if instance.ending is None:
            changes.append(Change("state", before, f"stopped in {spec.keep_running:g}s"))
        return changes + _boot_changes(spec, instance)
    if instance.ending is not None and wanted == "started":
        changes.append(Change("stops in", f"{instance.ending:.0f}s", None))
    if before != wanted:
        changes.append(Change("state", before, wanted, "restart"))
    return changes + _boot_changes(spec, instance)


def _boot_changes(spec: ServiceSpec, instance: Instance) -> list[Change]:
    wanted = spec.state != "stopped"
    if instance.record is None or instance.at_boot == wanted:
        return []
    shown = {True: "started", False: "not started"}
    return [Change("at boot", shown[instance.at_boot], shown[wanted])]


def instance_changes(want: Desired, instance: Instance, world: World) -> list[Change]:
    record = instance.record
    old_spec: t.Mapping[str, t.Any] = record.spec if record is not None else {}
    old_assigned: t.Mapping[str, t.Any] = record.assigned if record is not None else {}
    new_spec = completed(want.record.spec)
    if record is not None:
        old_spec = completed(old_spec)
    changes = _option_changes(old_spec, new_spec) + _assigned_changes(old_assigned, want.record.assigned)
    if record is not None:
        if old_spec == new_spec and not any(change.effect == "restart" for change in changes):
            changes += _artifact_changes(want, instance)
        changes += _link_changes(old_assigned, world)
        changes += [Change(f"artifact {path}", "left over", None) for path in stale_files(want, instance)]
        if not instance.supervised or (not world.systemd and not linked(instance, world)):
            changes.append(Change("supervised", "no", "yes"))
    return changes + state_changes(want.spec, instance)


def effect_of(changes: t.Sequence[Change], instance: Instance) -> str | None:
    """What all changes together do to a running instance."""
    if instance.running is None:
        return None
    return "restart" if any(change.effect == "restart" for change in changes) else "live"


def linked(instance: Instance, world: World) -> bool:
    return not world.watched or any(os.path.dirname(link) in world.watched for link in instance.links)
