# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which namespaces a service has: what they make of its bundle, and who is waited for."""

from __future__ import annotations

import dataclasses
import json
import typing as t

import pytest

from ansible_collections.daemonless.isolation.plugins.module_utils._errors import IsolationError
from ansible_collections.daemonless.isolation.plugins.module_utils._host.files import WriteFile
from ansible_collections.daemonless.isolation.plugins.module_utils._host.oci import Runtime
from ansible_collections.daemonless.isolation.plugins.module_utils._host.records import SaveRecord
from ansible_collections.daemonless.isolation.plugins.module_utils._plan import Plan
from ansible_collections.daemonless.isolation.plugins.module_utils._rollout.planning import _owner
from ansible_collections.daemonless.isolation.plugins.module_utils._service.plan import plan
from ansible_collections.daemonless.isolation.plugins.module_utils._service.state import World
from ansible_collections.daemonless.isolation.tests.unit.service.test_bundle import config
from ansible_collections.daemonless.isolation.tests.unit.service.test_plan import bare, one, settled, spec

WEB = {"user": "service:web", "network": "service:web"}


def kinds(made: dict[str, t.Any]) -> dict[str, str]:
    return {item["type"]: item.get("path", "") for item in made["linux"]["namespaces"]}


def hosts(**parts: t.Any) -> World:
    """A host on which web runs, and side could."""
    world, more = settled(spec()), bare("web", "side", **parts)
    return dataclasses.replace(more, records=world.records, instances={**more.instances, "web": world.instances["web"]})


def side(namespaces: dict[str, str], **given: t.Any) -> t.Any:
    return spec("side", service="side", namespaces=namespaces, **given)


@pytest.mark.parametrize("kind", ["pid", "network", "uts", "ipc", "cgroup", "time"])
def test_the_host_s_is_left_out(kind: str) -> None:
    made = config(spec(namespaces={kind: "host"}), time=True, init=None)
    everything = {"pid", "mount", "network", "uts", "ipc", "cgroup", "user", "time"}
    assert set(kinds(made)) == everything - {kind}
    assert made["linux"]["uidMappings"], "it is a user without rights in any case"
    mounts = {item["destination"]: item for item in made["mounts"]}
    assert (mounts["/proc"]["type"] == "bind") == (kind == "pid")
    assert (mounts["/sys"]["type"] == "bind") == (kind == "network")
    assert {"ro"} <= set(mounts["/sys"]["options"])
    assert ("rro" in mounts["/sys"]["options"]) == (kind == "network")
    assert ("/dev/mqueue" in mounts) == (kind != "ipc")
    assert ("hostname" in made) == (kind != "uts")
    assert any(name.startswith("net.") for name in made["linux"]["sysctl"]) == (kind != "network")


def test_what_is_joined_is_found_by_a_link() -> None:
    made = config(spec("side", namespaces={**WEB, "pid": "service:web"}), time=True, joined="web", init=None)
    found = kinds(made)
    assert {kind: path for kind, path in found.items() if path} == {
        "user": "/run/isolation/join/side/user", "network": "/run/isolation/join/side/net",
        "pid": "/run/isolation/join/side/pid", "time": "/run/isolation/join/side/time",
    }  # fmt: skip
    assert "uidMappings" not in made["linux"], "they are the other one's"
    assert made["linux"]["sysctl"] == {}


def steps(planned: Plan, name: str) -> str:
    return next(step.text for step in planned.prepare if isinstance(step, WriteFile) and step.path.endswith(name))


def test_a_joined_service_is_waited_for() -> None:
    planned = one(side(WEB), hosts())
    base = settled(spec()).records["web"].assigned["id_base"]
    assert planned.result["id_base"] == base
    assert steps(planned, "/joins") == "web net user\n"
    assert "/join begin side" in steps(planned, "/run")
    assert "/join end" in steps(one(spec(), bare("web", helpers={})), "libexec/isolation/backoff"), (
        "by whom it is joined"
    )
    under_systemd = one(side(WEB), hosts(systemd=True, watched=()))
    unit = steps(under_systemd, ".service")
    assert "After=isolation-web.service\n" in unit
    assert unit.index("join begin side") < unit.index("ExecStart=")
    assert {change.key: change.after for change in planned.changes}["joins"] == "web"


def test_asked_at_the_address_of_what_it_shares() -> None:
    network = [{"bridge": "iso0", "address": ["10.88.0.7"]}]
    health = {"tcp": {"port": 80}, "http": None, "interval": "1s", "timeout": "1s", "retries": 1}
    specs = [spec(networks=network), side(WEB, health=health)]
    task = plan(specs, bare("web", "side"), {}, "default")
    assert t.cast(t.Any, task.elements[1].finish[0]).address == "10.88.0.7"
    host = one(side({"network": "host"}, health=health, rootfs="/r"), bare("side"))
    assert t.cast(t.Any, host.finish[0]).address == "127.0.0.1"


def test_a_service_s_name_means_the_instance_that_comes_to_serve() -> None:
    fresh = plan([spec("web-2"), side(WEB)], bare("web-2", "side"), {}, "default").elements[1]
    assert steps(fresh, "/joins") == "web-2 net user\n"
    promise = [{"name": "web", "service": "web", "id_base": 9 << 20, "addresses": [{"ipv4": "10.0.0.9"}]}]
    world = bare("side", rootfs={}, roots={})
    rootfs = [{"name": "side", "service": "web", "id_base": 9 << 20}]
    promised = one(side(WEB), world, services=promise, rootfs=rootfs)
    assert promised.result["id_base"] == 9 << 20


def test_another_instance_takes_a_restart_and_the_same_takes_none() -> None:
    world = hosts()
    planned = one(side(WEB), world)
    record = next(step.record for step in planned.steps if isinstance(step, SaveRecord))
    assert json.loads(record.text())["assigned"]["joined"] == "web"
    files = {step.path: (step.text, step.mode) for step in planned.prepare if isinstance(step, WriteFile)}
    instance = dataclasses.replace(
        world.instances["web"], record=record, files=files, links=("/etc/service/isolation-side",)
    )
    running = dataclasses.replace(
        world, records={**world.records, "side": record}, instances={**world.instances, "side": instance}
    )
    assert not one(side(WEB), running).changed
    private = one(side({}, rootfs="/r"), running)
    assert {change.effect for change in private.changes if change.key.startswith("namespaces")} == {"restart"}
    with pytest.raises(IsolationError, match="side has joined its namespaces"):
        one(spec(state="absent"), running)
    assert plan([spec(state="absent"), spec("side", state="absent")], running, {}, "default").elements[0].changed


def test_time_namespaces_take_a_runtime_that_knows_them() -> None:
    for version, there in (((1, 1, 5), False), ((1, 2), True)):
        world = bare("web", runtimes={"runc": Runtime("runc", "/usr/sbin/runc", version)})
        assert ('"type": "time"' in steps(one(spec(runtime="runc"), world), "config.json")) == there
    assert '"type": "time"' not in steps(one(spec(), bare("web", time_namespaces=False)), "config.json")


REFUSED: list[tuple[dict[str, t.Any], dict[str, t.Any], str]] = [
    ({"user": "service:db"}, {}, "service side: namespaces: service:db: this host has none of that name"),
    ({"pid": "host"}, {}, "service side: namespaces: pid: host: without systemd"),
    ({"user": "service:web", "time": "service:web"}, {"time_namespaces": False}, "service side: namespaces: time: service:web"),
    ({"user": "service:a", "network": "service:b"}, {}, "side: namespaces: service:a and service:b: all that are joined"),
    ({"user": "service:web", "pid": "service:web", "time": "private"}, {}, "side: namespaces: time: private"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("namespaces", "parts", "message"), REFUSED, ids=[message for _given, _parts, message in REFUSED]
)
def test_refusals(namespaces: dict[str, str], parts: dict[str, t.Any], message: str) -> None:
    with pytest.raises(IsolationError) as refusal:
        one(side(namespaces), hosts(**parts))
    assert str(refusal.value).startswith(message)


def test_the_role_prepares_files_for_the_service_that_is_joined() -> None:
    assert _owner({"name": "side", "namespaces": WEB}) == "web"
    assert _owner({"name": "side"}) == "side"
