# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Secrets of services: which files show them, what is planned, and what a change does. Pure."""

from __future__ import annotations

import posixpath
import typing as t
from dataclasses import dataclass, replace

from .._host import secrets as host
from .._host.records import Record
from .._plan import Change, Step
from .promises import ServiceRefused
from .roots import Root
from .secret_options import FOLDER
from .spec import Secret, ServiceSpec
from .users import resolve_user

_LIVE = ("on_change", "persist")
"""What of a secret changes without a restart."""


@dataclass(frozen=True)
class SecretPlan:
    """What is to be done for one instance: `steps` before it is started, `late` once its record is written. `reload` tells whether a running
    one is asked to read a value again.
    """

    changes: tuple[Change, ...] = ()
    steps: tuple[Step, ...] = ()
    late: tuple[Step, ...] = ()
    warnings: tuple[str, ...] = ()
    reload: bool = False


def wanted(spec: ServiceSpec, record: Record | None) -> list[host.Wanted]:
    """The secrets of an instance to look at."""
    before = {item["name"]: item["target"] for item in (record.spec.get("secrets", []) if record else [])}
    return [host.Wanted(item.name, item.target, before.get(item.name)) for item in spec.secrets]


def owners(spec: ServiceSpec, root: Root | None, own: tuple[int, int]) -> dict[str, str]:
    """The ids inside that the files belong to, as uid:gid by name: the service's own unless told.

    :raises ServiceRefused: a name is not in the root filesystem.
    """
    found = {}
    for item in spec.secrets:
        uid, gid = own
        if item.user is not None:
            uid, gid = resolve_user(replace(spec, user=item.user), root)
        if item.group is not None:
            gid = resolve_user(replace(spec, user=f"{uid}:{item.group}"), root)[1]
        found[item.name] = f"{uid}:{gid}"
    return found


def check_mount_point(spec: ServiceSpec, root: Root) -> None:
    """Refuse secrets that can't be mounted in a read-only root filesystem.

    :raises ServiceRefused: there is no directory for them, and nothing in memory above it.
    """
    above = [memory.target for memory in spec.tmpfs if FOLDER.startswith(memory.target + "/")]
    if not root.secrets and not above:
        raise ServiceRefused(
            f"service {spec.name}: secrets: the root filesystem is read-only and has no directory {FOLDER}: lay it in with"
            " daemonless.isolation.rootfs_prepare, or put a tmpfs on /run"
        )


def effect(before: t.Any, after: t.Any) -> str:
    """What a change of the option does to a running service."""

    def files(items: t.Any) -> list[dict[str, t.Any]]:
        return [{key: value for key, value in item.items() if key not in _LIVE} for item in items or []]

    return "live" if files(before) == files(after) else "restart"


def shown(item: t.Mapping[str, t.Any]) -> str:
    """A secret for people."""
    words = [item["name"]]
    if item["target"] != item["name"]:
        words.append(f"as {item['target']}")
    if item.get("user") or item.get("group"):
        words.append(f"of {item.get('user') or ''}:{item.get('group') or ''}")
    if item["mode"] != "0400":
        words.append(item["mode"])
    if item["on_change"] != "restart":
        words.append(f"on_change={item['on_change']}")
    if not item["persist"]:
        words.append("in memory only")
    return " ".join(words)


def check_offered(specs: t.Sequence[ServiceSpec]) -> None:
    """Refuse values that no service of the task has a secret for.

    :raises ServiceRefused: there is one; it is told by its name.
    """
    used = {key for spec in specs for item in spec.secrets for key in item.keys(spec.name, spec.service)}
    names = sorted({key for spec in specs for key in spec.offered} - used)
    if names:
        raise ServiceRefused(
            f"secret_values: {', '.join(names)}: no service of this task has a secret of that name: name it in secrets, or"
            " leave the value out"
        )


def _no_value(spec: ServiceSpec, secret: Secret) -> ServiceRefused:
    return ServiceRefused(
        f"service {spec.name}: secret {secret.name}: this host has no value of it, and the task gives none: add {secret.name} (or"
        f" {spec.service}/{secret.name}) to secret_values"
    )


def _value_change(secret: Secret, seen: host.Seen, running: bool) -> Change | None:
    if secret.value is not None and secret.value != seen.value:
        if seen.value is None:
            return Change(f"secret {secret.name}", None, "set", "restart")
        how = "restart" if secret.on_change == "restart" else "live"
        return Change(f"secret {secret.name}", "set", "changed", how)
    if seen.live is None and (running or not seen.forms):
        return Change(f"secret {secret.name}", "not in place", "set", "live")
    return None


def _one(
    spec: ServiceSpec, secret: Secret, seen: host.Seen, owner: tuple[int, int], world: tuple[bool, bool]
) -> SecretPlan:
    """What one secret needs. `world` tells whether the host can encrypt, and whether the service runs."""
    sealing, running = world
    value = secret.value or seen.value
    if value is None:
        raise _no_value(spec, secret)
    changes: list[Change] = []
    steps: list[Step] = []
    mine = _value_change(secret, seen, running)
    show = host.ShowSecret(spec.name, secret.target, value, owner, secret.mode)
    if mine is not None:
        changes.append(mine)
    elif seen.live is not None and seen.live != (*owner, secret.mode):
        changes.append(Change(f"secret {secret.name} file", _owner(*seen.live), _owner(*owner, secret.mode)))
    form = host.SEALED if sealing else host.PLAIN
    kept = {form: True} if secret.persist else {}
    warnings: tuple[str, ...] = ()
    renew = secret.persist and (seen.forms != kept or value != seen.value)
    if renew:
        steps.append(host.KeepSecret(spec.name, secret.name, value, sealing))
        if not sealing:
            warnings = (
                f"secrets of services are kept in {host.STORE} as they are, readable by root only: this host has no systemd 250 or newer"
                " that could encrypt them; persist=false keeps a secret in memory only",
            )
    elif seen.forms and not secret.persist:
        steps.append(host.ForgetSecret(spec.name, secret.name))
    if mine is None and seen.forms != kept:
        before = None if not seen.forms else "out of date" if not all(seen.forms.values()) else _kept(seen.forms)
        changes.append(Change(f"secret {secret.name} kept", before, _kept(kept)))
    if changes:
        steps.append(show)  # after what is kept, so that a killed run is finished by a boot
    reload = mine is not None and secret.on_change == "reload"
    return SecretPlan(tuple(changes), tuple(steps), (), warnings, reload)


def _kept(forms: t.Mapping[str, bool]) -> str | None:
    words = {host.SEALED: "encrypted", host.PLAIN: "for root only"}
    return " and ".join(words[form] for form in forms) or None


def _stray(path: str) -> str:
    """What a file was the secret of."""
    name = posixpath.basename(path)
    for form in (host.SEALED, host.PLAIN):
        if path.startswith(host.STORE + "/") and name.startswith(form + "."):
            return name[len(form) + 1 :]
    return name


def _owner(uid: int, gid: int, mode: int) -> str:
    return f"{uid}:{gid} {mode:04o}"


def plan_secrets(
    spec: ServiceSpec, there: host.Secrets, id_base: int, ids: t.Mapping[str, str], running: bool
) -> SecretPlan:
    """What brings the secrets of an instance to what is asked for.

    :raises ServiceRefused: a value is missing.
    """
    seen = there.seen.get(spec.name, {})
    plans = []
    for secret in spec.secrets:
        uid, _colon, gid = ids[secret.name].partition(":")
        owner = (id_base + int(uid), id_base + int(gid))
        plans.append(_one(spec, secret, seen.get(secret.name, host.Seen()), owner, (there.sealing, running)))
    strays = there.strays.get(spec.name, ())
    changes = [change for plan in plans for change in plan.changes]
    late: tuple[Step, ...] = ()
    if strays:
        changes += [Change(f"secret {name}", "set", None) for name in sorted(set(map(_stray, strays)))]
        late = (host.RemoveStrays(spec.name, strays),)
    warnings = [warning for plan in plans for warning in plan.warnings]
    return SecretPlan(
        tuple(changes),
        tuple(step for plan in plans for step in plan.steps),
        late,
        tuple(dict.fromkeys(warnings)),
        running and any(plan.reload for plan in plans),
    )
