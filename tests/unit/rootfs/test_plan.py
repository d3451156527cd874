# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is planned for root filesystems, by what the host has."""

from __future__ import annotations

import dataclasses
import typing as t

import pytest

from ansible_collections.daemonless.isolation.plugins.module_utils import _idrange
from ansible_collections.daemonless.isolation.plugins.module_utils._errors import IsolationError
from ansible_collections.daemonless.isolation.plugins.module_utils._host.helpers.rootfs import Layout, Mount
from ansible_collections.daemonless.isolation.plugins.module_utils._host.images import Image, RemoveImages
from ansible_collections.daemonless.isolation.plugins.module_utils._host.instances import MountInstance, Seen, SeenFile
from ansible_collections.daemonless.isolation.plugins.module_utils._host.manifest import Damage
from ansible_collections.daemonless.isolation.plugins.module_utils._host.mounts import Resident
from ansible_collections.daemonless.isolation.plugins.module_utils._host.records import Record, SaveRecord
from ansible_collections.daemonless.isolation.plugins.module_utils._host.systemd import DAEMON_RELOAD, Systemctl
from ansible_collections.daemonless.isolation.plugins.module_utils._plan import Plan
from ansible_collections.daemonless.isolation.plugins.module_utils._rootfs.apply import UnpackImage
from ansible_collections.daemonless.isolation.plugins.module_utils._rootfs.plan import plan
from ansible_collections.daemonless.isolation.plugins.module_utils._rootfs.spec import RootfsSpec, parse
from ansible_collections.daemonless.isolation.plugins.module_utils._rootfs.state import (
    Instance,
    UnitState,
    World,
    unit_text,
)

A, B = "sha256:" + "a" * 64, "sha256:" + "b" * 64
BASE = 2097152


def spec(name: str = "web", **options: t.Any) -> RootfsSpec:
    state = options.pop("state", "present")
    defaults = {
        "name": name,
        "source": {"tar": {"path": "/srv/a.tar", "checksum": A}} if state == "present" else None,
        "mode": "overlay",
        "max_size": "1G",
        "max_entries": 1000,
        "state": state,
    }
    files = [{"state": "file", "owner": 0, "group": 0, "sensitive": False, **file} for file in options.pop("files", [])]
    return parse({**defaults, "files": files, **options})


def image(digest: str) -> Image:
    return Image(digest, {}, 100, 3, 0, 50)


def world(*specs: RootfsSpec, **parts: t.Any) -> World:
    bare = World(
        records={},
        services={},
        ranges={},
        foreign=(),
        images={},
        used_images=frozenset(),
        unpacked={},
        instances={one.name: Instance(None, Seen(False)) for one in specs},
        sources={one.name: A for one in specs if one.present},
        archives={},
        systemd=False,
        helper="#!",
        helper_current=True,
        helper_there=True,
        tools={"mmdebstrap": True},
    )
    return dataclasses.replace(bare, **parts)


def mounted(layout: Layout, files: t.Mapping[str, SeenFile] | None = None, **parts: t.Any) -> Seen:
    options = {"rw": "", **layout.overlay()}
    mount = Mount("0:9", "/", layout.target, frozenset({"rw", "nosuid", "nodev"}), "overlay", "none", options)
    return dataclasses.replace(Seen(True, mount, 100, BASE, True, files or {}), **parts)


def settled(one: RootfsSpec, **parts: t.Any) -> World:
    """The world in which a spec is applied."""
    first = plan([one], world(one, ranges={one.service: held(one.service)}), "default").elements[0]
    record = next(step.record for step in first.steps if isinstance(step, SaveRecord))
    layout = next(step.layout for step in first.steps if isinstance(step, MountInstance))
    files = {file.path: SeenFile(file.digest, file.laid.mode, file.laid.owner, file.laid.group) for file in one.files}
    instance = Instance(record, mounted(layout, files))
    found = world(
        one,
        records={one.name: record},
        ranges={one.service: held(one.service)},
        images={A: image(A)},
        instances={one.name: instance},
    )
    return dataclasses.replace(found, **parts)


def held(service: str, base: int = BASE) -> Record:
    return Record("id_range", service, "default", {}, {"id_base": base})


def one_plan(one: RootfsSpec, there: World) -> Plan:
    return plan([one], there, "default").elements[0]


def keys(found: Plan) -> list[str]:
    return [change.key for change in found.changes]


def kinds(found: Plan) -> list[str]:
    return [type(step).__name__ for step in (*found.prepare, *found.steps, *found.finish)]


def test_a_new_one() -> None:
    one = spec()
    found = one_plan(one, world(one))
    assert keys(found) == ["service", "source", "image", "id_base", "mode", "mounted"]
    assert kinds(found) == ["SaveRecord", "SaveRecord", "UnpackImage", "MountInstance", "SaveRecord"]
    assert found.predicted
    assert found.result["size"] is None
    assert found.result["id_base"] == _idrange.assign("web", [])


def test_settled() -> None:
    one = spec(files=[{"path": "/a", "content": "x"}])
    found = one_plan(one, settled(one))
    assert (found.changes, found.prepare, found.steps, found.finish) == ((), (), (), ())
    assert found.result["cached"]
    assert found.result["size"] == 100


def change_seen(there: World, **parts: t.Any) -> World:
    instance = there.instances["web"]
    return dataclasses.replace(
        there, instances={"web": dataclasses.replace(instance, seen=dataclasses.replace(instance.seen, **parts))}
    )


@pytest.mark.parametrize(
    ("parts", "before"),
    [
        ({"mount": None}, "no"),
        ({"id_base": 0}, "with other owners"),
        ({"shifted": False}, "with other owners"),
    ],
)
def test_a_mount_that_is_not_as_asked_for_is_made_again(parts: dict[str, t.Any], before: str) -> None:
    one = spec()
    found = one_plan(one, change_seen(settled(one), **parts))
    assert [(change.key, change.before, change.after) for change in found.changes] == [("mounted", before, "yes")]
    step = next(step for step in found.steps if isinstance(step, MountInstance))
    assert not step.fresh


def test_another_image_replaces_the_own_layer() -> None:
    one = spec()
    found = one_plan(one, dataclasses.replace(settled(one), sources={"web": B}))
    assert [(change.key, change.effect) for change in found.changes] == [("image", "replace"), ("mounted", "restart")]
    assert next(step for step in found.steps if isinstance(step, MountInstance)).fresh


def test_an_image_that_is_gone_is_unpacked_again_and_the_own_layer_stays() -> None:
    one = spec()
    found = one_plan(one, dataclasses.replace(settled(one), images={}))
    assert [(change.key, change.before) for change in found.changes] == [("image", "missing")]
    assert isinstance(found.steps[0], UnpackImage)
    assert not next(step for step in found.steps if isinstance(step, MountInstance)).fresh


def test_in_use() -> None:
    one = spec(files=[{"path": "/a", "content": "x"}])
    there = settled(one)
    instance = dataclasses.replace(there.instances["web"], users=(Resident(7, "sh", frozenset()),))
    there = dataclasses.replace(there, instances={"web": instance})
    assert not one_plan(one, there).changed
    with pytest.raises(IsolationError, match=r"7 \(sh\).*files /a"):
        one_plan(spec(files=[{"path": "/a", "content": "y"}]), there)
    with pytest.raises(IsolationError, match="removed"):
        one_plan(spec(state="absent"), there)
    assert one_plan(spec(state="absent", force=True), there).changed
    moved = {"tar": {"path": "/srv/moved.tar", "checksum": A}}
    found = one_plan(spec(source=moved, files=[{"path": "/a", "content": "x"}]), there)
    assert keys(found) == ["source"]
    assert kinds(found) == ["SaveRecord"]


def test_files() -> None:
    one = spec(files=[{"path": "/a", "content": "x"}, {"path": "/s", "content": "hidden", "sensitive": True}])
    there = settled(one)
    found = one_plan(
        spec(files=[{"path": "/a", "content": "y"}, {"path": "/s", "content": "other", "sensitive": True}]), there
    )
    assert keys(found) == ["files /a", "files /s"]
    assert found.changes[1].before == "sensitive, 0644, 0:0"
    assert found.changes[1].after == "sensitive, 0644, 0:0, other content"
    dropped = one_plan(spec(), there)
    assert [(change.key, change.after) for change in dropped.changes] == [("files /a", None), ("files /s", None)]
    assert next(step for step in dropped.steps if isinstance(step, MountInstance)).forget == ("/a", "/s")
    found = one_plan(one, change_seen(there, files={}))
    assert [(change.key, change.before) for change in found.changes] == [("files /a", None), ("files /s", None)]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (spec(id_base=BASE + 65536), "has the range"),
        (spec(service="other"), "belongs to service web"),
    ],
)
def test_what_belongs_to_ids_is_not_given_to_others(asked: RootfsSpec, message: str) -> None:
    with pytest.raises(IsolationError, match=message):
        one_plan(asked, settled(spec()))


def test_ranges() -> None:
    one = spec(id_base=BASE + 65535)
    with pytest.raises(IsolationError, match="overlaps the range of service other"):
        one_plan(one, world(one, ranges={"other": held("other")}))
    with pytest.raises(IsolationError, match="overlaps ids of the host's users"):
        one_plan(one, world(one, foreign=((BASE + 70000, 1),)))
    first, second = spec("a", id_base=BASE), spec("b", id_base=BASE + 1)
    with pytest.raises(IsolationError, match="overlaps the range of service a"):
        plan([first, second], world(first, second), "default")
    first, second = spec("a", service="x"), spec("b", service="x")
    plans = plan([first, second], world(first, second), "default").elements
    assert plans[0].result["id_base"] == plans[1].result["id_base"]


def test_projects_and_strangers() -> None:
    one = spec()
    with pytest.raises(IsolationError, match="belongs to project"):
        plan([one], settled(one), "other")
    for there in (Seen(True), mounted(Layout("web", "/x", 0, "overlay"))):
        with pytest.raises(IsolationError, match="no record"):
            one_plan(one, world(one, instances={"web": Instance(None, there)}))
    gone = spec(state="absent")
    assert not one_plan(gone, world(gone)).changed


def test_absent_and_unused_images() -> None:
    gone, kept = spec(state="absent", prune_images=True), spec("kept")
    records = {"web": settled(spec()).records["web"]}
    other = Record("rootfs", "else", "p", {}, {"digest": "sha256:" + "c" * 64})
    there = dataclasses.replace(
        settled(spec()),
        records={**records, "else": other},
        images={digest: image(digest) for digest in (A, B, "sha256:" + "c" * 64)},
        sources={"kept": B},
        instances={**settled(spec()).instances, "kept": Instance(None, Seen(False))},
    )
    plans = plan([gone, kept], there, "default").elements
    assert [step.digests for step in plans[0].finish if isinstance(step, RemoveImages)] == [(A,)]
    used = dataclasses.replace(there, used_images=frozenset({image(A).path + "/rootfs"}))
    assert not any(isinstance(step, RemoveImages) for step in plan([gone, kept], used, "default").elements[0].finish)


def test_units_on_systemd() -> None:
    one = spec()
    there = dataclasses.replace(settled(one), systemd=True)

    def with_unit(unit: UnitState) -> World:
        return dataclasses.replace(there, instances={"web": dataclasses.replace(there.instances["web"], unit=unit)})

    assert not one_plan(one, with_unit(UnitState(unit_text("web"), True, True))).changed
    stale = plan([one], with_unit(UnitState("old", True, True)), "default")
    assert stale.shared == (DAEMON_RELOAD,)
    assert [type(step).__name__ for step in stale.elements[0].prepare] == ["WriteFile"]
    off = plan([one], with_unit(UnitState(unit_text("web"), True, False)), "default")
    assert off.shared == ()
    assert isinstance(off.elements[0].steps[-1], Systemctl)
    gone = plan([spec(state="absent")], with_unit(UnitState(unit_text("web"), True, True)), "default")
    assert gone.shared == (DAEMON_RELOAD,)
    assert kinds(gone.elements[0])[:3] == ["UnmountInstance", "Systemctl", "RemoveFile"]


def test_the_helper_is_one_elements_business() -> None:
    first, second = spec("a"), spec("b")
    plans = plan([first, second], world(first, second, helper_current=False), "default").elements
    assert [("helper" in keys(found)) for found in plans] == [True, False]


def record_of(name: str, service: str = "web", digest: str = A, project: str = "default", **assigned: t.Any) -> Record:
    asked: dict[str, t.Any] = {"service": service, "source": {}, "mode": "overlay", "size": None, "files": []}
    return Record("rootfs", name, project, asked, {"digest": digest, "id_base": BASE, "image": "/i", **assigned})


def gone(found: Plan) -> list[str]:
    return [change.key for change in found.changes if change.after is None]


@pytest.mark.parametrize(
    ("keep", "removed"), [(None, []), (2, []), (1, ["rootfs web-b"]), (0, ["rootfs web-c", "rootfs web-b"])]
)
def test_keep(keep: int | None, removed: list[str]) -> None:
    one = spec(keep=keep)
    older = {name: record_of(name) for name in ("web-a", "web-b", "web-c", "web-d")}
    others = {"api": record_of("api", "api"), "foreign": record_of("foreign", project="other")}
    there = settled(one, busy=frozenset({"web-a"}))
    there = dataclasses.replace(
        there,
        records={**there.records, **older, **others},
        ages={"web-a": 1, "web-b": 2, "web-c": 3},
        instances={**there.instances, "web-d": Instance(older["web-d"], Seen(False))},
    )
    plans = plan([one, spec("web-d", service="web", state="absent")], there, "default").elements
    assert gone(plans[0]) == removed
    assert bool(plans[0].finish) == bool(removed)


def test_a_claim_is_taken_back_and_what_was_there_is_not() -> None:
    one = spec()
    fresh = one_plan(one, world(one, process=7, ranges={"web": held("web")}))
    claim = next(
        step.record for step in fresh.prepare if isinstance(step, SaveRecord) and step.record.layer == "rootfs"
    )
    assert claim.assigned["claim"] == 7
    assert [type(step).__name__ for step in fresh.undo][-3:] == ["DropRecord", "Release", "RemoveEmptyStore"]
    assert not one_plan(spec(files=[{"path": "/a", "content": "x"}]), settled(one)).undo
    interrupted = settled(one, records={"web": claim})
    interrupted = dataclasses.replace(
        interrupted, instances={"web": dataclasses.replace(interrupted.instances["web"], record=claim)}
    )
    again = one_plan(one, interrupted)
    assert [change.before for change in again.changes if change.key == "record"] == ["of a run that was interrupted"]
    assert "claim" not in next(step.record for step in again.steps if isinstance(step, SaveRecord)).assigned
    assert again.undo


def test_what_killed_runs_have_left() -> None:
    one = spec(prune_images=True)
    dead, alive = record_of("dead", claim=1), record_of("alive", claim=2)
    there = settled(one, abandoned=frozenset({"dead"}), leftovers=("/var/lib/isolation/images/.staged-1",))
    there = dataclasses.replace(
        there,
        records={**there.records, "dead": dead, "alive": alive},
        ranges={**there.ranges, "nobody": held("nobody"), "else": dataclasses.replace(held("else"), project="other")},
    )
    found = one_plan(one, there)
    assert gone(found) == ["leftovers of killed runs", "rootfs dead", "ids of service nobody"]
    assert gone(one_plan(spec(), there)) == ["leftovers of killed runs"]


def test_a_damaged_image() -> None:
    one = spec(verify="full")
    there = settled(one, damage={A: Damage("/etc/motd: other content", 3)})
    found = one_plan(one, there)
    assert [(change.key, change.before) for change in found.changes] == [
        ("image content", "damaged: /etc/motd: other content, 3 entries")
    ]
    assert kinds(found) == ["SaveRecord", "Remount", "MountInstance", "SaveRecord"]
    user = Resident(9, "sh", frozenset())
    used = dataclasses.replace(there, image_users={A: (user,)}, image_mounts={A: {"api": Layout("api", "", 0, "")}})
    with pytest.raises(IsolationError, match=r"damaged: /etc/motd.*9 \(sh\).*services of api first"):
        one_plan(one, used)
    with pytest.raises(IsolationError, match="none of ours"):
        one_plan(one, dataclasses.replace(there, used_images=frozenset({image(A).path + "/rootfs"})))


def test_what_the_controller_has_not_sent() -> None:
    one = spec(source={"tar": {"checksum": A, "_origin": "web.tar"}})
    found = one_plan(one, world(one))
    assert "NotSent" in kinds(found)
    assert next(change.after for change in found.changes if change.key == "source") == "tar controller=web.tar"
    with pytest.raises(IsolationError, match="action plugin"):
        spec(remote_src=False)
