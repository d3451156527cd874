# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Steps of published ports beside those of the host adapters."""

from __future__ import annotations

from dataclasses import dataclass

from .._errors import IsolationError
from .._host import probe
from .._host.process import require_tool
from .._plan import Step
from .model import Verify, endpoint

_PAUSE = 0.2
"""Seconds between two attempts of a check."""


class PortmapError(IsolationError):
    """What is asked of published ports can't be, or what was published did not answer."""


@dataclass(frozen=True)
class RequireTools:
    """Have the host's tools before anything is changed."""

    def run(self) -> None:
        """Look for them.

        :raises ToolError: one is not installed.
        """
        require_tool("nft", "nftables")
        require_tool("unshare", "util-linux")


def check(verify: Verify) -> str | None:
    """Ask until there is the answer that is wanted, or the time is over. None if it came, else the last answer."""
    deadline = probe.now() + verify.timeout
    while True:
        left = max(0.05, deadline - probe.now())
        if verify.path is None:
            answer = probe.ask_tcp(verify.address, verify.port, left)
        else:
            answer = probe.ask_http(verify.address, verify.port, verify.path, left, verify.status)
        if answer is None or probe.now() + _PAUSE >= deadline:
            return answer
        probe.pause(_PAUSE)


@dataclass(frozen=True)
class VerifyOrRevert:
    """Step: see whether what has been published answers. If it does not, take the steps that lead back, and fail.

    `checks` are the owners' checks by name. They are asked one after the other, from the host.
    """

    checks: tuple[tuple[str, Verify], ...]
    back: tuple[Step, ...]

    def run(self) -> None:
        """Do so.

        :raises PortmapError: something did not answer; the earlier ports are back, or could not be brought back.
        """
        failed = []
        for owner, verify in self.checks:
            answer = check(verify)
            if answer is not None:
                failed.append(
                    f"verify of {owner}, {endpoint(verify.address, str(verify.port))}, within {verify.timeout:g} s: {answer}"
                )
        if not failed:
            return
        for step in self.back:
            try:
                step.run()
            except (IsolationError, OSError) as error:
                raise PortmapError(
                    f"{'; '.join(failed)}. The earlier ports could not be brought back: {error}: run again with the earlier mappings"
                ) from error
        raise PortmapError(f"{'; '.join(failed)}. The earlier ports are back")
