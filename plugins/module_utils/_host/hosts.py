# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The hosts files of services, which running ones see through a mount of the file itself."""

from __future__ import annotations

import os
import threading
import typing as t
from dataclasses import dataclass

from .. import _paths, _siblings
from . import runit, systemd
from .files import UpdateFile, read_text
from .records import load_records


def hosts_file(name: str) -> str:
    """The hosts file of an instance."""
    return os.path.join(_paths.INSTANCES, name, "hosts")


def booted() -> frozenset[str]:
    """The instances that are started at boot, by the marks of their supervisor."""
    names = load_records("service")
    if not systemd.booted():
        return frozenset(
            name for name in names if os.path.isdir(runit.directory(name)) and not runit.is_down_marked(name)
        )
    wants = _paths.UNITS + "/multi-user.target.wants"
    units = {name: f"isolation-{systemd.escape(name)}.service" for name in names}
    return frozenset(name for name, unit in units.items() if os.path.lexists(os.path.join(wants, unit)))


def service_addresses() -> tuple[_siblings.ServiceAddress, ...]:
    """The service addresses that nat_portmap answers for."""
    return _siblings.of_portmaps(load_records("portmap").values())


@dataclass(frozen=True)
class RenewHosts:
    """Step: let the hosts files of all instances of a project say who is there now.

    It is taken as soon as an element is well, not when all are: another one may be waited for that is not well until it finds this one.
    """

    project: str
    waits: t.ClassVar[bool] = True
    _one_at_a_time: t.ClassVar[threading.Lock] = threading.Lock()

    def run(self) -> None:
        """Look at the records as they are now, whatever came of other elements, and write what differs."""
        with self._one_at_a_time:
            self._renew()

    def _renew(self) -> None:
        records = load_records("service")
        directory = _siblings.Directory(records, booted(), service_addresses())
        for record in records.values():
            if record.project != self.project or not record.assigned.get("networks"):
                continue
            text = _siblings.hosts_of(record, directory.siblings(record))
            there = read_text(hosts_file(record.name))
            if there is not None and there != text:
                UpdateFile(hosts_file(record.name), text).run()
