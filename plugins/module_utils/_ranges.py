# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which range of ids an instance has: its service's. Pure."""

from __future__ import annotations

import typing as t

from . import _idrange
from ._errors import IsolationError
from ._host.records import Record, SaveRecord, check_project
from ._plan import Step


class RangeError(IsolationError):
    """A range of ids can't be had."""


class Ranges:
    """Ranges of ids as they stand after the elements planned so far. `kind` is what the elements are, for errors."""

    def __init__(
        self, kind: str, records: t.Mapping[str, Record], foreign: tuple[tuple[int, int], ...], project: str
    ) -> None:
        self._kind = kind
        self._records = records
        self._foreign = foreign
        self._project = project
        self._bases = {name: int(record.assigned["id_base"]) for name, record in records.items()}

    def choose(
        self, name: str, service: str, asked: int | None, promised: int | None = None
    ) -> tuple[int, tuple[Step, ...]]:
        """The first id of a service's range, and the step that records it if it is new.

        `promised` is the base that an earlier layer of the same run would record.

        :raises RangeError: `asked` is not the service's, or belongs to others.
        """
        known = self._records.get(service)
        check_project("the id range of service", service, self._project, known)
        base = self._bases.get(service, promised)
        if base is not None and asked not in (None, base):
            raise RangeError(
                f"{self._kind} {name}: id_base: service {service} has the range that begins with {base}, not {asked}:"
                " leave id_base out, or remove all of the service's instances first"
            )
        if base is None:
            base = self._new(name, service, asked)
        self._bases[service] = base
        if known is not None:
            return base, ()
        return base, (SaveRecord(Record(_idrange.LAYER, service, self._project, {}, {"id_base": base})),)

    def _new(self, name: str, service: str, asked: int | None) -> int:
        own = {owner: (base, _idrange.SIZE) for owner, base in self._bases.items()}
        if asked is None:
            return _idrange.assign(service, [*own.values(), *self._foreign])
        for owner, taken in own.items():
            if _idrange.overlaps(asked, [taken]):
                raise RangeError(
                    f"{self._kind} {name}: id_base: {asked} overlaps the range of service {owner}, which begins with {taken[0]}"
                )
        for first, count in self._foreign:
            if _idrange.overlaps(asked, [(first, count)]):
                raise RangeError(
                    f"{self._kind} {name}: id_base: {asked} overlaps ids of the host's users, {first} to {first + count - 1}"
                    " (/etc/subuid, /etc/subgid, /etc/passwd, /etc/group): choose another, or leave it out"
                )
        return asked
