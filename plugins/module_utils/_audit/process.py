# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a service's processes may do, by /proc/PID/status, their labels and their namespaces. Pure."""

from __future__ import annotations

from .._capabilities import CAPABILITIES
from .model import FAIL, NOT_APPLICABLE, PASS, WARN, Subject, Verdict, listed, verdict

_USUAL_NAMES = """
chown dac_override fowner fsetid kill setgid setuid setpcap net_bind_service net_raw sys_chroot mknod audit_write setfcap
"""

USUAL = frozenset(_USUAL_NAMES.split())
"""What containers have elsewhere unless told otherwise; within a user namespace it reaches nothing of the host."""

_UNCONFINED = ("unconfined_t", "unconfined_service_t", "initrc_t", "init_t", "spc_t", "container_runtime_t")
"""Types of SELinux that confine nothing."""


def names(mask: int) -> list[str]:
    """The capabilities in a mask."""
    known = [name for number, name in enumerate(CAPABILITIES) if mask >> number & 1]
    return known + [str(number) for number in range(len(CAPABILITIES), mask.bit_length()) if mask >> number & 1]


def _masks(subject: Subject) -> tuple[int, int]:
    bounding = effective = 0
    for process in subject.kernel.processes:
        bounding |= process.bounding
        effective |= process.effective
    return bounding, effective


def apparmor(subject: Subject) -> Verdict:
    """5.2."""
    if not subject.host.apparmor:
        return Verdict(NOT_APPLICABLE, "/sys/module/apparmor/parameters/enabled: the host's kernel has no AppArmor on")
    label = subject.kernel.label or "unconfined"
    return verdict(label.endswith("(enforce)"), f"attr/current: {label}")


def selinux(subject: Subject) -> Verdict:
    """5.3."""
    if subject.host.selinux is None:
        return Verdict(NOT_APPLICABLE, "/sys/fs/selinux: the host's kernel has no SELinux on")
    label = subject.kernel.label or "none"
    kind = (label.split(":") + ["", "", ""])[2]
    good = subject.host.selinux == "enforcing" and bool(kind) and kind not in _UNCONFINED
    return verdict(good, f"the host is {subject.host.selinux}; attr/current: {label}")


def capabilities(subject: Subject) -> Verdict:
    """5.4: none is a pass, what others give everybody a warning."""
    bounding, effective = _masks(subject)
    evidence = f"CapBnd {bounding:016x} ({listed(names(bounding))}), CapEff {effective:016x}"
    held = set(names(bounding | effective))
    if held and held <= USUAL:
        return Verdict(WARN, evidence)
    return verdict(not held, evidence)


def privileged(subject: Subject) -> Verdict:
    """5.5: all that the kernel knows, as `--privileged` gives."""
    bounding, _effective = _masks(subject)
    every = (1 << (subject.host.last_capability + 1)) - 1
    return verdict(bounding & every != every, f"CapBnd {bounding:016x}; all would be {every:016x}")


def seccomp(subject: Subject) -> Verdict:
    """5.22."""
    without = [process for process in subject.kernel.processes if process.seccomp == 0]
    if without:
        return Verdict(FAIL, "Seccomp 0 (no filter): " + listed(f"{one.pid} {one.command}" for one in without))
    modes = sorted({str(process.seccomp) for process in subject.kernel.processes})
    return Verdict(PASS, f"Seccomp {', '.join(modes)} in {len(subject.kernel.processes)} processes")


def no_new_privs(subject: Subject) -> Verdict:
    """5.26."""
    without = [process for process in subject.kernel.processes if not process.no_new_privs]
    if without:
        return Verdict(FAIL, "NoNewPrivs 0: " + listed(f"{one.pid} {one.command}" for one in without))
    return Verdict(PASS, f"NoNewPrivs 1 in {len(subject.kernel.processes)} processes")


def entered_privileged(subject: Subject) -> Verdict:
    """5.23: nobody is in there with more rights than the service has."""
    first, *others = subject.kernel.processes
    more = [
        one
        for one in others
        if (one.bounding | one.effective) & ~(first.bounding | first.effective)
        or (one.seccomp == 0 and first.seccomp != 0)
        or (first.no_new_privs and not one.no_new_privs)
    ]
    if more:
        return Verdict(
            FAIL, f"more rights than process {first.pid}: " + listed(f"{one.pid} {one.command}" for one in more)
        )
    return Verdict(PASS, f"none of {len(others)} other processes has more rights than process {first.pid}")


def entered_as_root(subject: Subject) -> Verdict:
    """5.24: nobody is in there as its root, where it is not root itself."""
    first, *others = subject.kernel.processes
    root = next((outer for inner, outer, _count in subject.kernel.uid_map if inner == 0), 0)
    if first.uid == root:
        return Verdict(PASS, f"the service itself runs as its root (uid {root} on the host)")
    found = [one for one in others if one.uid == root]
    if found:
        return Verdict(FAIL, f"uid {root}, its root: " + listed(f"{one.pid} {one.command}" for one in found))
    return Verdict(PASS, f"uid {first.uid} on the host; none of {len(others)} other processes is its root ({root})")


def sshd(subject: Subject) -> Verdict:
    """5.7."""
    found = [one for one in subject.kernel.processes if one.command in ("sshd", "dropbear")]
    ports = sorted({str(port) for _address, port in subject.kernel.listening if port == 22})
    if found or ports:
        told = [f"{one.pid} {one.command}" for one in found] + [f"listens on TCP port {port}" for port in ports]
        return Verdict(FAIL, listed(told))
    return Verdict(PASS, f"none among {len(subject.kernel.processes)} processes, nothing listens on port 22")


def _own_namespace(subject: Subject, kind: str) -> Verdict:
    own, host = subject.kernel.namespaces.get(kind), subject.host.namespaces.get(kind)
    return verdict(not subject.shares(kind), f"{kind}:[{own}], the host's is {kind}:[{host}]")


def pid_namespace(subject: Subject) -> Verdict:
    """5.16."""
    return _own_namespace(subject, "pid")


def ipc_namespace(subject: Subject) -> Verdict:
    """5.17."""
    return _own_namespace(subject, "ipc")


def uts_namespace(subject: Subject) -> Verdict:
    """5.21."""
    return _own_namespace(subject, "uts")


def user_namespace(subject: Subject) -> Verdict:
    """5.31: of its own, and none of its ids is the host's root."""
    shared = _own_namespace(subject, "user")
    root = any(outer == 0 for _inner, outer, _count in subject.kernel.uid_map)
    shown = listed(f"{inner} {outer} {count}" for inner, outer, count in subject.kernel.uid_map)
    return verdict(shared.result == PASS and not root, f"{shared.evidence}; uid_map {shown}")
