# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What options of a service mean, and which are refused."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.daemonless.isolation.plugins.module_utils._errors import InvalidOption
from ansible_collections.daemonless.isolation.plugins.module_utils._service.options import OPTIONS
from ansible_collections.daemonless.isolation.plugins.module_utils._service.parse import parse
from ansible_collections.daemonless.isolation.plugins.module_utils._service.spec import ServiceSpec


def options(**given: t.Any) -> dict[str, t.Any]:
    """Options as the runner hands them on: all of them, with their defaults."""
    defaults = {name: rule.get("default") for name, rule in OPTIONS.items()}
    return {**defaults, "name": "web", "rootfs": "web", "command": ["/bin/app"], **given}


def spec(**given: t.Any) -> ServiceSpec:
    return parse(options(**given))


def network(bridge: str = "iso0", *address: str) -> dict[str, t.Any]:
    return {"bridge": bridge, "address": list(address) or ["auto"]}


def health(**given: t.Any) -> dict[str, t.Any]:
    return {"http": None, "tcp": None, "exec": None, "interval": "1s", "timeout": "1s", "retries": 1, **given}


def mount(**given: t.Any) -> dict[str, t.Any]:
    return {"source": "/srv", "target": "/srv", "read_only": False, "exec": True, **given}


def memory(**given: t.Any) -> dict[str, t.Any]:
    return {"target": "/tmp/x", "size": "1M", "mode": "1777", **given}


REFUSED: list[tuple[dict[str, t.Any], str]] = [
    ({"name": "Web"}, "name"),
    ({"rootfs": None}, "rootfs: needed"),
    ({"rootfs": "/"}, "own root"),
    ({"rootfs": "/srv/../etc"}, "'..'"),
    ({"command": None}, "command: needed"),
    ({"command": [""]}, "command: needed"),
    ({"command": ["/bin/a\0b"]}, "zero byte"),
    ({"environment": {"A=B": "1"}}, "A=B"),
    ({"environment": {"A": ["1"]}}, "environment: A"),
    ({"user": "a b"}, "user"),
    ({"workdir": "srv"}, "workdir"),
    ({"workdir": "/proc/self/fd/7"}, "/proc"),
    ({"workdir": "/proc"}, "/proc"),
    ({"hostname": "-web"}, "hostname"),
    ({"hostname": "a" * 65}, "hostname"),
    ({"slice": "web/A"}, "slice"),
    ({"id_base": 1000}, "id_base"),
    ({"id_base": 2**32 - 65536}, "id_base"),
    ({"networks": [network("iso0"), network("iso0")]}, "more than once"),
    ({"networks": [network("iso0", "10.0.0.5/24")]}, "10.0.0.5/24"),
    ({"networks": [network("iso0", "10.0.0.5", "10.0.0.6")]}, "at most one"),
    ({"networks": [{"bridge": None, "address": ["auto"]}]}, "bridge"),
    ({"mounts": [mount(source="srv")]}, "source"),
    ({"mounts": [mount(target="/")]}, "target"),
    ({"mounts": [mount(target="/proc/x")]}, "/proc"),
    ({"mounts": [mount(target="/dev/shm")]}, "/dev"),
    ({"mounts": [mount(target="/etc/hosts")]}, "extra_hosts"),
    ({"mounts": [mount(), mount(source="/etc")]}, "more than one mount"),
    ({"mounts": [mount()], "tmpfs": [memory(target="/srv/")]}, "more than one mount"),
    ({"tmpfs": [memory(size="12Q")]}, "12Q"),
    ({"tmpfs": [memory(mode="9")]}, "mode"),
    ({"capabilities": ["CAP_MAGIC"]}, "CAP_MAGIC"),
    ({"seccomp": "off"}, "seccomp"),
    ({"rlimits": {"files": 1}}, "files"),
    ({"rlimits": {"nofile": "2:1"}}, "soft"),
    ({"rlimits": {"nofile": "many"}}, "many"),
    ({"sysctls": {"kernel.core_pattern": "x"}}, "kernel.core_pattern"),
    ({"dns": {"nameservers": ["host"], "search": [], "options": []}}, "host"),
    ({"dns": {"nameservers": None, "search": ["a\nb"], "options": []}}, "resolv.conf"),
    ({"extra_hosts": {"a b": "10.0.0.1"}}, "a b"),
    ({"extra_hosts": {"db": "there"}}, "there"),
    ({"stop_signal": "SIGNOTHING"}, "SIGNOTHING"),
    ({"stop_signal": "KILL"}, "KILL"),
    ({"stop_timeout": "0"}, "stop_timeout"),
    ({"restart": {"policy": "always", "delay": "2s", "max_delay": "1s"}}, "max_delay"),
    ({"health": health(tcp={"port": 80})}, "without networks"),
    ({"networks": [network()], "health": health()}, "exactly one"),
    ({"networks": [network()], "health": health(tcp={"port": 1}, http={"port": 1, "path": "/"})}, "exactly one"),
    ({"networks": [network()], "health": health(tcp={"port": 70000})}, "70000"),
    ({"networks": [network()], "health": health(http={"port": 80, "path": "x y"})}, "path"),
    ({"networks": [network()], "health": health(tcp={"port": 80}, retries=0)}, "retries"),
    ({"health": health(exec={"command": None})}, "a program"),
    ({"health": health(exec={"command": [""]})}, "a program"),
    ({"health": health(exec={"command": ["a\0b"]})}, "a program"),
    ({"networks": [network()], "health": health(exec={"command": ["a"]}, tcp={"port": 1})}, "exactly one"),
    ({"gate": {"min_healthy_time": "10s", "deadline": "10s"}}, "deadline"),
    ({"replaces": "web"}, "itself"),
]


@pytest.mark.parametrize(
    ("given", "message"),
    REFUSED,
    ids=[f"{next(iter(given))}-{number}" for number, (given, _message) in enumerate(REFUSED)],
)
def test_what_can_not_be_meant_is_refused_by_name(given: dict[str, t.Any], message: str) -> None:
    with pytest.raises(InvalidOption) as refusal:
        spec(**given)
    assert message in str(refusal.value)


def test_what_was_asked_for_has_one_form() -> None:
    one = spec(
        args=["-v"],
        environment={"B": 1, "A": True},
        capabilities=["net_raw", "CAP_CHOWN"],
        rlimits={"RLIMIT_NOFILE": "10:unlimited"},
        stop_signal="int",
        tmpfs=[memory(size="1024K", mode="01777")],
        networks=[network("iso0", "FD88:0::5", "10.0.0.5")],
    )
    kept = one.record()
    assert one.command == ("/bin/app", "-v")
    assert kept["environment"]["A"] == "true"
    assert kept["environment"]["B"] == "1"
    assert kept["capabilities"] == ["CAP_CHOWN", "CAP_NET_RAW"]
    assert one.rlimits == (("RLIMIT_NOFILE", 10, 2**64 - 1),)
    assert kept["stop_signal"] == "SIGINT"
    assert kept["tmpfs"] == [{"target": "/tmp/x", "size": "1M", "mode": "1777"}]
    assert kept["networks"] == [{"bridge": "iso0", "address": ["10.0.0.5", "fd88::5"]}]
    assert (kept["service"], kept["hostname"]) == ("web", "web")


def test_what_does_not_describe_the_service_is_not_kept() -> None:
    plain = spec().record()
    assert (
        spec(
            state="stopped", gate={"min_healthy_time": "1s", "deadline": "9s", "auto_revert": True}, replaces="old"
        ).record()
        == plain
    )
    assert spec(runtime_policy="strict", id_base=1 << 21).record() == plain


def test_absent_needs_nothing_but_a_name() -> None:
    assert spec(state="absent", rootfs=None, command=None).present is False
