# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How a service is reached, by its sockets and the host's published ports. Pure."""

from __future__ import annotations

import ipaddress
import typing as t

from .model import FAIL, NOT_APPLICABLE, PASS, WARN, Subject, Verdict, listed, verdict

_PRIVILEGED = 1024


def ports(value: t.Any) -> set[int]:
    """One port, or a range as `9000-9009`."""
    low, _sep, high = str(value).partition("-")
    return set(range(int(low), int(high or low) + 1)) if low.isdigit() else set()


def _every(address: str | None) -> bool:
    """Whether an address is all of the host's."""
    return not address or ipaddress.ip_address(address).is_unspecified


def _outward(subject: Subject) -> list[tuple[str, int]]:
    """Where it listens for others than itself."""
    return [
        (address, port) for address, port in subject.kernel.listening if not ipaddress.ip_address(address).is_loopback
    ]


def _shown(sockets: t.Iterable[tuple[str, int]]) -> str:
    return listed(f"{f'[{address}]' if ':' in address else address}:{port}" for address, port in sockets)


def _targets(subject: Subject) -> set[int]:
    """The ports inside that TCP mappings lead to."""
    found: set[int] = set()
    for mapping in subject.published:
        if mapping.get("protocol", "tcp") == "tcp":
            found |= ports(mapping.get("port"))
            for backend in mapping.get("backends") or []:
                found |= ports(backend.get("port"))
    return found


def _mapped(subject: Subject) -> list[tuple[str, t.Mapping[str, t.Any]]]:
    return [
        (f"{one.get('host_address') or '*'}:{one.get('host_port')}/{one.get('protocol', 'tcp')}", one)
        for one in subject.published
    ]


def privileged_ports(subject: Subject) -> Verdict:
    """5.8: ports of the host, published or listened on in its namespace."""
    found = [shown for shown, one in _mapped(subject) if min(ports(one.get("host_port")) or {0}) < _PRIVILEGED]
    if subject.shares("net"):
        found += [f"listens on {port}" for _address, port in subject.kernel.listening if port < _PRIVILEGED]
    told = listed(found or (shown for shown, _one in _mapped(subject)), "nothing is published")
    return verdict(not found, told)


def needed_ports(subject: Subject) -> Verdict:
    """5.9: it listens where a published port leads to, where its health is asked for, and nowhere else."""
    outward = _outward(subject)
    if subject.shares("net"):
        return verdict(not outward, f"in the host's network namespace it listens on {_shown(outward)}")
    known = _targets(subject)
    if subject.health and str(subject.health.get("port", "")).isdigit():
        known.add(int(subject.health["port"]))
    extra = [socket for socket in outward if socket[1] not in known]
    if extra:
        return Verdict(
            WARN, f"listens where neither a published port leads to nor its health is asked: {_shown(extra)}"
        )
    heard = {port for _address, port in outward}
    deaf = [
        shown
        for shown, one in _mapped(subject)
        if one.get("protocol", "tcp") == "tcp" and ports(one.get("port")) and not ports(one["port"]) & heard
    ]
    if deaf:
        return Verdict(WARN, f"nothing listens behind {listed(deaf)}")
    return Verdict(PASS, f"listens on {_shown(outward)}")


def network_namespace(subject: Subject) -> Verdict:
    """5.10."""
    own, host = subject.kernel.namespaces.get("net"), subject.host.namespaces.get("net")
    return verdict(not subject.shares("net"), f"net:[{own}], the host's is net:[{host}]")


def host_addresses(subject: Subject) -> Verdict:
    """5.14."""
    if subject.shares("net"):
        every = [socket for socket in _outward(subject) if _every(socket[0])]
        return verdict(not every, f"in the host's network namespace it listens on {_shown(_outward(subject))}")
    if not subject.published:
        return Verdict(NOT_APPLICABLE, "nothing is published")
    found = [shown for shown, one in _mapped(subject) if _every(one.get("host_address"))]
    if found:
        return Verdict(FAIL, f"on every address of the host: {listed(found)}")
    return Verdict(PASS, listed(shown for shown, _one in _mapped(subject)))


def shared_bridge(subject: Subject) -> Verdict:
    """5.30: Docker's own bridge, where all that has not been told otherwise meets."""
    masters = subject.kernel.masters
    if not masters:
        return Verdict(NOT_APPLICABLE, "it has no link on a bridge")
    return verdict("docker0" not in masters, f"its links are on {listed(masters)}")
