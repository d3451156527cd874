# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Steps of services: start, stop, replace and remove."""

from __future__ import annotations

import os
import typing as t
from dataclasses import dataclass

from .. import _paths
from .._bridge import ports
from .._errors import IsolationError
from .._host import (
    boot,
    cgroupfs,
    ending,
    enter,
    files,
    health,
    iproute,
    joins,
    nft,
    oci,
    proven,
    runit,
    secrets,
    systemd,
    volumes,
)
from .._host.helpers import asking
from .._host.libexec import path as helper_path
from .._host.records import load_records
from .failing import log_tail
from .instances import Running, find_running
from .supervise import unit_name

LOG_LINES = 10
OUTPUT = 2000
"""Characters of what a failed command has said."""


class ServiceError(IsolationError):
    """A service can't be started, stopped or removed, or is not well."""


@dataclass(frozen=True)
class Handle:
    """An instance as its supervisor is told of it."""

    name: str
    systemd: bool
    stop_timeout: float
    cgroup: str

    def running(self) -> Running | None:
        """Its first process."""
        return find_running(self.name, None if self.systemd else self.cgroup)

    def start(self) -> None:
        """Let its supervisor start it, without a delay.

        :raises IsolationError: there is no supervisor, or it refused.
        """
        files.remove_file(oci.delay_file(self.name))
        if self.systemd:
            systemd.Systemctl("start", (unit_name(self.name),)).run()
        else:
            runit.bring_up(self.name)

    def stop(self) -> None:
        """Stop it.

        :raises IsolationError: it can't be stopped.
        """
        ending.forget(self.name)
        if self.systemd:
            systemd.Systemctl("stop", (unit_name(self.name),)).run()
            systemd.forget_failure(unit_name(self.name))
        else:
            runit.bring_down(self.name, self.stop_timeout)
        if not runit.wait(lambda: self.running() is None, 10.0):
            raise ServiceError(f"service {self.name}: it was stopped, but its first process is still there: run again")
        files.remove_file(oci.delay_file(self.name))
        volumes.unmount_all(self.name)

    def at_boot(self, wanted: bool) -> None:
        """Let it be started at boot, or not."""
        if self.systemd:
            systemd.Systemctl("enable" if wanted else "disable", (unit_name(self.name),)).run()
        else:
            runit.mark_down(self.name, not wanted)

    def log(self) -> str:
        """The last lines of its log, for an error."""
        lines = log_tail(self.name, self.systemd, LOG_LINES)
        return "; its log ends with:\n" + "\n".join(lines) if lines else "; its log is empty"


@dataclass(frozen=True)
class Refuse:
    """Step: what the host lacks is an error once something is to be changed. In check mode it is a warning."""

    message: str

    def run(self) -> None:
        """Refuse.

        :raises ServiceError: always.
        """
        raise ServiceError(self.message)


@dataclass(frozen=True)
class Supervise:
    """Step: let runsvdir find an instance, down at first."""

    name: str
    folder: str
    stale: tuple[str, ...]
    at_boot: bool

    def run(self) -> None:
        """Link it from the watched directory, and from nowhere else."""
        runit.mark_down(self.name, not self.at_boot)
        for link in self.stale:
            files.remove_file(link)
        runit.link_service(self.name, self.folder)


@dataclass(frozen=True)
class Look:
    """Step: have runsvdir look at its directory, once all new instances are linked from it."""

    folder: str

    def run(self) -> None:
        """Wake it."""
        runit.look(self.folder)


@dataclass(frozen=True)
class AwaitSupervision:
    """Step: wait until runsvdir has found an instance."""

    name: str
    waits: t.ClassVar[bool] = True

    def run(self) -> None:
        """Wait.

        :raises IsolationError: it has not been found in time.
        """
        runit.await_supervision(self.name)


@dataclass(frozen=True)
class Boot:
    """Step: start an instance at boot, or don't."""

    handle: Handle
    wanted: bool

    def run(self) -> None:
        """Tell its supervisor.

        :raises IsolationError: it refused.
        """
        self.handle.at_boot(self.wanted)


@dataclass(frozen=True)
class Start:
    """Step: start an instance; with `again`, stop it first. With `old`, stop that one first, and start it again on failure."""

    handle: Handle
    again: bool = False
    old: Handle | None = None

    def run(self) -> None:
        """Do so.

        :raises IsolationError: a supervisor refused.
        """
        if self.old is not None:
            if not self.handle.systemd:  # the old one serves for as long as that takes
                runit.await_supervision(self.handle.name)
            self.old.stop()
        try:
            if self.again:
                self.handle.stop()
            self.handle.start()
        except IsolationError as error:
            message = f"{error}{self.handle.log()}"
            give_up(self.handle, self.old, message)
            raise ServiceError(message) from error


def give_up(handle: Handle, old: Handle | None, message: str) -> None:
    """Return to the instance that was replaced.

    :raises ServiceError: always, if there is one: `message`, and what became of the old one.
    """
    if old is None:
        return
    handle.stop()
    handle.at_boot(False)
    try:
        old.start()
        old.at_boot(True)
        returned = f"{old.name} was started again"
    except IsolationError as error:
        returned = f"{old.name} could not be started again: {error}"
    raise ServiceError(f"{message}\n{handle.name} was stopped, {returned}")


@dataclass(frozen=True)
class Stop:
    """Step: stop an instance; with `waits`, at the same time as others."""

    handle: Handle
    waits: bool = False

    def run(self) -> None:
        """Stop it.

        :raises IsolationError: it can't be stopped.
        """
        self.handle.stop()


@dataclass(frozen=True)
class Reload:
    """Step: have a running instance read its configuration again, by a signal or by a command, which has `timeout` seconds."""

    handle: Handle
    command: tuple[str, ...] = ()
    timeout: float = 0.0

    @property
    def waits(self) -> bool:
        """Whether it takes its time."""
        return bool(self.command)

    def run(self) -> None:
        """Let its supervisor send the signal, or execute the command in the service: a supervisor would not tell what it says.

        :raises IsolationError: there is no supervisor, or it refused; the command failed.
        """
        if self.command:
            wrong = asking.ask_one(
                asking.Check(self.handle.name, "exec", self.timeout, command=self.command, shown=OUTPUT)
            )
            if wrong is not None:
                raise ServiceError(f"service {self.handle.name}: reload_command: {wrong}")
        elif self.handle.systemd:
            systemd.Systemctl("reload", (unit_name(self.handle.name),)).run()
        else:
            runit.control(runit.directory(self.handle.name), "h")


@dataclass(frozen=True)
class Remove:
    """Step: take back all of an instance that is on the host, but for its record and its root filesystem."""

    handle: Handle
    runtime: str
    links: tuple[str, ...]
    interfaces: tuple[str, ...]
    bundle: tuple[str, ...]
    prune_group: bool

    def run(self) -> None:
        """Remove it.

        :raises IsolationError: it can't be stopped.
        """
        name = self.handle.name
        ending.forget(name)
        if self.handle.systemd:  # the unit was stopped and removed before
            systemd.forget_failure(unit_name(name))
        else:
            self.handle.stop()
            runit.dismiss(name, self.links)
            runit.forget(name)
        oci.kill_container(self.runtime, name)
        volumes.unmount_all(name)
        for link in self.interfaces:
            iproute.delete_link(link)
        for path in (
            *self.bundle,
            oci.pid_file(name),
            oci.delay_file(name),
            runit.output_pipe(name),
            runit.status_file(name),
        ):
            files.remove_file(path)
        self._forget_guards()
        joins.forget(name)
        health.forget(name)
        proven.forget(name)
        for folder in (os.path.join(_paths.INSTANCES, name), oci.PID_FOLDER, oci.DELAYS, runit.OUTPUT):
            files.remove_empty_directories(folder, folder)
        files.remove_empty_directories(_paths.INSTANCES, _paths.LIB)
        if not self.handle.systemd:
            self._remove_groups()

    def _forget_guards(self) -> None:
        """After the files: whatever loads the tables again goes by them."""
        listing = nft.list_text(ports.TABLE) or ""
        for link in self.interfaces:
            if f"chain link-{link} {{" in listing:
                nft.ApplyRuleset(ports.forget_link(link), f"table {ports.TABLE}").run()

    def _remove_groups(self) -> None:
        """The runtime makes the slice's directory in hierarchies that no limit needs; a slice of ours removes them itself."""
        for tree in cgroupfs.hierarchies():
            path = self.handle.cgroup
            cgroupfs.remove_group(os.path.join(tree.path, path))
            while self.prune_group and "/" in path:
                path = path.rpartition("/")[0]
                if not cgroupfs.remove_empty_group(os.path.join(tree.path, path)):
                    break


@dataclass(frozen=True)
class DropHelpers:
    """Step: with the host's last instance, the helpers go."""

    def run(self) -> None:
        """Look at the records as they are now: an element that failed still needs them."""
        if load_records("service"):
            return
        for name in (*oci.HELPERS, enter.HELPER, volumes.HELPER, secrets.HELPER):
            files.RemoveFile(helper_path(name), os.path.dirname(_paths.LIBEXEC)).run()
        files.remove_empty_directories(runit.SERVICES, _paths.ETC)
        boot.TidyBoot().run()
