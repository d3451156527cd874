# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a host has of ours, by the eyes of every layer."""

from __future__ import annotations

import os
import traceback
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ._bridge import state as bridge
from ._cgroup import plan as cgroup_plan
from ._cgroup import state as cgroup
from ._errors import IsolationError
from ._host import records, volumes
from ._portmap import state as portmap
from ._rootfs import state as rootfs
from ._service import listing as service

Entries = t.List[t.Dict[str, t.Any]]


def _slices() -> Entries:
    world = cgroup.observe_all()
    return [
        {**cgroup_plan.describe(state, world.host), "project": world.records[name].project}
        for name, state in world.slices.items()
    ]


def _audit() -> Entries:
    from ._audit import report  # here, as it is asked for by name only

    return report.observe_all()


SUBSETS: dict[str, t.Callable[[], Entries]] = {
    "bridges": bridge.observe_all,
    "slices": _slices,
    "rootfs": rootfs.observe_all,
    "images": rootfs.observe_images,
    "services": service.observe_all,
    "volumes": volumes.observe_all,
    "portmaps": portmap.observe_all,
    "audit": _audit,
}

ON_REQUEST = frozenset({"audit"})
"""Subsets that `all` does not mean: opinions of what is, not what is."""

LAYERS = {
    "bridge": "bridges",
    "cgroup": "slices",
    "rootfs": "rootfs",
    "service": "services",
    "volume": "volumes",
    "portmap": "portmaps",
}
"""The subset that tells of a layer's records."""

_REMEDY = "run as root (become: true)"


def _fields(subset: str) -> tuple[str, ...]:
    """What is told of each entry."""
    known = {
        "bridges": "addresses mac mtu mode ipv6_mode l2 ports present up services",
        "slices": "state path unit manager version effective usage peak pressure throttling oom_kills",
        "rootfs": "service path digest image size id_base mode mounted pids",
        "volumes": "path exists size services mounted",
        "portmaps": "mappings service_addresses exposed omitted unconfirmed applied",
    }
    return ("name", "project", *(service.blank() if subset == "services" else known[subset].split()))


def _unseen(hidden: t.Iterable[tuple[str, str, str]], found: dict[str, Entries]) -> t.Iterator[dict[str, t.Any]]:
    """What could not be read, as entries without values and as reasons."""
    for layer, name, reason in hidden:
        subset = LAYERS.get(layer)
        if subset in found:
            if name:
                found[subset].append({**dict.fromkeys(_fields(subset)), "name": name})
            yield {"subset": subset, "name": name or None, "reason": f"{reason}: {_REMEDY}"}


def gather(
    subsets: t.Iterable[str], project: str | None, volume_size: bool = False
) -> tuple[dict[str, Entries], list[dict[str, t.Any]]]:
    """Entries by subset, and what a user other than root could not see.

    With a project, only its own. Images belong to no project: they are shared. Whose an unreadable record is, nobody can
    tell: it stays.

    :raises IsolationError: root could not see something.
    """
    wanted = {
        name: look for name, look in SUBSETS.items() if name in subsets or ("all" in subsets and name not in ON_REQUEST)
    }
    if "volumes" in wanted and volume_size:
        wanted["volumes"] = lambda: volumes.observe_all(sizes=True)
    found: dict[str, Entries] = {}
    unseen: list[dict[str, t.Any]] = []
    if os.geteuid() == 0:
        found = {name: look() for name, look in wanted.items()}
    else:
        with records.tolerant() as hidden:
            for name, look in wanted.items():
                try:
                    found[name] = look()
                except (IsolationError, OSError) as error:
                    found[name] = []
                    # Whose names are known is named.
                    for layer in (layer for layer, subset in LAYERS.items() if subset == name):
                        records.load_records(layer)
                    unseen.append({"subset": name, "name": None, "reason": f"{error}: {_REMEDY}"})
            unseen += _unseen(hidden, found)
    if project is not None:
        found = {
            name: [entry for entry in entries if entry.get("project") in (None, project)]
            for name, entries in found.items()
        }
    return found, unseen


def run_info() -> None:
    """Be the module host_info."""
    module = AnsibleModule(
        argument_spec={
            "gather_subset": {
                "type": "list",
                "elements": "str",
                "choices": ["all", *SUBSETS],
                "default": ["all"],
            },
            "project": {"type": "str"},
            "volume_size": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    asked = module.params
    try:
        found, unseen = gather(asked["gather_subset"], asked["project"], asked["volume_size"])
    except (IsolationError, OSError) as error:
        module.fail_json(msg=f"host_info: {error}", exception=traceback.format_exc())
    if unseen:
        module.warn(
            f"host_info: not run as root, {len(unseen)} things could not be looked at: what is null is not known;"
            " `unseen` names them"
        )
    module.exit_json(changed=False, unseen=unseen, **found)
