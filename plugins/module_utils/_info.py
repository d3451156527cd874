# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a host has of ours, by the eyes of every layer."""

from __future__ import annotations

import traceback
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ._bridge import state as bridge
from ._cgroup import plan as cgroup_plan
from ._cgroup import state as cgroup
from ._errors import IsolationError
from ._host import volumes
from ._portmap import state as portmap
from ._rootfs import state as rootfs
from ._service import state as service

Entries = t.List[t.Dict[str, t.Any]]


def _slices() -> Entries:
    world = cgroup.observe_all()
    return [
        {**cgroup_plan.describe(state, world.host), "project": world.records[name].project}
        for name, state in world.slices.items()
    ]


SUBSETS: dict[str, t.Callable[[], Entries]] = {
    "bridges": bridge.observe_all,
    "slices": _slices,
    "rootfs": rootfs.observe_all,
    "images": rootfs.observe_images,
    "services": service.observe_all,
    "volumes": volumes.observe_all,
    "portmaps": portmap.observe_all,
}


def gather(subsets: t.Iterable[str], project: str | None) -> dict[str, Entries]:
    """Entries by subset; with a project, only its own. Images belong to no project: they are shared."""
    wanted = SUBSETS if "all" in subsets else {name: SUBSETS[name] for name in subsets}
    return {
        name: [entry for entry in observe() if project is None or entry.get("project", project) == project]
        for name, observe in wanted.items()
    }


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
        },
        supports_check_mode=True,
    )
    try:
        found = gather(module.params["gather_subset"], module.params["project"])
    except (IsolationError, OSError) as error:
        module.fail_json(msg=f"host_info: {error}", exception=traceback.format_exc())
    module.exit_json(changed=False, **found)
