# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The output of services under systemd through a pipe: a socket unit that holds the pipe, and what reads it into the journal. Pure.

Why: standard output that goes to the journal is a socket, and a socket can't be opened by its name (open(2), ENXIO), so that programs which open
/dev/stdout or /dev/stderr fail. systemd itself holds the pipe, from before the first line until after the last one: nothing reads it until something is
written, a reader that was killed is started again by the next line and finds what was left, and crashes of the service end neither.
"""

from __future__ import annotations

from .. import _paths
from .._host import runit, systemd

PREFIX = "isolation-output-"
"""No instance has such a unit: a dash in a name is escaped."""
DRAIN = 5
"""Seconds that the reader has for what is left in the pipe of an instance that was stopped."""


def units(name: str) -> tuple[str, str]:
    """The socket unit of an instance's output, and the unit that reads it."""
    escaped = systemd.escape(name)
    return f"{PREFIX}{escaped}.socket", f"{PREFIX}{escaped}.service"


def unit_files(name: str, unit: str) -> dict[str, tuple[str, int]]:
    """These units for an instance, whose own unit is `unit`: content and mode by path.

    The reader's lines count as those of the instance's unit, by a field that journalctl takes from root only (systemd.journal-fields(7)). The socket is
    needed by nobody once the instance is stopped for good; the reader then comes to the end of the pipe, and ends, if it has closed the pipe that it was
    given as a socket, to which it could write. Until then the socket has not stopped: it could not be started again beside its reader. The pipe's mode is
    for writing only: the runtime makes the service's user its owner, who is not to read it, and the reader reads it by a capability.
    """
    socket, reader = units(name)
    pipe = runit.output_pipe(name)
    field = unit.replace("\\", "\\\\")
    quoted = reader.replace("\\", "\\\\")
    socket_text = f"""# {_paths.MARKER}
[Unit]
Description=Output of isolated service {name}
StartLimitIntervalSec=0
StopWhenUnneeded=yes

[Socket]
ExecStartPre=/bin/mkdir -p {_paths.RUN}
ListenFIFO={pipe}
SocketMode=0222
DirectoryMode=0700
RemoveOnStop=yes
TriggerLimitIntervalSec=0
ExecStopPost=-/usr/bin/timeout {DRAIN} /bin/sh -c 'while systemctl -q is-active -- "{quoted}"; do sleep 0.1; done'
ExecStopPost=-/bin/systemctl stop -- {quoted}
TimeoutStopSec={DRAIN + 10}
"""
    reader_text = f"""# {_paths.MARKER}
[Unit]
Description=Logger of isolated service {name}
StartLimitIntervalSec=0

[Service]
ExecStart=/bin/sh -c 'exec /bin/cat {pipe} 3<&-'
SyslogIdentifier={name}
LogExtraFields=OBJECT_SYSTEMD_UNIT={field}
CapabilityBoundingSet=CAP_DAC_READ_SEARCH
NoNewPrivileges=yes
Restart=on-failure
RestartSec=1s
"""
    return {systemd.unit_file(socket): (socket_text, 0o644), systemd.unit_file(reader): (reader_text, 0o644)}


def unit_lines(name: str) -> str:
    """What the unit of an instance says of it, in its section Service."""
    return f"StandardOutput=file:{runit.output_pipe(name)}\nStandardError=inherit\n"
