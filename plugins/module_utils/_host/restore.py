# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What restores our tables after a flush of the ruleset, on a host with systemd: a socket unit, and the helper that it starts."""

from __future__ import annotations

from .. import _paths
from . import libexec
from .helpers import restore as helper
from .systemd import unit_file

SOCKET = "isolation-restore.socket"
SERVICE = "isolation-restore.service"
WANTED = f"{_paths.UNITS}/sockets.target.wants/{SOCKET}"
HELPER = libexec.path("restore")

_SOCKET_TEXT = f"""# {_paths.MARKER}
[Unit]
Description=Changes of the nftables ruleset
Documentation=man:systemd.socket(5)

[Socket]
# The group of nf_tables (NFNLGRP_NFTABLES is 7) as a bit mask.
ListenNetlink=netfilter 64
# Another tool may write a thousand rules: that must not stop this unit.
TriggerLimitIntervalSec=0

[Install]
WantedBy=sockets.target
"""

_SERVICE_TEXT = f"""# {_paths.MARKER}
[Unit]
Description=Restore the tables of isolated services
StartLimitIntervalSec=0

[Service]
Type=simple
ExecStart={HELPER}
# Published ports are away until it is done.
Nice=-10
"""


def files() -> dict[str, tuple[str, int]]:
    """The units and the helper, with their modes."""
    return {
        HELPER: (libexec.program(helper), 0o755),
        unit_file(SOCKET): (_SOCKET_TEXT, 0o644),
        unit_file(SERVICE): (_SERVICE_TEXT, 0o644),
    }
