# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What supervises a service: the files of a runit service directory, or a systemd unit. Pure."""

from __future__ import annotations

import os
import posixpath
import shlex
import signal
from dataclasses import dataclass

from .. import _paths
from .._host import enter, health, joins, oci, runit, secrets, systemd, volumes
from .._host.boot import DONE
from .._host.boot import HELPER as BOOT_HELPER
from .._host.libexec import path as helper_path
from . import ordering, output
from .devices import unit_lines
from .spec import ServiceSpec

UNIT_PREFIX = "isolation-"


@dataclass(frozen=True)
class Start:
    """What a supervisor needs to start an instance. `runtime` is the program that is called as the runtime."""

    spec: ServiceSpec
    directory: str
    runtime: str
    crun: bool
    cgroup: str
    rootfs_name: str | None
    joined: str | None = None

    @property
    def delays(self) -> tuple[int, int]:
        """The first and the longest delay before a restart, in milliseconds."""
        return round(self.spec.restart.delay * 1000), round(self.spec.restart.max_delay * 1000)


def unit_name(name: str) -> str:
    """The systemd unit of an instance. The prefix can't be another unit's of ours: a dash in a name is escaped."""
    return f"{UNIT_PREFIX}{systemd.escape(name)}.service"


def _stale(start: Start) -> str:
    """Shell: forget a container that a killed runtime, or a host that lost its power, has left."""
    name = start.spec.name
    folder = f"/run/{'crun' if start.crun else 'runc'}/{name}"
    return f"[ ! -e {folder} ] || {start.runtime} delete --force {name}"


def waits(start: Start) -> bool:
    """Whether runit keeps the runtime beside a service: where its exit status decides, and where its first process, being
    no init, may close its output while it lives.
    """
    return start.spec.restart.policy == "on-failure" or not start.spec.init


def awaited(spec: ServiceSpec) -> list[tuple[str, bool]]:
    """What a start waits for, and whether it fails without it."""
    return [
        *((name, True) for name in spec.requires),
        *((name, False) for name in spec.after if name not in spec.requires),
    ]


def _look_at_links(spec: ServiceSpec, refuse: str) -> str:
    """Shell: have the helper look at the sources of mounts if there is any symbolic link on the way to one, and `refuse` if it does.

    Without links it has nothing to say, and would be half of the time that a start takes.
    """
    places = dict.fromkeys(
        "/".join(words[: number + 1])
        for mount in spec.mounts
        for words in [mount.source.rstrip("/").split("/")]
        for number in range(1, len(words))
    )
    look = f"{helper_path(enter.HELPER)} sources {spec.name}"
    return f'for place in {quoted(tuple(places))}; do [ ! -h "$place" ] || {{ {look} || {refuse}; break; }}; done'


def _run(start: Start) -> str:
    """What runsv executes; while it waits, it is the helper that a signal reaches.

    At last it is the logger, which ends when nobody is left who could write: with the service's first process.
    """
    name = start.spec.name
    mount = ""
    if start.rootfs_name:
        target = f"{_paths.INSTANCES}/{start.rootfs_name}/rootfs"
        mount = f"mountpoint -q {target} || {helper_path('rootfs')} mount {start.rootfs_name} || return 1\n"
    if start.spec.mounts:
        mount += _look_at_links(start.spec, "return 1") + "\n"
    if start.spec.volumes:
        mount += f"{helper_path(volumes.HELPER)} mount {name} || return 1\n"
    if start.spec.secrets:
        mount += f"{helper_path(secrets.HELPER)} restore {name} || return 1\n"
    manager = " --cgroup-manager=cgroupfs" if start.crun else ""
    join = ""
    for other, needed in awaited(start.spec):
        without = "log" if needed else ":"
        join += (
            f'{helper_path(enter.HELPER)} await {other} {ordering.WAIT} &\nwaiting=$!\nwait "$waiting" || {without}\n'
        )
    if start.joined:
        join += f'{helper_path(joins.HELPER)} begin {name} &\nwaiting=$!\nwait "$waiting" || log\n'
    detach, begin = " --detach", "start"
    if waits(start):
        detach, begin = (
            "",
            f"rm -f {runit.status_file(name)}\n{{ start; echo $? >{runit.status_file(name)}; }} 5<&- 6>&- &",
        )
    pipe, folder = runit.output_pipe(name), runit.log_directory(name)
    return f"""#!/bin/sh
# {_paths.MARKER}
# All output goes through a pipe, to which a service of any user may open /dev/stdout, and which nobody outside can reach.
# Each run has one of its own: what a killed runsv has left reads on until the old service has ended.
trap 'kill -TERM "$waiting"; wait "$waiting"; exit 0' TERM
{helper_path(oci.BACKOFF_HELPER)} begin {name} &
waiting=$!
[ -d {runit.OUTPUT} ] || {{ mkdir -p {_paths.RUN}; mkdir -m 0700 {runit.OUTPUT} 2>/dev/null; }}
[ ! -e {pipe} ] || rm -f {pipe}
mkfifo -m 0222 {pipe} || exit 1
exec </dev/null 6>&2 3<>{pipe} 5<{pipe} >{pipe} 2>&1 3>&-
log() {{
  exec >&6 2>&6
  # A runsv that has been there for longer than this script has a logger of its own.
  [ ! -e {runit.directory(name)}/log/run ] || exec cat <&5 5<&- 6>&-
  [ -d {folder} ] || mkdir -p {folder}
  flock -w 10 {folder}/lock true
  exec svlogd -tt {folder} <&5 5<&- 6>&-
}}
start() {{
[ -e {DONE} ] || {BOOT_HELPER} || return 1
{mount}{_stale(start)}
cd {start.directory} || return 1
{start.runtime}{manager} run{detach} --bundle {start.directory} --pid-file {oci.pid_file(name)} {name} 5<&- 6>&-
}}
wait "$waiting" || log
{join}trap - TERM
{begin}
log
"""


def _finish(start: Start) -> str:
    """After each end. What ended is the logger: a runtime that has waited has left the service's exit status in a file."""
    name = start.spec.name
    parent = posixpath.dirname(start.cgroup)
    first, last = start.delays
    unmount = f"{helper_path(volumes.HELPER)} umount {name}\n" if start.spec.volumes else ""
    status = ""
    if waits(start):
        status = f"status=1\n[ ! -s {runit.status_file(name)} ] || read -r status <{runit.status_file(name)}\n"
    ends = {
        "always": "",
        "on-failure": '[ "$status" != 0 ] || printf d >supervise/control\n',
        "no": "printf d >supervise/control\n",
    }[start.spec.restart.policy]
    if ends and start.spec.health is not None and start.spec.health.on_failure == "restart":
        mark = health.again_mark(name)
        ends = f"[ ! -e {mark} ] || {{ rm -f {mark}; exit 0; }}\n{ends}"
    return f"""#!/bin/sh
# {_paths.MARKER}
exec 2>/dev/null
{_stale(start)}
rm -f {oci.pid_file(name)} {runit.output_pipe(name)}
for tree in /sys/fs/cgroup /sys/fs/cgroup/*; do
  [ ! -d "$tree/{parent}" ] || rmdir "$tree/{start.cgroup}"
done
{status}{helper_path(oci.BACKOFF_HELPER)} end {name} {first} {last}{' "$status"' if status else ""}
{unmount}{ends}exit 0
"""


def _signal(start: Start, number: str) -> str:
    return f"""#!/bin/sh
# {_paths.MARKER}: the signal goes to the service's first process, not to the runtime that waits for it.
exec {start.runtime} kill {start.spec.name} {number} 2>/dev/null
"""


def _reload(start: Start) -> str:
    """What a hang-up of runsv runs. runsv waits for it, and the command goes on without it; what that says goes to the service's log."""
    name = start.spec.name
    return f"""#!/bin/sh
# {_paths.MARKER}: a command in the service, not a signal to the logger that runsv supervises.
{helper_path(enter.HELPER)} exec {name} -- {quoted(start.spec.reload_command)} </dev/null >{runit.output_pipe(name)} 2>&1 &
"""


def _exec_reload(start: Start) -> str:
    """The same for systemd."""
    name, words = start.spec.name, start.spec.reload_command
    if words:
        return f"ExecReload={helper_path(enter.HELPER)} exec {name} -- {' '.join(map(systemd.quoted, words))}\n"
    return f"ExecReload={start.runtime} kill {name} {start.spec.reload_signal}\n" if start.spec.reload_signal else ""


def runit_files(start: Start) -> dict[str, tuple[str, int]]:
    """The service directory: content and mode by path."""
    name = start.spec.name
    top = runit.directory(name)
    again = _reload(start) if start.spec.reload_command else None
    if start.spec.reload_signal:
        again = _signal(start, start.spec.reload_signal)
    return {
        **({os.path.join(top, runit.RELOAD): (again, 0o755)} if again else {}),
        os.path.join(top, "run"): (_run(start), 0o755),
        os.path.join(top, "finish"): (_finish(start), 0o755),
        os.path.join(top, "control/t"): (_signal(start, start.spec.stop_signal), 0o755),
        os.path.join(top, "control/k"): (_signal(start, "KILL"), 0o755),
    }


def unit_text(start: Start) -> str:
    """The systemd unit: the service's own init is its main process, nothing else stays (systemd.service(5)).

    An init passes on that its child was ended by the stop signal as a status of 128 and the signal's number, which is
    success. The runtime makes no control group: the unit is it, in the slice's limits. The delay before a restart grows by a helper
    that runs before the start, since systemd before 254 has none that grows.
    """
    spec, name = start.spec, start.spec.name
    backoff = helper_path(oci.BACKOFF_HELPER)
    first, last = start.delays
    needs = ["isolation-network.service"] if spec.networks else []
    piped = spec.standard_output == "pipe"
    needs += output.units(name)[:1] if piped else []
    if start.rootfs_name:
        needs.append(f"{UNIT_PREFIX}rootfs-{systemd.escape(start.rootfs_name)}.service")
    slice_unit = systemd.slice_unit(spec.slice) if spec.slice else "isolation.slice"
    tasks = "" if spec.slice else "TasksMax=1024\n"
    manager = " --cgroup-manager=disabled" if start.crun else ""
    mount = unmount = ""
    again = _exec_reload(start)
    if spec.mounts:
        look = systemd.quoted(_look_at_links(spec, "exit 1"))
        mount += f"ExecStartPre=/bin/sh -c {look}\n"
    if spec.volumes:
        mount += f"ExecStartPre={helper_path(volumes.HELPER)} mount {name}\n"
        unmount = f"ExecStopPost=-{helper_path(volumes.HELPER)} umount {name}\n"
    if spec.secrets:
        mount += f"ExecStartPre={helper_path(secrets.HELPER)} restore {name}\n"
    if start.joined:
        mount += f"ExecStartPre={helper_path(joins.HELPER)} begin {name}\n"
    first_others = "".join(
        f"ExecStartPre={'' if needed else '-'}{helper_path(enter.HELPER)} await {other} {ordering.WAIT}\n"
        for other, needed in awaited(spec)
    )
    requires = "".join(f"Requires={unit}\nAfter={unit}\n" for unit in needs)
    requires += f"After={unit_name(start.joined)}\n" if start.joined else ""
    return f"""# {_paths.MARKER}
[Unit]
Description=Isolated service {spec.service} ({name})
RequiresMountsFor={_paths.LIB} {_paths.LIBEXEC}
StartLimitIntervalSec=0
{requires}
[Service]
Type=forking
PIDFile={oci.pid_file(name)}
Slice={slice_unit.replace("%", "%%")}
ExecStartPre={backoff} begin {name}
{first_others}{mount}ExecStart={start.runtime}{manager} run --detach --bundle {start.directory} --pid-file {oci.pid_file(name)} {name}
{again}ExecStopPost=-{start.runtime} delete --force {name}
ExecStopPost=-{backoff} end {name} {first} {last}
{unmount}Restart={spec.restart.policy}
RestartSec=10ms
TimeoutStartSec={90 + round(spec.restart.max_delay) + ordering.WAIT * len(awaited(spec))}
TimeoutStopSec={spec.stop_timeout:g}
KillMode=mixed
KillSignal={spec.stop_signal}
SuccessExitStatus={128 + signal.Signals[spec.stop_signal]}
OOMPolicy=kill
DevicePolicy=closed
{unit_lines(spec)}{tasks}{output.unit_lines(name) if piped else ""}
[Install]
WantedBy=multi-user.target
"""


def quoted(words: tuple[str, ...]) -> str:
    """A command for people."""
    return " ".join(shlex.quote(word) for word in words)
