# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How many hosts change at a time, and how many may fail before a rollout stops. Pure; it runs on the controller.

The words are Nomad's (update stanza) and Swarm's (update_config).

Note: this is private to the collection, and may change at any time.
"""

from __future__ import annotations

import typing as t

from ..module_utils._rollout.releases import Data, PlanError

DEFAULTS: Data = {"canary": 1, "max_parallel": "25%", "max_failure_ratio": 0}


def _hosts(value: t.Any, option: str, of: int) -> int:
    """A number of hosts, or a share of all of them: at least one."""
    text = str(value).strip()
    number = text.removesuffix("%")
    if not number.isdigit() or int(number) < 1 or (text.endswith("%") and int(number) > 100):
        raise PlanError(f"isolation_rollout: {option}: {value!r} is neither a number of hosts nor a share such as 25%")
    return max(1, of * int(number) // 100) if text.endswith("%") else int(number)


def batches(hosts: t.Sequence[str], rollout: Data | None = None) -> list[int]:
    """The sizes of batches: the canary, then twice as many each time, up to `max_parallel`; the last one is repeated.

    :raises PlanError: a number can't be meant.
    """
    words = {**DEFAULTS, **(rollout or {})}
    most = _hosts(words["max_parallel"], "max_parallel", len(hosts))
    sizes = [_hosts(words["canary"], "canary", len(hosts))]
    while sizes[-1] < most and sum(sizes) < len(hosts):
        sizes.append(min(2 * sizes[-1], most))
    if sizes[-1] > most and sum(sizes) < len(hosts):
        sizes.append(most)
    return sizes


def too_many_lost(everybody: t.Sequence[str], left: t.Sequence[str], rollout: Data | None = None) -> list[str]:
    """The hosts that have failed or could not be reached, if they are more than `max_failure_ratio` of all; else none.

    :raises PlanError: the ratio is not one.
    """
    words = {**DEFAULTS, **(rollout or {})}
    try:
        ratio = float(words["max_failure_ratio"])
    except (TypeError, ValueError):
        ratio = -1.0
    if not 0 <= ratio <= 1:
        raise PlanError(
            f"isolation_rollout: max_failure_ratio: {words['max_failure_ratio']!r} is not a number from 0 to 1"
        )
    lost = [host for host in everybody if host not in left]
    return lost if len(lost) > ratio * len(everybody) else []
