# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The planner, as tables: what is and what is asked for in, changes and steps out."""

from __future__ import annotations

import os
import pathlib
import typing as t
from dataclasses import replace

import pytest

from ansible_collections.daemonless.isolation.plugins.module_utils._cgroup import unit
from ansible_collections.daemonless.isolation.plugins.module_utils._cgroup.apply import (
    EndUnit,
    Freeze,
    MakeGroups,
    NoteDefaults,
    RealizeBeside,
    RemoveGroups,
    WriteLimit,
)
from ansible_collections.daemonless.isolation.plugins.module_utils._cgroup.facts import Host, SliceState, Unit, World
from ansible_collections.daemonless.isolation.plugins.module_utils._cgroup.limits import (
    LIMITS,
    DiskLatency,
    DiskLimit,
    Value,
)
from ansible_collections.daemonless.isolation.plugins.module_utils._cgroup.plan import plan_task
from ansible_collections.daemonless.isolation.plugins.module_utils._cgroup.spec import Spec, parse
from ansible_collections.daemonless.isolation.plugins.module_utils._errors import IsolationError
from ansible_collections.daemonless.isolation.plugins.module_utils._host import cgroupfs
from ansible_collections.daemonless.isolation.plugins.module_utils._host.cgroupfs import Hierarchy, parse_mountinfo
from ansible_collections.daemonless.isolation.plugins.module_utils._host.files import WriteFile
from ansible_collections.daemonless.isolation.plugins.module_utils._host.records import Record, SaveRecord
from ansible_collections.daemonless.isolation.plugins.module_utils._host.systemd import DAEMON_RELOAD, Systemctl
from ansible_collections.daemonless.isolation.plugins.module_utils._plan import Change, Plan, Step

V2 = Hierarchy(2, "/sys/fs/cgroup", frozenset({"cpu", "cpuset", "hugetlb", "io", "memory", "pids"}))
PLAIN = Host(
    "cgroupfs",
    (V2,),
    cpus=frozenset({0, 1}),
    memory=1 << 30,
    disks={"/dev/vda": "254:0"},
    devices={"/dev/vda": "254:0"},
    huge_pages={"2MB": 2 << 20},
)
SYSTEMD = replace(PLAIN, manager="systemd", systemd=252)


def defaults(host: Host) -> dict[str, Value]:
    return {option: limit.default for option, limit in LIMITS.items() if host.serves(option)}


V1 = Hierarchy(1, "/sys/fs/cgroup/cpu", frozenset({"cpu"}))
HYBRID = replace(PLAIN, hierarchies=(V1, replace(V2, controllers=frozenset({"hugetlb"}))))
PAGES: t.Any = [{"page_size": "2M", "limit": "5M"}]
LATENCY: dict[str, t.Any] = {"io_latency": [{"device": "/dev/vda", "target": "25ms"}]}


def spec(name: str = "web", state: str = "present", force: bool = False, **options: t.Any) -> Spec:
    return parse({"name": name, "state": state, "force": force, "unified": {}, **options})


def planned(
    host: Host, specs: t.Sequence[Spec], *states: SliceState, records: t.Sequence[Record] = ()
) -> tuple[list[Plan], list[Step]]:
    slices = {item.name: SliceState(item.name, unit=Unit() if host.manager == "systemd" else None) for item in specs}
    slices.update({state.name: state for state in states})
    known = {state.name: state.record for state in states if state.record is not None}
    plan = plan_task(specs, World(host, slices, {**known, **{record.name: record for record in records}}), "default")
    return list(plan.elements), list(plan.shared)


def settled(host: Host, item: Spec) -> SliceState:
    """The state that the host has when a spec is applied."""
    [plan], _shared = planned(host, [item])
    record = next(step.record for step in plan.prepare if isinstance(step, SaveRecord))
    files = {step.path: step.text for step in plan.prepare if isinstance(step, WriteFile)}
    values: dict[str, Value] = {
        **defaults(host),
        **{option: value for option, value in item.limits.items() if option != "io_max"},
    }
    return SliceState(
        item.name,
        record,
        (V2,),
        V2.controllers,
        values,
        raw=dict(item.unified),
        boot_text=next((text for path, text in files.items() if "boot.d" in path), None),
        unit=Unit(next(text for path, text in files.items() if path.endswith(".slice")), active=True)
        if host.manager == "systemd"
        else None,
    )


@pytest.mark.parametrize("host", [PLAIN, SYSTEMD], ids=["cgroupfs", "systemd"])
def test_a_settled_slice_needs_nothing(host: Host) -> None:
    item = spec(memory_max="64M", pids_max="5", cpuset_cpus="0")
    [plan], shared = planned(host, [item], settled(host, item))
    assert plan.changes == ()
    assert (plan.prepare, plan.steps, plan.finish, shared) == ((), (), (), [])
    assert plan.result["effective"]["memory_max"] == 64 << 20


def test_the_record_comes_first_and_every_step_after_it() -> None:
    [plan], _shared = planned(PLAIN, [spec(memory_max="64M", unified={"memory.oom.group": "1"})])
    assert [change.key for change in plan.changes] == ["state", "memory_max", "memory.oom.group"]
    assert [type(step).__name__ for step in plan.prepare] == ["SaveRecord", "WriteFile", "MakeGroups", "NoteDefaults"]
    assert plan.steps == (
        WriteLimit("/sys/fs/cgroup/isolation/web", "memory.max", "67108864"),
        WriteLimit("/sys/fs/cgroup/isolation/web", "memory.oom.group", "1"),
    )
    assert (plan.result["usage"], plan.result["pressure"], plan.result["oom_kills"]) == ({}, None, None)


def test_raw_keys_go_back_to_what_the_kernel_had() -> None:
    item = spec(unified={"memory.oom.group": "1"})
    state = settled(PLAIN, item)
    record = t.cast(Record, state.record)
    noted = replace(record, assigned={"unified_defaults": {"memory.oom.group": "0"}})
    [plan], _shared = planned(PLAIN, [spec()], replace(state, record=noted))
    assert plan.changes == (Change("memory.oom.group", "1", "0"),)
    assert WriteLimit("/sys/fs/cgroup/isolation/web", "memory.oom.group", "0") in plan.steps
    assert not any(isinstance(step, NoteDefaults) for step in plan.prepare)


def test_memory_is_compared_in_whole_pages() -> None:
    state = settled(PLAIN, spec(memory_max="64M"))
    [plan], _shared = planned(PLAIN, [spec(memory_max=str((64 << 20) + 4095))], state)
    assert plan.changes == ()


def test_systemd_changes_by_unit_file_and_one_reload() -> None:
    state = settled(SYSTEMD, spec(pids_max="5"))
    plans, shared = planned(SYSTEMD, [spec(pids_max="6"), spec("other")], state)
    assert plans[0].changes == (Change("pids_max", 5, 6),)
    assert shared == [DAEMON_RELOAD]
    assert plans[0].steps == (Systemctl("start", ("isolation-web.slice",)), RealizeBeside(""))
    assert plans[1].steps == (Systemctl("start", ("isolation-other.slice",)),), (
        "what is not there yet begins with its limits"
    )


def test_systemd_writes_limits_before_it_freezes_and_after_it_thaws() -> None:
    state = settled(SYSTEMD, spec(pids_max="5"))
    name = ("isolation-web.slice",)
    [plan], _shared = planned(SYSTEMD, [spec(pids_max="6", state="frozen")], state)
    assert plan.steps == (Systemctl("start", name), RealizeBeside(""), Systemctl("freeze", name))
    frozen = replace(state, frozen=True)
    [plan], _shared = planned(SYSTEMD, [spec(pids_max="6")], frozen)
    assert plan.steps == (Systemctl("start", name), Systemctl("thaw", name), RealizeBeside(""))
    planned(SYSTEMD, [spec(pids_max="6", state="frozen")], frozen)
    newer = replace(SYSTEMD, systemd=257)
    with pytest.raises(
        IsolationError, match=r"web: pids_max: systemd 257 writes no limits of a frozen slice: set state"
    ):
        planned(newer, [spec(pids_max="6", state="frozen")], frozen)
    planned(newer, [spec(pids_max="5", state="frozen")], frozen)


def test_systemd_reads_an_inactive_slice_from_its_unit() -> None:
    item = spec(pids_max="5")
    state = settled(SYSTEMD, item)
    [plan], _shared = planned(
        SYSTEMD, [item], replace(state, present=(), unit=replace(t.cast(Unit, state.unit), active=False))
    )
    assert plan.changes == ()


def test_systemd_loads_a_unit_that_was_written_by_a_killed_run() -> None:
    item = spec(pids_max="5")
    state = settled(SYSTEMD, item)
    [plan], shared = planned(SYSTEMD, [item], replace(state, unit=replace(t.cast(Unit, state.unit), stale=True)))
    assert [change.key for change in plan.changes] == ["unit"]
    assert shared == [DAEMON_RELOAD]


def test_systemd_frees_disks_by_name() -> None:
    state = settled(SYSTEMD, spec())
    limited = replace(state, limits={**defaults(SYSTEMD), "io_max": (DiskLimit("/dev/vda", rbps=5),)})
    [plan], _shared = planned(SYSTEMD, [spec()], limited)
    [saved] = [step.record for step in plan.prepare if isinstance(step, SaveRecord)]
    assert saved.assigned == {"freed_disks": ["/dev/vda"]}
    text = unit.render("web", {}, ["/dev/vda"])
    done = replace(state, record=saved, unit=Unit(text, active=True))
    assert planned(SYSTEMD, [spec()], done)[0][0].changes == ()


def test_systemd_calms_disks_by_name() -> None:
    item = spec(**LATENCY)
    [plan], _shared = planned(SYSTEMD, [item])
    assert [change.key for change in plan.changes] == ["state", "io_latency"]
    [text] = [step.text for step in plan.prepare if isinstance(step, WriteFile)]
    assert "IODeviceLatencyTargetSec=/dev/vda 25000us" in text
    before = replace(
        settled(SYSTEMD, spec()), limits={**defaults(SYSTEMD), "io_latency": (DiskLatency("/dev/vda", 5),)}
    )
    [plan], _shared = planned(SYSTEMD, [spec()], before)
    [saved] = [step.record for step in plan.prepare if isinstance(step, SaveRecord)]
    assert saved.assigned == {"calmed_disks": ["/dev/vda"]}
    text = unit.render("web", {}, (), ["/dev/vda"])
    done = replace(settled(SYSTEMD, spec()), record=saved, unit=Unit(text, active=True))
    assert planned(SYSTEMD, [spec()], done)[0][0].changes == ()


def test_huge_pages_bring_their_controller() -> None:
    [plan], _shared = planned(PLAIN, [spec(hugetlb_max=PAGES)])
    assert [(change.key, change.after) for change in plan.changes[1:]] == [("hugetlb_max", ["2MB 4M"])]
    [made] = [step for step in plan.prepare if isinstance(step, MakeGroups)]
    assert "hugetlb" in made.controllers
    assert plan.steps == (WriteLimit("/sys/fs/cgroup/isolation/web", "hugetlb.2MB.max", "4194304"),)
    assert plan.result["effective"]["hugetlb_max"] == [{"page_size": "2MB", "limit": 4194304}]


def test_huge_pages_of_v1_have_a_hierarchy_of_their_own() -> None:
    pages = Hierarchy(1, "/sys/fs/cgroup/hugetlb", frozenset({"hugetlb"}))
    host = replace(PLAIN, hierarchies=(V1, pages))
    for options, trees in (({}, (V1,)), ({"hugetlb_max": PAGES}, (V1, pages))):
        [plan], _shared = planned(host, [spec(**options)])
        assert [step.trees for step in plan.prepare if isinstance(step, MakeGroups)] == [trees]
    assert plan.steps == (WriteLimit("/sys/fs/cgroup/hugetlb/isolation/web", "hugetlb.2MB.limit_in_bytes", "4194304"),)


def test_systemd_says_who_overrides() -> None:
    item = spec(pids_max="5")
    state = settled(SYSTEMD, item)
    overridden = replace(
        state, limits={**state.limits, "pids_max": 9}, unit=replace(t.cast(Unit, state.unit), drop_ins="/run/x.conf")
    )
    with pytest.raises(IsolationError, match=r"pids_max: overridden by /run/x\.conf"):
        planned(SYSTEMD, [item], overridden)


@pytest.mark.parametrize(
    ("host", "options", "word"),
    [
        (PLAIN, {"memory_max": "2G"}, "2G is more than the 1G"),
        (PLAIN, {"memory_min": "64M", "memory_max": "32M"}, "memory_min"),
        (PLAIN, {"cpuset_cpus": "1-2"}, "no CPU 2"),
        (PLAIN, {"unified": {"misc.max": "x"}}, "no controller misc"),
        (PLAIN, {"unified": {"io.prio.nosuch": "254:9 target=1"}}, r"no disk 254:9 \(it has 254:0 \(/dev/vda\)\)"),
        (PLAIN, {"unified": {"memory.soft.nosuch": "2147483648"}}, "2G is more than the 1G"),
        (PLAIN, {"unified": {"cpuset.cpus.exclusive": "0-5"}}, "no CPU 2-5"),
        (PLAIN, {"unified": {"cpuset.cpus.exclusive": "0-x"}}, "not a list"),
        (PLAIN, {"unified": {"hugetlb.1GB.rsvd.max": "0"}}, r"no huge pages of 1GB \(it has 2MB\)"),
        (
            replace(PLAIN, settings={"memory": frozenset({"memory.oom.group"})}),
            {"unified": {"memory.current": "1"}},
            "no such file that can be read and written",
        ),
        (replace(PLAIN, lacking=frozenset({"io.latency"})), LATENCY, "io_latency: this kernel has no io.latency"),
        (replace(PLAIN, lacking=frozenset({"memory.zswap.max"})), {"memory_zswap_max": "1M"}, "no memory.zswap.max"),
        (SYSTEMD, {"memory_zswap_max": "1M"}, "253 was the first"),
        (SYSTEMD, {"hugetlb_max": PAGES}, "no property for huge pages"),
        (PLAIN, {"hugetlb_max": [{"page_size": "1G", "limit": "1G"}]}, "no huge pages of 1GB"),
        (PLAIN, {"hugetlb_max": [{"page_size": "2M", "limit": "2G"}]}, "2G is more than the 1G"),
        (PLAIN, {"hugetlb_max": [{"page_size": "2M", "limit": "1M"}]}, "less than a page of 2MB"),
        (HYBRID, {"hugetlb_max": PAGES}, "services are in those of version 1 alone"),
        (HYBRID, {"unified": {"hugetlb.2MB.rsvd.max": "0"}}, "services are in those of version 1 alone"),
        (replace(PLAIN, hierarchies=(V1,)), {"hugetlb_max": PAGES}, "the controller hugetlb is not mounted"),
        (
            replace(PLAIN, devices={"/dev/vda1": "254:1"}),
            {"io_latency": [{"device": "/dev/vda1", "target": "5ms"}]},
            "io_latency: /dev/vda1 is a part of a disk",
        ),
        (SYSTEMD, {"unified": {"memory.oom.group": "1"}}, "systemd 252 has no property"),
        (replace(SYSTEMD, hierarchies=(Hierarchy(1, "/c", frozenset({"cpu"})),)), {}, "unified_cgroup_hierarchy"),
        (replace(PLAIN, hierarchies=()), {}, "no control groups"),
        (
            replace(PLAIN, hierarchies=(Hierarchy(2, "/c", frozenset({"pids"})),)),
            {"cpu_weight": 5},
            "cpu_weight: the controller cpu",
        ),
        (
            replace(PLAIN, devices={"/dev/vda1": "254:1"}),
            {"io_max": [{"device": "/dev/vda1", "rbps": "1M"}]},
            "part of a disk",
        ),
        (replace(SYSTEMD, systemd=240), {"cpuset_cpus": "0"}, "244 was the first"),
    ],
)
def test_what_a_host_can_not_is_refused_by_name(host: Host, options: dict[str, t.Any], word: str) -> None:
    with pytest.raises(IsolationError, match=word) as caught:
        planned(host, [spec(**options)])
    assert str(caught.value).startswith("web: ")


def test_more_cpus_than_there_are_warn() -> None:
    [plan], _shared = planned(PLAIN, [spec(cpu_max="300%")])
    assert "3 CPUs are more than the 2" in plan.warnings[0]


def test_freezing_comes_after_the_limits() -> None:
    [plan], _shared = planned(PLAIN, [spec(state="frozen", pids_max="5")])
    assert [type(step) for step in plan.steps] == [WriteLimit, Freeze]


def test_foreign_groups_and_units_are_refused() -> None:
    busy = SliceState("web", present=(V2,), processes=frozenset({7}))
    limited = SliceState("web", present=(V2,), limits={"pids_max": 5})
    foreign = SliceState("web", unit=Unit("[Slice]\n"))
    elsewhere = SliceState("web", unit=Unit(None, "/usr/lib/systemd/system/isolation-web.slice"))
    for host, state in ((PLAIN, busy), (PLAIN, limited), (SYSTEMD, foreign), (SYSTEMD, elsewhere)):
        for wish in ("present", "absent"):
            if wish == "absent" and state is elsewhere:
                continue
            with pytest.raises(IsolationError, match="not made by this collection"):
                planned(host, [spec(state=wish, force=True)], state)


def test_an_empty_leftover_and_an_implicit_parent_are_taken_over() -> None:
    leftover = SliceState("web", present=(V2,), controllers=V2.controllers, limits=defaults(PLAIN))
    [plan], _shared = planned(PLAIN, [spec()], leftover)
    assert plan.changes == (Change("state", "absent", "present"),)
    parent = replace(leftover, processes=frozenset({7}))
    child = Record("cgroup", "web/x", "default")
    [plan], _shared = planned(PLAIN, [spec()], parent, records=[child])
    assert plan.changes == (Change("state", "absent", "present"),)


def test_absent() -> None:
    state = settled(PLAIN, spec())
    gone = spec(state="absent")
    [plan], _shared = planned(PLAIN, [gone], state)
    assert plan.changes == (Change("state", "present", "absent", "replace"),)
    assert RemoveGroups((V2,), "isolation/web", False) in plan.steps
    assert type(plan.finish[-1]).__name__ == "DropRecord"
    [nothing], _shared = planned(PLAIN, [gone])
    assert (nothing.changes, nothing.result) == ((), {"name": "web", "state": "absent"})


def test_absent_with_something_inside() -> None:
    busy = replace(settled(PLAIN, spec()), processes=frozenset({7, 8}))
    with pytest.raises(IsolationError, match=r"2 processes inside \(such as 7, 8\)"):
        planned(PLAIN, [spec(state="absent")], busy)
    [plan], _shared = planned(PLAIN, [spec(state="absent", force=True)], busy)
    assert RemoveGroups((V2,), "isolation/web", True) in plan.steps
    child = Record("cgroup", "web/x", "default")
    with pytest.raises(IsolationError, match="the slices web/x are inside it"):
        planned(PLAIN, [spec(state="absent")], settled(PLAIN, spec()), records=[child])


def test_a_neighbour_with_the_same_beginning_is_not_inside() -> None:
    planned(PLAIN, [spec(state="absent")], settled(PLAIN, spec()), records=[Record("cgroup", "web-api", "default")])


def test_absent_under_systemd_stops_implicit_parents_up_to_the_next_slice() -> None:
    state = replace(settled(SYSTEMD, spec("a/b/c")), frozen=True)
    [plan], shared = planned(
        SYSTEMD, [spec("a/b/c", state="absent")], state, records=[Record("cgroup", "a", "default")]
    )
    assert plan.prepare[0] == Systemctl("thaw", ("isolation-a-b-c.slice",))
    assert isinstance(plan.prepare[1], EndUnit)
    assert [name for name, _path in getattr(plan.finish[0], "units")] == ["isolation-a-b.slice"]  # noqa: B009
    assert shared == [DAEMON_RELOAD]


def test_another_project() -> None:
    with pytest.raises(IsolationError, match="belongs to project 'shop'"):
        planned(PLAIN, [spec()], SliceState("web", Record("cgroup", "web", "shop")))


def test_v1_moves_shares_of_parents_before_or_after_their_childrens() -> None:
    tree = Hierarchy(1, "/cpu", frozenset({"cpu"}))
    host = Host("cgroupfs", (tree,), memory=1 << 30)
    record = Record("cgroup", "web", "default")
    state = SliceState("web", record, (tree,), limits={"cpu_weight": 100, "cpu_max": "50000/100000"})
    for share, early in (("60%", True), ("40%", False)):
        plans, _shared = planned(host, [spec(cpu_max=share), spec("web/x")], state)
        write = WriteLimit("/cpu/isolation/web", "cpu.cfs_quota_us", f"{share[:-1]}000")
        assert (write in plans[0].prepare, write in plans[0].finish) == (early, not early)
        assert MakeGroups((tree,), "isolation/web", ()) in plans[0].prepare


def test_mountinfo() -> None:
    text = (
        "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n"
        "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:3 master:1 - cgroup cgroup rw,cpu,cpuacct\n"
        "33 31 0:38 /.. /mnt/a\\040b rw - cgroup2 cgroup2 rw,nsdelegate\n"
    )
    one, two = parse_mountinfo(text)
    assert (one.version, one.path, one.device) == (1, "/sys/fs/cgroup/cpu,cpuacct", os.makedev(0, 29))
    assert {"cpu", "cpuacct"} <= one.options
    assert (two.version, two.path, two.root) == (2, "/mnt/a b", "/..")


def test_functions_of_the_running_kernel() -> None:
    assert cgroupfs.kernel_functions({"vfs_read", "no_such_function"}) in ({"vfs_read"}, None)


def test_settings_are_what_can_be_read_and_written(tmp_path: pathlib.Path) -> None:
    for name, mode in (("memory.max", 0o644), ("memory.current", 0o444), ("memory.reclaim", 0o200)):
        (tmp_path / name).touch()
        (tmp_path / name).chmod(mode)
    (tmp_path / "child").mkdir()
    assert cgroupfs.settings(str(tmp_path)) == {"memory.max"}
    assert cgroupfs.settings(str(tmp_path / "gone")) == frozenset()
