# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is judged, and what a judgement is. Pure."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

from .._host.evidence import Evidence, HostFacts

PASS, FAIL, WARN, NOT_APPLICABLE = "pass", "fail", "warn", "not_applicable"
RESULTS = (PASS, FAIL, WARN, NOT_APPLICABLE)


@dataclass(frozen=True)
class Subject:
    """A running service. What the kernel can't know of it is from the records: restart, health, published ports, and the image.

    `own` are directories of the host that are made for it alone: that of its secrets.
    """

    kernel: Evidence
    host: HostFacts
    restart: t.Mapping[str, t.Any] = field(default_factory=dict)
    health: t.Mapping[str, t.Any] | None = None
    published: t.Sequence[t.Mapping[str, t.Any]] = ()
    source: t.Mapping[str, t.Any] = field(default_factory=dict)
    own: tuple[str, ...] = ()

    def shares(self, kind: str) -> bool:
        """Whether a namespace of it is the host's; `kind` as in /proc/PID/ns."""
        return self.kernel.namespaces.get(kind) == self.host.namespaces.get(kind)


@dataclass(frozen=True)
class Verdict:
    """What became of one item, and what was read."""

    result: str
    evidence: str


def verdict(good: bool, evidence: str, otherwise: str = FAIL) -> Verdict:
    """A pass if it is good."""
    return Verdict(PASS if good else otherwise, evidence)


def listed(words: t.Iterable[str], nothing: str = "none", most: int = 8) -> str:
    """Words for people, a long list cut."""
    found = list(dict.fromkeys(words))
    more = f" and {len(found) - most} more" if len(found) > most else ""
    return (", ".join(found[:most]) or nothing) + more
