# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Steps of published ports beside those of the host adapters."""

from __future__ import annotations

from dataclasses import dataclass

from .._host.process import require_tool


@dataclass(frozen=True)
class RequireTools:
    """Have the host's tools before anything is changed."""

    def run(self) -> None:
        """Look for them.

        :raises ToolError: one is not installed.
        """
        require_tool("nft", "nftables")
        require_tool("unshare", "util-linux")
