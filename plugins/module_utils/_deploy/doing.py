# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The layers of a wave of a deployment, brought to what is asked for in one process."""

from __future__ import annotations

import typing as t

from .._errors import IsolationError
from .._rollout.planning import ended
from .._runner import Done, Guard, Hide, carry_out
from .._targets import portmaps
from .asking import Refused, is_unconfirmed
from .braille import packed, unpacked
from .layers import BELOW, layer_of

Answer = t.Dict[str, t.Any]

REMOVED = ("portmaps", "services", "volumes", "rootfs", "slices", "bridges")
"""In the order in which they can go."""

_UNTOLD = frozenset({"confirm"})
"""What changes nothing that a service has."""


class Work:
    """What has been done so far, by part of the plan, and of what is removed by `remove:` and its part. `at` is the last one.
    With `check` it is foreseen only.

    `guard` is called before each change: who has called this may be dead, and another deployment at work in its place.
    """

    def __init__(self, project: str, hide: Hide, guard: Guard | None, check: bool = False) -> None:
        self._project, self._hide, self._guard, self._check = project, hide, guard, check
        self._done: dict[str, Done] = {}
        self.at = ""

    def attempt(self, name: str, elements: t.Sequence[t.Any], **given: t.Any) -> Done:
        """Have a layer do something; some elements may fail.

        :raises IsolationError: nothing of it can be.
        """
        if not elements:
            return Done()
        self.at = name
        layer = layer_of(name.partition(":")[2] or name)
        self._done[name] = carry_out(
            layer, elements, self._check, self._hide, self._guard, project=self._project, **given
        )
        return self._done[name]

    def do(self, name: str, elements: t.Sequence[t.Any], **given: t.Any) -> Done:
        """Have a layer do something.

        :raises IsolationError: an element failed, or nothing of it can be.
        """
        done = self.attempt(name, elements, **given)
        if done.trouble:
            raise Refused(done.trouble)
        return done

    def told(self) -> Answer:
        """What is told of it."""
        layers = {
            name: {"changed": any(entry["changed"] for entry in done.results), "results": done.results}
            for name, done in self._done.items()
        }
        return {
            "changed": any(found["changed"] for name, found in layers.items() if name not in _UNTOLD),
            "layers": layers,
            "diff": [line for name, done in self._done.items() if name not in _UNTOLD for line in done.diff],
            "warnings": [warning for done in self._done.values() for warning in done.warnings],
        }


def bring_up(work: Work, wave: Answer, secret_values: t.Mapping[str, t.Any], confirm_timeout: str | None) -> Answer:
    """What services stand on, their new instances, once these are well their ports. Returns what is left to do, and why instances did not come into service.

    An instance that fails does not keep the others from coming into service.

    :raises IsolationError: a layer refuses, or the ports were led back; what was started beside what serves is stopped then.
    """
    for name in BELOW:
        work.do(name, wave.get(name) or [])
    # First, so that a rollback that is interrupted is not taken for one that is asked for anew.
    work.do("holds", wave["holds"])
    services = work.attempt("services", wave["services"], secret_values=secret_values)
    ports = portmaps(wave, services.results)
    try:
        moved = work.do("portmaps", ports, confirm_timeout=confirm_timeout)
    except (IsolationError, OSError):
        at = work.at
        work.do("returns", wave["returns"])
        work.at = at
        raise
    unconfirmed = any(map(is_unconfirmed, moved.results))
    going = {"portmaps": ports if unconfirmed else [], "ended": ended(wave, {"results": services.results})}
    return {"going": packed(going), "more": any(going.values()), "lost": services.trouble}


def finish(work: Work, going: str | None, remove: t.Mapping[str, t.Any]) -> None:
    """Confirm where ports lead, since whoever calls this has reached the host; end earlier instances; remove what is not kept.

    :raises IsolationError: something of it can't be.
    """
    left = unpacked(going) if going else {}
    work.do("confirm", left.get("portmaps") or [])
    work.do("ended", left.get("ended") or [])
    take_back(work, remove)


def take_back(work: Work, remove: t.Mapping[str, t.Any]) -> None:
    """Remove elements, by layer.

    :raises IsolationError: something of it can't be.
    """
    for name in REMOVED:
        work.do(f"remove:{name}", remove.get(name) or [])
