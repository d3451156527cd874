# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is planned for services, by what the host has."""

from __future__ import annotations

import dataclasses
import subprocess
import typing as t

import pytest

from ansible_collections.daemonless.isolation.plugins.module_utils._errors import IsolationError
from ansible_collections.daemonless.isolation.plugins.module_utils._host import oci
from ansible_collections.daemonless.isolation.plugins.module_utils._host.boot import EnsureBoot
from ansible_collections.daemonless.isolation.plugins.module_utils._host.files import WriteFile
from ansible_collections.daemonless.isolation.plugins.module_utils._host.health import Settle
from ansible_collections.daemonless.isolation.plugins.module_utils._host.oci import Runtime
from ansible_collections.daemonless.isolation.plugins.module_utils._host.records import Record, SaveRecord
from ansible_collections.daemonless.isolation.plugins.module_utils._host.systemd import DAEMON_RELOAD
from ansible_collections.daemonless.isolation.plugins.module_utils._plan import Plan
from ansible_collections.daemonless.isolation.plugins.module_utils._rootfs.state import RootfsView
from ansible_collections.daemonless.isolation.plugins.module_utils._service import supervise
from ansible_collections.daemonless.isolation.plugins.module_utils._service.apply import (
    DropHelpers,
    Look,
    Refuse,
    Start,
    Stop,
    Supervise,
)
from ansible_collections.daemonless.isolation.plugins.module_utils._service.desired import digest
from ansible_collections.daemonless.isolation.plugins.module_utils._service.gate import AwaitHealth
from ansible_collections.daemonless.isolation.plugins.module_utils._service.instances import Instance, Running
from ansible_collections.daemonless.isolation.plugins.module_utils._service.options import OPTIONS
from ansible_collections.daemonless.isolation.plugins.module_utils._service.parse import parse
from ansible_collections.daemonless.isolation.plugins.module_utils._service.plan import plan
from ansible_collections.daemonless.isolation.plugins.module_utils._service.roots import Root
from ansible_collections.daemonless.isolation.plugins.module_utils._service.runtimes import below_floor
from ansible_collections.daemonless.isolation.plugins.module_utils._service.spec import ServiceSpec
from ansible_collections.daemonless.isolation.plugins.module_utils._service.state import BridgeView, World
from ansible_collections.daemonless.isolation.plugins.module_utils._service.users import resolve_user

BASE = 1 << 21
RUNNING = Running(4711, 60.0, {"pid": 1}, "/isolation/web/web")
PASSWD = "root:x:0:0::/:/bin/sh\napp:x:1000:1001::/:/bin/sh\n"
GROUP = "root:x:0:\nextra:x:1002:\n"
HELPERS = {name: (text, 0o755) for name, text in {**oci.HELPERS, "enter": ""}.items()}


def spec(name: str = "web", **given: t.Any) -> ServiceSpec:
    defaults = {option: rule.get("default") for option, rule in OPTIONS.items()}
    base = {"name": name, "rootfs": name, "command": ["/bin/app"], "service": "web"}
    return parse({**defaults, **base, **given})


def bare(*names: str, **parts: t.Any) -> World:
    """A host that is ready, on which none of the instances is."""
    views = {
        name: RootfsView(name, f"/i/{name}", "/image", "/upper", BASE, "sha256:a", "overlay", True) for name in names
    }
    empty: dict[str, t.Any] = {
        "systemd": False,
        "machine": "x86_64",
        "records": {},
        "ranges": {"web": Record("id_range", "web", "default", {}, {"id_base": BASE})},
        "foreign": (),
        "instances": {name: Instance(None) for name in names},
        "slices": frozenset({"web"}),
        "groups": frozenset(),
        "bridges": {"iso0": BridgeView(("10.88.0.1/24",), ours=True)},
        "rootfs": views,
        "roots": {name: Root(f"/i/{name}", "/bin/app", PASSWD, GROUP) for name in names},
        "promised_without": frozenset(),
        "reserved": {},
        "runtimes": {"crun": Runtime("crun", "/usr/bin/crun", (1, 26))},
        "init": "/usr/bin/catatonit",
        "masked": (),
        "nameservers": ("192.0.2.53",),
        "profiles": {},
        "missing_sources": frozenset(),
        "helpers": HELPERS,
        "boot_gaps": (),
        "watched": ("/etc/service",),
    }
    return World(**{**empty, **parts})


def one(asked: ServiceSpec, world: World, **expect: t.Any) -> Plan:
    return plan([asked], world, expect, "default").elements[0]


def settled(*specs: ServiceSpec, **parts: t.Any) -> World:
    """The host after the specs were applied, all of them running."""
    world = bare(*[asked.name for asked in specs], **parts)
    records, instances = {}, {}
    for planned in plan(specs, world, {}, "default").elements:
        record = next(step.record for step in planned.steps if isinstance(step, SaveRecord))
        files = {step.path: (step.text, step.mode) for step in planned.prepare if isinstance(step, WriteFile)}
        records[planned.name] = record
        link = f"/etc/service/isolation-{planned.name}"
        instances[planned.name] = Instance(record, RUNNING, True, True, True, (link,), files, 1.0)
    return dataclasses.replace(world, records=records, instances=instances)


def but(world: World, name: str, **parts: t.Any) -> World:
    """The same host, with another state of one instance."""
    return dataclasses.replace(
        world, instances={**world.instances, name: dataclasses.replace(world.instances[name], **parts)}
    )


def kinds(steps: t.Iterable[t.Any]) -> list[str]:
    return [type(step).__name__ for step in steps]


def test_a_new_service_is_claimed_written_linked_and_started() -> None:
    asked = spec(networks=[{"bridge": "iso0", "address": ["auto"]}])
    task = plan([asked], bare("web"), {}, "default")
    new = task.elements[0]
    assert isinstance(new.prepare[0], SaveRecord), "the claim comes before anything that it claims"
    assert isinstance(new.prepare[-1], Supervise)
    assert kinds(new.steps) == ["SaveRecord", "Boot", "Start"]
    assert kinds(new.finish) == ["AwaitHealth"]
    assert task.shared == (Look("/etc/service"), EnsureBoot()), "when all are linked"
    lines = {change.key: change.after for change in new.changes}
    assert (lines["state"], lines["command"], lines["id_base"]) == ("started", "/bin/app", BASE)
    assert new.result["addresses"][0]["ipv4"] == lines["address iso0"][0]


def test_one_without_a_slice_is_in_no_slice_but_where_an_earlier_version_has_put_it() -> None:
    """That one has its slice's limits, as before, and is told so; under systemd there is no such control group."""
    asked, sliced = spec(), frozenset({"web"})
    new = settled(asked, slices=sliced)
    assert new.records["web"].assigned["cgroup"] == "isolation/no.slice/web"
    assert not one(asked, new).warnings
    assert "cgroup" not in settled(asked, systemd=True).records["web"].assigned
    assert "cgroup" not in settled(spec(slice="web")).records["web"].assigned

    old = new.records["web"]
    assigned = {key: value for key, value in old.assigned.items() if key != "cgroup"}
    world = dataclasses.replace(new, records={"web": dataclasses.replace(old, assigned=assigned)})
    kept = one(asked, but(world, "web", record=world.records["web"]))
    assert not any(change.effect == "restart" for change in kept.changes)
    (warning,) = kept.warnings
    assert "lies in the control group of slice web" in warning
    texts = {step.path: step.text for step in kept.prepare if isinstance(step, WriteFile)}
    assert '"cgroupsPath": "isolation/web/web"' in texts["/var/lib/isolation/instances/web/config.json"]
    stop = one(spec(state="stopped"), but(world, "web", record=world.records["web"])).steps[-1]
    assert stop.handle.cgroup == "isolation/web/web"  # type: ignore[attr-defined]
    unsliced = dataclasses.replace(world, slices=frozenset())
    assert not one(asked, but(unsliced, "web", record=world.records["web"])).warnings


def test_what_is_as_asked_for_takes_no_step() -> None:
    asked = spec(networks=[{"bridge": "iso0", "address": ["auto"]}], environment={"A": "1"})
    same = one(asked, settled(asked))
    assert (same.changes, same.prepare, same.steps, same.finish) == ((), (), (), ())
    assert (same.result["pid"], same.result["state"]) == (4711, "started")


@pytest.mark.parametrize("wrong", ["gone", "on no bridge", "on br1", "down"])
def test_a_link_that_was_cut_is_made_again_by_a_start(wrong: str) -> None:
    asked = spec(networks=[{"bridge": "iso0", "address": ["auto"]}])
    world = settled(asked)
    link = world.records["web"].assigned["networks"][0]["interface"]
    cut = one(asked, dataclasses.replace(world, astray={link: wrong}))
    assert [(change.key, change.before, change.effect) for change in cut.changes] == [("link iso0", wrong, "restart")]
    assert kinds(cut.steps) == ["SaveRecord", "Start"]
    assert not one(asked, dataclasses.replace(world, astray={"isoother": wrong})).changed, "another service's"


RESTARTING: list[dict[str, t.Any]] = [
    {"command": ["/bin/app", "-v"]},
    {"environment": {"A": "2"}},
    {"user": "1:1"},
    {"workdir": "/srv"},
    {"hostname": "other"},
    {"init": False},
    {"namespaces": {"network": "host"}},
    {"slice": "web"},
    {"networks": [{"bridge": "iso0", "address": ["auto"]}]},
    {"tmpfs": [{"target": "/x", "size": "1M", "mode": "1777"}]},
    {"mounts": [{"source": "/srv", "target": "/srv", "read_only": False, "exec": True}]},
    {"capabilities": ["CHOWN"]},
    {"seccomp": "unconfined"},
    {"rlimits": {"nofile": 10}},
    {"sysctls": {"net.ipv4.ip_default_ttl": 9}},
    {"dns": {"nameservers": ["10.0.0.1"], "search": [], "options": []}},
    {"extra_hosts": {"db": "10.0.0.9"}},
]
LIVE: list[dict[str, t.Any]] = [
    {"stop_signal": "INT"},
    {"stop_timeout": "3s"},
    {"restart": {"policy": "no", "delay": "1s", "max_delay": "2s"}},
]
UNSEEN: list[dict[str, t.Any]] = [
    {"gate": {"min_healthy_time": "1s", "deadline": "9s", "auto_revert": True}},
    {"runtime_policy": "strict"},
    {"state": "present"},
    {"replaces": "gone"},
]


@pytest.mark.parametrize("given", RESTARTING, ids=lambda given: next(iter(given)))
def test_changes_that_restart(given: dict[str, t.Any]) -> None:
    changed = one(spec(**given), settled(spec()))
    assert changed.changes
    assert {change.effect for change in changed.changes} == {"restart"}
    assert kinds(changed.steps) == ["SaveRecord", "Start"]
    assert t.cast(Start, changed.steps[1]).again
    kept = one(spec(**given, state="present"), settled(spec()))
    assert kinds(kept.steps) == ["SaveRecord", "Start"], "present keeps a running one up to date"


@pytest.mark.parametrize("given", LIVE, ids=lambda given: next(iter(given)))
def test_changes_that_leave_a_running_one_alone(given: dict[str, t.Any]) -> None:
    changed = one(spec(**given), settled(spec()))
    assert [change.effect for change in changed.changes] == ["live"]
    assert kinds(changed.steps) == ["SaveRecord"]
    assert changed.finish == ()
    # runit has no such time: the module waits, and asks the record how long.
    assert bool(changed.prepare) == ("stop_timeout" not in given)


@pytest.mark.parametrize("given", UNSEEN, ids=lambda given: next(iter(given)))
def test_options_that_are_about_a_start_only(given: dict[str, t.Any]) -> None:
    world = settled(spec())
    world = dataclasses.replace(world, instances={**world.instances, "gone": Instance(None)})
    assert not one(spec(**given), world).changed


@pytest.mark.parametrize(
    ("state", "found", "steps"),
    [
        ("started", {"running": None, "wanted": False}, ["Start"]),
        ("started", {"running": None, "wanted": True}, ["Start"]),
        ("started", {"at_boot": False}, ["Boot"]),
        ("restarted", {}, ["Start"]),
        ("restarted", {"running": None, "wanted": False, "at_boot": False}, ["Boot", "Start"]),
        ("stopped", {}, ["Boot", "Stop"]),
        ("stopped", {"running": None, "wanted": True, "at_boot": False}, ["Stop"]),
        ("stopped", {"running": None, "wanted": False}, ["Boot"]),
        ("stopped", {"running": None, "wanted": False, "at_boot": False}, None),
        ("present", {"running": None, "wanted": False, "at_boot": False}, None),
    ],
)
def test_states(state: str, found: dict[str, t.Any], steps: list[str] | None) -> None:
    planned = one(spec(state=state), but(settled(spec()), "web", **found))
    assert kinds(planned.steps) == ([] if steps is None else ["SaveRecord", *steps])
    assert planned.changed == (steps is not None)


def test_edited_and_outdated_artifacts() -> None:
    world = settled(spec())
    config = next(path for path in world.instances["web"].files if path.endswith("config.json"))
    files = dict(world.instances["web"].files)
    edited = one(spec(), but(world, "web", files={**files, config: ("{}", 0o600)}))
    assert [(change.before, change.effect) for change in edited.changes] == [("edited", "restart")]
    assert kinds(edited.steps) == ["SaveRecord", "Start"]

    # A newer version of the collection renders another text: what runs goes on running.
    record = world.records["web"]
    old = dict(record.assigned["artifacts"])
    old[config] = digest("{}")
    upgraded = dataclasses.replace(record, assigned={**record.assigned, "artifacts": old})
    other = dataclasses.replace(world, records={"web": upgraded})
    renewed = one(spec(), but(other, "web", record=upgraded, files={**files, config: ("{}", 0o600)}))
    assert [(change.before, change.effect) for change in renewed.changes] == [("as rendered before", "live")]
    assert kinds(renewed.steps) == ["SaveRecord"]


def test_replacing() -> None:
    old, new = spec("web-1"), spec("web-2", replaces="web-1")
    world = settled(old)
    fresh = bare("web-2")
    world = dataclasses.replace(
        world,
        instances={**world.instances, "web-2": Instance(None)},
        rootfs={**world.rootfs, **fresh.rootfs},
        roots={**world.roots, **fresh.roots},
    )
    planned = one(new, world)
    assert "replaces web-1" in {change.key for change in planned.changes}
    assert kinds(planned.steps) == ["SaveRecord", "Start"], "it is not started at boot before it is well"
    start, gate = t.cast(Start, planned.steps[1]), t.cast(AwaitHealth, planned.finish[0])
    assert start.old is not None
    assert start.old.name == "web-1"
    assert gate.old == start.old
    stopped = but(world, "web-1", running=None, wanted=False, at_boot=False)
    assert kinds(one(new, stopped).steps) == ["SaveRecord", "Boot", "Start"]
    with pytest.raises(IsolationError, match="is an instance of service web, not db"):
        one(spec("web-2", service="db", rootfs="/r", replaces="web-1"), world)
    with pytest.raises(IsolationError, match="is an element of this task, too"):
        plan([old, new], world, {}, "default")


def test_absent() -> None:
    world = settled(spec())
    gone = one(spec(state="absent"), world)
    assert kinds(gone.steps) == ["Remove", "RemoveSecrets", "DropRecord", "Release"]
    assert gone.finish == (Settle(), DropHelpers())
    assert not one(spec(state="absent"), bare("web")).changed


def test_under_systemd() -> None:
    asked = spec()
    task = plan([asked], bare("web", systemd=True, watched=()), {}, "default")
    assert task.shared == (DAEMON_RELOAD, EnsureBoot())
    unit = next(
        step for step in task.elements[0].prepare if isinstance(step, WriteFile) and step.path.endswith(".service")
    )
    assert unit.path == "/etc/systemd/system/isolation-web.service"
    for line in ("Type=forking", "OOMPolicy=kill", "DevicePolicy=closed", "StartLimitIntervalSec=0", "KillMode=mixed"):
        assert line in unit.text.splitlines()
    config = next(
        step for step in task.elements[0].prepare if isinstance(step, WriteFile) and step.path.endswith("config.json")
    )
    assert "cgroupsPath" not in config.text
    gone = one(spec(state="absent"), settled(asked, systemd=True, watched=()))
    assert kinds(gone.prepare) == ["Stop", "Systemctl", "RemoveFile"]
    assert isinstance(gone.prepare[0], Stop)
    assert gone.prepare[0].waits, "many end at the same time"
    with pytest.raises(IsolationError, match="runc makes control groups"):
        one(spec(runtime="runc"), bare("web", systemd=True))


def test_what_the_host_lacks_is_a_warning_and_then_a_refusal() -> None:
    lacking = one(spec(), bare("web", watched=(), init=None, runtimes={}))
    assert kinds(lacking.prepare[:3]) == ["Refuse"] * 3, "before anything is changed"
    assert len(lacking.warnings) == 3
    for step in lacking.prepare[:3]:
        with pytest.raises(IsolationError, match="isolation_host"):
            t.cast(Refuse, step).run()


REFUSED: list[tuple[dict[str, t.Any], dict[str, t.Any], str]] = [
    ({"rootfs": "other"}, {}, "there is no root filesystem other"),
    ({"rootfs": "/srv/none"}, {"roots": {}}, "/srv/none is not a directory"),
    ({"slice": "nosuch"}, {}, "there is no slice nosuch"),
    ({"networks": [{"bridge": "iso9", "address": ["auto"]}]}, {}, "there is no bridge iso9"),
    ({}, {"roots": {"web": Root("/i/web", None, "", "")}}, "/bin/app is not a program"),
    ({}, {"roots": {}, "promised_without": frozenset({"web"})}, "/bin/app is not a program in the root filesystem"),
    ({}, {"roots": {"web": Root("/i/web", "/bin/app", "", "", ("/dev",))}}, "no real directories or files: /dev"),
    ({"user": "nobody"}, {}, "has no 'nobody'"),
    ({"user": "70000"}, {}, "0 to 65534"),
    ({"runtime_policy": "strict"}, {"runtimes": {"crun": Runtime("crun", "/c", (1, 8, 1))}}, "older than 1.25.1"),
    ({"networks": [{"bridge": "iso0", "address": ["auto"]}]}, {"bridges": {"iso0": BridgeView()}}, "has no address"),
    ({"service": "db"}, {}, "belongs to ids from"),
]


@pytest.mark.parametrize(("given", "found", "message"), REFUSED, ids=[message for _given, _found, message in REFUSED])
def test_what_can_not_be_on_this_host_is_refused(
    given: dict[str, t.Any], found: dict[str, t.Any], message: str
) -> None:
    with pytest.raises(IsolationError) as refusal:
        one(spec(**given), bare("web", **found))
    assert message in str(refusal.value)


def test_promises_stand_for_what_is_not_there_yet() -> None:
    world = bare("web", rootfs={}, roots={}, slices=frozenset(), bridges={}, ranges={})
    asked = spec(slice="web", networks=[{"bridge": "iso0", "address": ["auto"]}])
    planned = one(
        asked,
        world,
        rootfs=[{"name": "web", "service": "web", "path": "/i/web", "id_base": 9 << 20}],
        slices=[{"name": "web"}],
        bridges=[{"name": "iso0", "addresses": ["10.7.0.1/24"]}],
    )
    assert planned.predicted
    assert planned.result["id_base"] == 9 << 20
    assert planned.result["addresses"][0]["ipv4"].startswith("10.7.0.")
    with pytest.raises(IsolationError, match="there is no root filesystem web"):
        one(asked, world, rootfs=[{"name": "web", "state": "absent"}], slices=[{"name": "web"}], bridges=[])


def test_two_new_ones_in_one_task_share_nothing() -> None:
    network = [{"bridge": "iso0", "address": ["auto"]}]
    specs = [spec(name, service=name, networks=network, rootfs="/r") for name in ("a", "b", "c")]
    task = plan(specs, bare("a", "b", "c", ranges={}), {}, "default")
    assert len({element.result["addresses"][0]["ipv4"] for element in task.elements}) == 3
    assert len({element.result["id_base"] for element in task.elements}) == 3
    helpers = [[change for change in element.changes if change.key.startswith("helper")] for element in task.elements]
    assert helpers == [[], [], []]


def test_a_warning_is_given_once() -> None:
    old = {"crun": Runtime("crun", "/c", (1, 8, 1))}
    task = plan([spec("a", rootfs="/r"), spec("b", rootfs="/r")], bare("a", "b", runtimes=old), {}, "default")
    assert [len(element.warnings) for element in task.elements] == [1, 0]


def test_foreign_things() -> None:
    theirs = Record("service", "web", "other", spec().record(), {"id_base": BASE})
    for state in ("started", "absent"):
        with pytest.raises(IsolationError, match="belongs to project 'other'"):
            one(spec(state=state), bare("web", records={"web": theirs}, instances={"web": Instance(theirs)}))
        with pytest.raises(IsolationError, match="no record tells of it"):
            one(spec(state=state), bare("web", instances={"web": Instance(None, files={"/x": ("", 0o644)})}))


@pytest.mark.parametrize(
    ("name", "version", "old"),
    [
        ("crun", (1, 8, 1), True), ("crun", (1, 25), True), ("crun", (1, 25, 1), False), ("crun", (2,), False),
        ("runc", (1, 1, 15), True), ("runc", (1, 2, 7), True), ("runc", (1, 2, 8), False), ("runc", (1, 3, 2), True),
        ("runc", (1, 3, 3), False), ("runc", (1, 4), False), ("runc", (), True),
    ],
)  # fmt: skip
def test_floors(name: str, version: tuple[int, ...], old: bool) -> None:
    assert below_floor(name, version) == old


@pytest.mark.parametrize(
    ("user", "ids"),
    [
        ("0:0", (0, 0)),
        ("1000", (1000, 1001)),
        ("app", (1000, 1001)),
        ("app:extra", (1000, 1002)),
        ("7", (7, 7)),
        ("7:8", (7, 8)),
    ],
)
def test_users(user: str, ids: tuple[int, int]) -> None:
    assert resolve_user(spec(user=user), Root("/r", "/bin/app", PASSWD, GROUP)) == ids


SHELL = {
    **oci.HELPERS,
    **{
        f"{path.rpartition('sv/web/')[2]} {policy}": text
        for policy in ("always", "on-failure", "no")
        for path, (text, _mode) in supervise.runit_files(
            supervise.Start(
                spec(restart={"policy": policy, "delay": "1s", "max_delay": "2s"}),
                "/d",
                "/crun",
                True,
                "isolation/web/web",
                "web",
            )
        ).items()
    },
}


@pytest.mark.parametrize("name", SHELL)
def test_shell_scripts_are_sound(name: str) -> None:
    told = subprocess.run(
        ["shellcheck", "--shell=sh", "--severity=warning", "-"],
        input=SHELL[name],
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 0, told.stdout
