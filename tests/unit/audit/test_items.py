# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the audit makes of evidence."""

from __future__ import annotations

import dataclasses
import typing as t

import pytest

from ansible_collections.daemonless.isolation.plugins.module_utils._audit.items import ITEMS, counts, judge
from ansible_collections.daemonless.isolation.plugins.module_utils._audit.model import Subject
from ansible_collections.daemonless.isolation.plugins.module_utils._audit.network import ports
from ansible_collections.daemonless.isolation.plugins.module_utils._audit.process import names
from ansible_collections.daemonless.isolation.plugins.module_utils._capabilities import CAPABILITIES
from ansible_collections.daemonless.isolation.plugins.module_utils._host.evidence import (
    Evidence,
    Found,
    Group,
    HostFacts,
    Seen,
    host_path,
    parse_limits,
    peer_groups,
)
from ansible_collections.daemonless.isolation.plugins.module_utils._host.mounts import Mount, parse_mountinfo

KINDS = ("pid", "mnt", "net", "uts", "ipc", "cgroup", "user")
EVERY = (1 << 41) - 1
HOST_MOUNTS = parse_mountinfo(
    """\
1 0 254:0 / / rw shared:1 - ext4 /dev/vda rw
2 1 0:5 / /dev rw shared:2 - devtmpfs devtmpfs rw
3 1 0:6 / /sys rw shared:3 - sysfs sysfs rw
4 1 0:7 / /run rw shared:4 - tmpfs tmpfs rw
5 1 254:1 / /srv rw shared:5 - ext4 /dev/vdb rw
6 1 254:1 /www /var/www rw shared:5 - ext4 /dev/vdb rw
7 1 254:0 / /mnt/root rw shared:1 - ext4 /dev/vda rw
8 1 0:9 / /with\\040blank rw - tmpfs tmpfs rw
"""
)
HOST = HostFacts(
    namespaces={kind: number for number, kind in enumerate(KINDS, 1)},
    mounts=tuple(HOST_MOUNTS),
    peers=frozenset("12345"),
    memory=8 << 30,
    sockets=("/run/docker.sock",),
)


def mount(device: str, root: str, target: str, options: str = "rw", kind: str = "ext4") -> Mount:
    return Mount(device, root, target, frozenset(options.split(",")), kind, "none")


def place(path: str, kind: str = "directory", options: str = "rw", fs: str = "ext4") -> Found:
    return Found(path, kind, mount("254:0", path, "/target", options, fs))


ROOT = mount("0:50", "/", "/", "ro", "overlay")
FIRST = Seen(100, "init", 101000, 0, 0, True, 2)
TIGHT = Subject(
    kernel=Evidence(
        pid=100,
        processes=(FIRST, dataclasses.replace(FIRST, pid=101, command="web")),
        namespaces={kind: 100 + number for number, kind in enumerate(KINDS)},
        uid_map=((0, 100000, 65536),),
        mounts=(ROOT,),
        places=(
            place("/var/lib/isolation/instances/web/rootfs"),
            place("/dev/null", "device"),
            place("/usr/bin/catatonit", "file", "ro"),
            place("/sys/fs/cgroup/pids/isolation/web/web", fs="cgroup", options="ro"),
            place("/run/isolation/secrets/web", options="ro"),
        ),
        limits={"Max open files": ("1024", "4096"), "Max processes": ("100", "100")},
        control_groups=("/", "/isolation/web/web"),
        groups=(
            Group("/isolation/web/web", {"memory.max": "max", "pids.max": "1024", "cpu.max": "max 100000"}),
            Group("/isolation/web", {"memory.max": "1048576", "pids.max": "max", "cpu.weight": "50"}),
        ),
        listening=(("0.0.0.0", 80), ("127.0.0.1", 9999)),
        masters=("iso0",),
    ),
    host=HOST,
    restart={"policy": "always", "delay": 0.1, "max_delay": 60.0},
    health={"kind": "http", "port": 80},
    published=({"host_address": "198.51.100.1", "host_port": 8080, "protocol": "tcp", "port": 80},),
    own=("/run/isolation/secrets/web",),
)


def seen(**change: t.Any) -> Subject:
    """The tight service with other evidence from the kernel."""
    return dataclasses.replace(TIGHT, kernel=dataclasses.replace(TIGHT.kernel, **change))


def known(**change: t.Any) -> Subject:
    """The tight service with other things that the records tell."""
    return dataclasses.replace(TIGHT, **change)


def host(**change: t.Any) -> Subject:
    return dataclasses.replace(TIGHT, host=dataclasses.replace(HOST, **change))


def first(**change: t.Any) -> Subject:
    return seen(processes=(dataclasses.replace(FIRST, **change),))


def guest(**change: t.Any) -> Subject:
    return seen(processes=(FIRST, dataclasses.replace(FIRST, pid=102, command="sh", **change)))


def shared(kind: str, **change: t.Any) -> Subject:
    return seen(namespaces={**TIGHT.kernel.namespaces, kind: HOST.namespaces[kind]}, **change)


def labelled(label: str | None, **change: t.Any) -> Subject:
    subject = host(**change)
    return dataclasses.replace(subject, kernel=dataclasses.replace(subject.kernel, label=label))


def group(**files: str) -> Subject:
    """In one group with these limits; the others of its own stay."""
    content = {"memory.max": "1048576", "pids.max": "64", "cpu.weight": "50"}
    content.update({name.replace("__", "."): value for name, value in files.items()})
    return seen(groups=(Group("/isolation/web/web", content),))


def published(**mapping: t.Any) -> Subject:
    return known(published=({**TIGHT.published[0], **mapping},))


def test_a_tight_service_passes_all_that_applies() -> None:
    items = judge(TIGHT)
    assert {item["item"] for item in items if item["result"] == "not_applicable"} == {"5.1", "5.2", "5.3", "5.28"}
    assert counts(items) == {"pass": 28, "fail": 0, "warn": 0, "not_applicable": 4}
    assert [item["remedy"] for item in items] == [None] * 32


def test_items_are_those_of_the_section() -> None:
    assert [item.number for item in ITEMS] == [f"5.{number}" for number in range(1, 33)]
    assert len({item.title for item in ITEMS}) == 32
    assert all(item.remedy for item in ITEMS[1:])


CASES: list[tuple[str, str, Subject, str]] = [
    ("5.2", "pass", labelled("isolation-default (enforce)", apparmor=True), "isolation-default (enforce)"),
    ("5.2", "fail", labelled("isolation-default (complain)", apparmor=True), "(complain)"),
    ("5.2", "fail", labelled(None, apparmor=True), "attr/current: unconfined"),
    ("5.3", "pass", labelled("system_u:system_r:container_t:s0", selinux="enforcing"), "container_t"),
    ("5.3", "fail", labelled("system_u:system_r:container_t:s0", selinux="permissive"), "the host is permissive"),
    ("5.3", "fail", labelled("system_u:system_r:unconfined_service_t:s0", selinux="enforcing"), "unconfined_service_t"),
    ("5.3", "fail", labelled(None, selinux="enforcing"), "none"),
    ("5.4", "warn", first(bounding=1 << 10), "net_bind_service"),
    ("5.4", "fail", first(bounding=1 << 10 | 1 << 21), "net_bind_service, sys_admin"),
    ("5.4", "fail", guest(bounding=1 << 21), "sys_admin"),
    ("5.4", "fail", first(effective=1 << 50), "CapEff 0004000000000000"),
    ("5.5", "fail", first(bounding=EVERY), "CapBnd 000001ffffffffff"),
    ("5.5", "pass", first(bounding=EVERY ^ 1), "CapBnd 000001fffffffffe"),
    ("5.6", "fail", seen(places=(place("/etc", options="ro"),)), "/etc on /target (ro)"),
    ("5.6", "fail", seen(places=(place("/etc/ssl"),)), "/etc/ssl on /target (rw)"),
    ("5.6", "fail", seen(places=(place("/"),)), "/ on /target (rw)"),
    ("5.6", "fail", seen(places=(place("/usr/bin/su", "file", "rw"),)), "/usr/bin/su"),
    ("5.6", "fail", seen(places=(place("/etc/shadow", "file", "ro"),)), "/etc/shadow"),
    ("5.6", "fail", seen(places=(place("/run/isolation/secrets/other", options="ro"),)), "secrets/other"),
    ("5.6", "fail", seen(places=(place("/run/isolation/secrets"),)), "/run/isolation/secrets"),
    ("5.6", "pass", seen(places=(place("/etcetera"), place("/srv/usr"))), "none"),
    ("5.7", "fail", first(command="sshd"), "100 sshd"),
    ("5.7", "fail", seen(listening=(("::", 22),)), "listens on TCP port 22"),
    ("5.8", "fail", published(host_port=443), "198.51.100.1:443/tcp"),
    ("5.8", "fail", published(host_port="1000-1030"), "1000-1030"),
    ("5.8", "fail", shared("net", listening=(("0.0.0.0", 80),)), "listens on 80"),
    ("5.8", "pass", known(published=()), "nothing is published"),
    ("5.9", "warn", seen(listening=(("0.0.0.0", 80), ("::", 5432))), "[::]:5432"),
    ("5.9", "warn", published(port=81), "nothing listens behind 198.51.100.1:8080/tcp"),
    ("5.9", "pass", published(port="80-90"), "0.0.0.0:80"),
    ("5.9", "pass", published(protocol="udp", port=53), "0.0.0.0:80"),
    ("5.9", "fail", shared("net"), "in the host's network namespace"),
    ("5.10", "fail", shared("net"), "net:[3], the host's is net:[3]"),
    ("5.11", "fail", group(memory__max="max"), "no memory limit in /isolation/web/web"),
    ("5.11", "fail", group(memory__max=str(9 << 30)), "the host has"),
    ("5.11", "fail", group(memory__max="max", memory__limit_in_bytes="9223372036854771712"), "limit_in_bytes is 92"),
    ("5.11", "fail", seen(groups=()), "no memory limit"),
    ("5.12", "fail", group(cpu__weight="100", cpu__max="max 100000"), "cpu.weight is 100"),
    ("5.12", "pass", group(cpu__weight="100", cpu__max="50000 100000"), "CPU time 50000 100000"),
    ("5.12", "pass", group(cpu__weight="100", cpu__cfs_quota_us="5", cpu__cfs_period_us="10"), "CPU time 5/10"),
    ("5.12", "fail", group(cpu__weight="100", cpu__cfs_quota_us="-1", cpu__shares="1024"), "cpu.shares is 1024"),
    ("5.13", "fail", seen(mounts=(mount("0:50", "/", "/"),)), "/ is rw"),
    ("5.13", "pass", seen(mounts=(mount("0:50", "/", "/"), ROOT)), "/ is ro"),
    ("5.13", "warn", seen(mounts=()), "no line"),
    ("5.14", "fail", published(host_address=None), "*:8080/tcp"),
    ("5.14", "fail", published(host_address="::"), ":::8080/tcp"),
    ("5.14", "not_applicable", known(published=()), "nothing is published"),
    ("5.14", "fail", shared("net"), "0.0.0.0:80"),
    ("5.14", "pass", shared("net", listening=(("198.51.100.1", 80),)), "198.51.100.1:80"),
    ("5.15", "pass", known(restart={"policy": "no"}), "restart no"),
    ("5.15", "fail", known(restart={"policy": "on-failure", "delay": 0.1, "max_delay": 1.0}), "from 0.1 s to 1 s"),
    ("5.16", "fail", shared("pid"), "pid:[1], the host's is pid:[1]"),
    ("5.17", "fail", shared("ipc"), "ipc:["),
    ("5.18", "fail", seen(places=(place("/dev/fuse", "device"),)), "/dev/fuse"),
    ("5.18", "fail", seen(places=(place("/dev/console", "device"),)), "/dev/console"),
    ("5.18", "pass", seen(places=(place("/dev/fuse", "device", "rw,nodev"),)), "devices of its own"),
    ("5.19", "fail", seen(limits={"Max open files": ("1", "unlimited")}), "open files unlimited"),
    ("5.19", "fail", seen(limits={"Max open files": ("1", "2000000")}), "open files 2000000"),
    ("5.19", "fail", seen(limits={"Max open files": ("1", "1")}, groups=()), "processes unlimited"),
    ("5.20", "fail", seen(peers=frozenset({"5", "77"})), "shared:5"),
    ("5.20", "pass", seen(peers=frozenset({"77"})), "none"),
    ("5.21", "fail", shared("uts"), "uts:["),
    ("5.22", "fail", guest(seccomp=0), "102 sh"),
    ("5.22", "pass", first(seccomp=1), "Seccomp 1 in 1 processes"),
    ("5.23", "fail", guest(effective=1), "102 sh"),
    ("5.23", "fail", guest(seccomp=0), "102 sh"),
    ("5.23", "fail", guest(no_new_privs=False), "102 sh"),
    ("5.24", "fail", guest(uid=100000), "uid 100000, its root: 102 sh"),
    ("5.24", "pass", first(uid=100000), "runs as its root"),
    ("5.25", "fail", shared("cgroup"), "cgroup:["),
    ("5.25", "fail", seen(groups=(Group("/system.slice/x", {}),)), "/system.slice/x"),
    ("5.25", "fail", seen(control_groups=("/",)), "/isolation/web/web"),
    ("5.25", "fail", seen(groups=()), "no control group of its own"),
    ("5.26", "fail", guest(no_new_privs=False), "NoNewPrivs 0: 102 sh"),
    ("5.27", "fail", known(health=None), "no health check"),
    ("5.28", "fail", known(source={"registry": {"image": "docker.io/library/nginx:latest"}}), "nginx:latest"),
    ("5.28", "pass", known(source={"registry": {"image": "docker.io/library/nginx:1.27"}}), "nginx:1.27"),
    ("5.28", "pass", known(source={"registry": {"image": "localhost/x@sha256:ab"}}), "x@sha256:ab"),
    ("5.29", "fail", group(pids__max="max"), "no pids.max"),
    ("5.30", "fail", seen(masters=("docker0",)), "docker0"),
    ("5.30", "not_applicable", seen(masters=()), "no link on a bridge"),
    ("5.31", "fail", shared("user"), "user:["),
    ("5.31", "fail", seen(uid_map=((0, 0, 1), (1, 100000, 65536))), "0 0 1, 1 100000 65536"),
    ("5.32", "fail", seen(places=(place("/run/docker.sock", "socket"),)), "/run/docker.sock"),
    ("5.32", "fail", seen(places=(place("/run"),)), "/run on /target"),
    ("5.32", "warn", seen(places=(place("/srv/db.sock", "socket"),)), "of unknown power: /srv/db.sock"),
]


@pytest.mark.parametrize(("number", "result", "subject", "evidence"), CASES)
def test_items(number: str, result: str, subject: Subject, evidence: str) -> None:
    (found,) = [item for item in judge(subject) if item["item"] == number]
    assert (found["result"], evidence in found["evidence"]) == (result, True), found
    assert (found["remedy"] is not None) == (result in ("fail", "warn"))


def test_every_item_can_fail() -> None:
    """But for swarm mode, which is nowhere here."""
    assert {number for number, result, *_rest in CASES if result == "fail"} == {f"5.{n}" for n in range(2, 33)}


@pytest.mark.parametrize(
    ("device", "root", "expected"),
    [
        ("254:0", "/etc", "/etc"),
        ("254:0", "/", "/"),
        ("0:5", "/null", "/dev/null"),
        ("254:1", "/www/site", "/var/www/site"),
        ("254:1", "/www", "/var/www"),
        ("254:1", "/wwwx", "/srv/wwwx"),
        ("0:9", "/a", "/with blank/a"),
        ("0:77", "/", None),
    ],
)
def test_where_the_host_has_a_mount(device: str, root: str, expected: str | None) -> None:
    assert host_path(mount(device, root, "/x"), HOST_MOUNTS) == expected


def test_a_place_that_no_mount_of_the_host_shows() -> None:
    assert host_path(mount("254:1", "/other", "/x"), [mount("254:1", "/www", "/var/www")]) is None


def test_texts_of_the_kernel() -> None:
    limits = (
        "Limit                     Soft Limit           Hard Limit           Units     \n"
        "Max open files            1024                 524288               files     \n"
        "Max nice priority         0                    0                    \n"
    )
    assert parse_limits(limits) == {"Max open files": ("1024", "524288"), "Max nice priority": ("0", "0")}
    assert parse_limits("") == {}
    assert peer_groups(
        "1 0 8:1 / / rw shared:7 master:3 - ext4 /dev/sda rw,shared:9\n2 1 0:1 / /x rw - tmpfs x rw\n"
    ) == {"7"}


def test_names_of_capabilities() -> None:
    assert names(EVERY) == list(CAPABILITIES)
    assert names(1 << 21 | 1 << 44) == ["sys_admin", "44"]
    assert names(0) == []


@pytest.mark.parametrize(
    ("value", "expected"), [(80, {80}), ("80", {80}), ("80-82", {80, 81, 82}), (None, set()), ("x", set())]
)
def test_ports(value: t.Any, expected: set[int]) -> None:
    assert ports(value) == expected
