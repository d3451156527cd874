# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How a new release comes into service on a host, from whatever state an earlier run has left."""

from __future__ import annotations

import typing as t

import hypothesis as h
import hypothesis.strategies as st
import pytest

from ansible_collections.daemonless.isolation.plugins.module_utils import _targets
from ansible_collections.daemonless.isolation.plugins.module_utils._rollout import planning, releases, strategies

from .test_releases import ROLLOUT, WEB, Data, declared, host_plan, instance

NEW = releases.release(WEB)
OLD, OLDER = "aaaaaaa", "bbbbbbb"


def at(host: int, service: str, release: str, **more: t.Any) -> Data:
    """An instance at an address of its own."""
    return instance(service, release, addresses=[{"bridge": "iso0", "ipv4": f"10.88.0.{host}"}], **more)


def leads(service: str, host: int) -> Data:
    """Ports of a service that lead to that address."""
    mapping = {"host_port": 80, "address": f"10.88.0.{host}", "port": 3000}
    return {"name": service, "project": "default", "mappings": [mapping], "service_addresses": []}


def ended(plan: Data) -> list[str]:
    return [entry["name"] for one in plan["ended"] for entry in one["elements"]]


@pytest.mark.parametrize(
    ("service", "expected"),
    [
        ({}, "surge"),
        ({"ports": []}, "recreate"),
        ({"ports": [], "service_address": "10.88.9.1"}, "surge"),
        ({"mounts": [{"type": "volume", "source": "data", "target": "/data"}]}, "recreate"),
        ({"mounts": [{"type": "volume", "source": "data", "target": "/data", "read_only": True}]}, "surge"),
        ({"networks": [{"bridge": "iso0", "address": "10.88.0.9"}]}, "recreate"),
        ({"networks": [{"bridge": "iso0", "address": "auto"}]}, "surge"),
        ({"networks": [{"bridge": "iso0", "mac": "02:00:00:00:00:09"}]}, "recreate"),
        ({"networks": [], "namespaces": {"network": "host"}}, "recreate"),
        ({"strategy": "recreate"}, "recreate"),
        ({"strategy": "surge", "mounts": [{"type": "volume", "source": "data", "target": "/data"}]}, "surge"),
    ],
    ids=str,
)
def test_strategies(service: Data, expected: str) -> None:
    assert strategies.strategy({**WEB, **service}) == expected


def test_a_surge_that_can_not_be_is_refused() -> None:
    fixed = {**WEB, "strategy": "surge", "networks": [{"bridge": "iso0", "address": "10.88.0.9"}]}
    with pytest.raises(releases.PlanError, match=r"service web .*surge can't be: its address on iso0 is given"):
        host_plan({}, declared([fixed]))


def test_the_new_one_starts_beside_and_the_old_one_ends_when_ports_lead_to_the_new() -> None:
    info = {"services": [at(2, "web", OLD, state="started", enabled=True)], "portmaps": [leads("web", 2)]}
    plan = host_plan(info, declared([WEB]))
    (service,) = plan["services"]
    assert (service["name"], service["beside"]) == (f"web-{NEW}", f"web-{OLD}")
    assert "replaces" not in service
    (last,) = plan["ended"]
    assert last["elements"] == [{"name": f"web-{OLD}", "state": "stopped", "drain": {"timeout": "5s"}}]
    assert plan["returns"] == [{"name": f"web-{NEW}", "state": "stopped"}]
    assert plan["remove"]["services"] == [], "it is kept for a rollback"


def test_the_lease_is_as_long_as_a_wave_may_take() -> None:
    plan = host_plan({}, declared([WEB]))
    assert (plan["begins"], plan["lease"]) == (True, "665s")
    with pytest.raises(releases.PlanError, match="isolation_rollout: drain_timeout: 'soon'"):
        host_plan({}, declared([WEB], rollout={**ROLLOUT, "drain_timeout": "soon"}))


def test_recreate_takes_its_place() -> None:
    info = {"services": [at(2, "web", OLD, state="started")], "portmaps": [leads("web", 2)]}
    (service,) = host_plan(info, declared([{**WEB, "strategy": "recreate"}]))["services"]
    assert service["replaces"] == f"web-{OLD}"
    assert "beside" not in service


def test_what_was_interrupted_before_ports_led_to_the_new_one_goes_on() -> None:
    both = [at(2, "web", OLD, state="started", enabled=True), at(3, "web", NEW, state="started", enabled=False)]
    plan = host_plan({"services": both, "portmaps": [leads("web", 2)]}, declared([WEB]))
    assert plan["services"][0]["beside"] == f"web-{OLD}"
    assert ended(plan) == [f"web-{OLD}"]


def test_what_was_interrupted_after_ports_led_to_the_new_one_goes_on() -> None:
    both = [at(2, "web", OLD, state="started", enabled=True), at(3, "web", NEW, state="started", enabled=False)]
    plan = host_plan({"services": both, "portmaps": [leads("web", 3)]}, declared([WEB]))
    assert not {"beside", "replaces"} & set(plan["services"][0]), "so that it is started at boot from now on"
    assert ended(plan) == [f"web-{OLD}"]
    assert plan["returns"] == []


def kept(**more: t.Any) -> Data:
    """Data of a rollout that keeps what it replaces."""
    return declared([WEB], rollout={**ROLLOUT, "keep_running": "10m"}, **more)


def test_what_is_replaced_runs_on_for_a_rollback() -> None:
    both = [at(2, "web", OLD, state="started", enabled=True), at(3, "web", NEW, state="started", enabled=False)]
    (group,) = host_plan({"services": both, "portmaps": [leads("web", 3)]}, kept())["ended"]
    assert group["elements"] == [{"name": f"web-{OLD}", "state": "stopped", "keep_running": "600s"}]
    short = {**ROLLOUT, "keep_running": "1s"}
    (group,) = host_plan({"services": both, "portmaps": [leads("web", 3)]}, declared([WEB], rollout=short))["ended"]
    assert group["elements"][0]["keep_running"] == "5s", "who is connected has drain_timeout"

    settled = [at(2, "web", OLD, state="started", stops_in=60.5), at(3, "web", NEW, state="started")]
    for data in (kept(), declared([WEB])):
        plan = host_plan({"services": settled, "portmaps": [leads("web", 3)]}, data)
        assert (ended(plan), plan["begins"], plan["remove"]["services"]) == ([], False, [])

    plan = host_plan({"services": settled, "portmaps": [leads("web", 3)]}, kept(rollback=True))
    assert (plan["services"][0]["name"], plan["services"][0]["beside"]) == (f"web-{OLD}", f"web-{NEW}")
    (group,) = plan["ended"]
    assert group["elements"] == [{"name": f"web-{NEW}", "state": "stopped", "drain": {"timeout": "5s"}}]


def test_nothing_is_kept_running_that_is_not_kept() -> None:
    data = declared([WEB], rollout={**ROLLOUT, "keep_running": "10m", "keep_releases": 1})
    with pytest.raises(releases.PlanError, match="keep_running: with keep_releases below 2"):
        host_plan({}, data)


def test_what_is_settled_is_left_alone() -> None:
    there = [at(3, "web", NEW, state="started"), at(2, "web", OLD, state="stopped")]
    plan = host_plan({"services": there, "portmaps": [leads("web", 3)]}, declared([WEB]))
    assert not {"beside", "replaces"} & set(plan["services"][0])
    assert (ended(plan), plan["returns"], plan["begins"]) == ([], [], False)


def test_a_release_that_was_rolled_back_is_held() -> None:
    held = at(3, "web", NEW, state="stopped", options={"held": True})
    info = {"services": [held, at(2, "web", OLD, state="started")], "portmaps": [leads("web", 2)]}
    plan = host_plan(info, declared([WEB]))
    (service,) = plan["services"]
    assert (service["name"], service["state"]) == (f"web-{OLD}", "started")
    assert "command" not in service
    assert plan["held"] == {"web": f"web-{NEW}"}
    assert plan["slices"] == [{"name": f"web/{OLD}", "memory_max": "256M"}], "limits follow all the same"
    assert (plan["rootfs"], plan["remove"]["services"], plan["remove"]["rootfs"]) == ([], [], [])
    assert plan["portmaps"][0]["instances"] == [f"web-{OLD}"]

    again = host_plan(info, declared([WEB], deploy_held=True))
    assert (again["services"][0]["name"], again["held"]) == (f"web-{NEW}", {})
    other = host_plan(info, declared([{**WEB, "environment": {"PORT": "3001"}}]))
    assert other["held"] == {}, "another declaration is another release"
    with pytest.raises(releases.PlanError, match="held back since a rollback, and no other one serves"):
        host_plan({"services": [held]}, declared([WEB]))


def test_a_rollback_returns_to_the_release_before_and_holds_the_one_that_it_leaves() -> None:
    info = {
        "services": [
            at(3, "web", NEW, state="started", updated=3),
            at(2, "web", OLD, state="stopped", updated=2),
            at(1, "web", OLDER, state="stopped", updated=1),
        ],
        "portmaps": [leads("web", 3)],
    }
    plan = host_plan(info, declared([WEB], rollback=True))
    (service,) = plan["services"]
    assert (service["name"], service["beside"], service["state"]) == (f"web-{OLD}", f"web-{NEW}", "started")
    assert plan["holds"] == [{"name": f"web-{NEW}", "state": "present", "held": True}]
    (last,) = plan["ended"]
    assert last["elements"] == [{"name": f"web-{NEW}", "state": "stopped", "drain": {"timeout": "5s"}}]
    assert plan["portmaps"][0]["instances"] == [f"web-{OLD}"]
    with pytest.raises(releases.PlanError, match="no earlier release on this host"):
        host_plan({"services": info["services"][:1]}, declared([WEB], rollback=True))


def test_a_release_that_was_never_well_is_none_to_return_to() -> None:
    """Nor does it take the place of one that was, among those that are kept."""
    there = [
        at(3, "web", OLD, state="stopped", updated=3, proven=False),
        at(2, "web", NEW, state="started", updated=2, proven=True),
        at(1, "web", OLDER, state="stopped", updated=1, proven=True),
    ]
    info = {"services": there, "portmaps": [leads("web", 2)]}
    (service,) = host_plan(info, declared([WEB], rollback=True))["services"]
    assert service["name"] == f"web-{OLDER}"
    removed = host_plan(info, declared([WEB]))["remove"]["services"]
    assert [entry["name"] for entry in removed] == [f"web-{OLD}"]
    with pytest.raises(releases.PlanError, match="no earlier release on this host"):
        host_plan({**info, "services": there[:2]}, declared([WEB], rollback=True))


@pytest.mark.parametrize("leads_to", [2, 3])
def test_a_rollback_that_was_interrupted_is_not_turned_round(leads_to: int) -> None:
    """Before and after ports lead back: the second run goes to the same release, and stops the other."""
    info = {
        "services": [
            at(3, "web", NEW, state="started", updated=5, options={"held": True}),
            at(2, "web", OLD, state="started", updated=4),
            at(1, "web", OLDER, state="stopped", updated=1),
        ],
        "portmaps": [leads("web", leads_to)],
    }
    plan = host_plan(info, declared([WEB], rollback=True))
    assert plan["services"][0]["name"] == f"web-{OLD}"
    assert ended(plan) == [f"web-{NEW}"]
    assert plan["holds"] == []


def named(name: str, **more: t.Any) -> Data:
    return {**WEB, "name": name, "ports": [], **more}


def test_many_change_in_waves_each_after_what_it_needs() -> None:
    services = [named("a", after=["c"]), named("b"), named("c", requires=["d"]), named("d"), named("e")]
    old = [instance(name, OLD, "started") for name in "abcd"]
    there = [*old, instance("e", releases.release(services[4]), "started")]
    data = declared(services, rollout={**ROLLOUT, "services_at_once": 2})

    def waves(there: list[Data]) -> list[list[str]]:
        found = planning.host_plan({"services": there}, data)["waves"]
        return [[entry["service"] for entry in wave["services"]] for wave in found]

    assert waves(there) == [["e", "d", "c"], ["a", "b"]]
    assert waves(there[1:]) == [["e", "d", "c", "a"], ["b"]]
    assert waves([]) == [["d", "c", "a", "b", "e"]], "none takes another one's place"


def test_what_does_not_differ_is_left_out() -> None:
    """Of a plan in which one service changes, one is to be published anew, and two stay."""
    services = [named("a"), named("b"), {**named("c"), "ports": WEB["ports"]}, named("d")]
    new = {name: releases.release(service) for name, service in zip("abcd", services)}
    there = [instance("a", OLD, "started"), *(instance(name, new[name], "started") for name in "bcd")]
    plan = planning.host_plan({"services": there, "portmaps": [leads("c", 9)]}, declared(services))
    nothing = planning.due(plan, {})
    assert (nothing["bridges"], nothing["slices"], nothing["rootfs"], nothing["waves"]) == ([], [], [], [])
    assert {key: nothing[key] for key in ("remove", "held", "begins", "lease")} == {
        key: plan[key] for key in ("remove", "held", "begins", "lease")
    }
    wanted, c = f"a-{new['a']}", f"c-{new['c']}"
    differing = {"slices": [f"a/{new['a']}"], "services": [wanted], "portmaps": ["c"], "ended": [f"a-{OLD}"]}
    left = planning.due(plan, differing)
    assert ([entry["name"] for entry in left["slices"]], left["rootfs"]) == ([f"a/{new['a']}"], [])
    (wave,) = left["waves"]
    assert [entry["name"] for entry in wave["services"]] == [c, wanted]
    assert [entry["name"] for entry in wave["portmaps"]] == ["c"]
    assert ended(wave) == [f"a-{OLD}"]


@h.given(st.data())
def test_what_is_left_out_is_as_it_was(data: st.DataObject) -> None:
    """Whatever differs is there, in its order, with all that belongs to its service; without a difference there is no wave."""
    services = [named(name, **({"ports": WEB["ports"]} if name == "b" else {})) for name in "abc"]
    there = [instance(name, OLD, "started") for name in data.draw(st.sets(st.sampled_from("abc")))]
    plan = planning.host_plan({"services": there}, declared(services, rollout={**ROLLOUT, "services_at_once": 1}))
    whole = planning.together(plan)
    names = {layer: [entry["name"] for entry in whole[layer]] for layer in ("slices", "rootfs", "services", "portmaps")}
    names["ended"] = [entry["name"] for one in whole["ended"] for entry in one["elements"]]
    differing = {layer: [name for name in found if data.draw(st.booleans())] for layer, found in names.items()}
    left = planning.together(planning.due(plan, differing))
    for layer in ("slices", "rootfs"):
        assert [entry["name"] for entry in left[layer]] == differing[layer]
    for layer in ("services", "portmaps"):
        assert set(differing[layer]) <= {entry["name"] for entry in left[layer]}
        assert [entry for entry in whole[layer] if entry in left[layer]] == left[layer]
    assert {one["instances"][0] for one in left["ended"]} == {entry["name"] for entry in left["services"]}
    assert set(differing["ended"]) <= {entry["name"] for one in left["ended"] for entry in one["elements"]}
    assert planning.due(plan, names)["waves"] == plan["waves"]


def test_those_that_wait_for_each_other_are_for_the_module_to_refuse() -> None:
    services = [named("a", after=["b"]), named("b", after=["a"])]
    assert len(host_plan({}, declared(services))["services"]) == 2


@pytest.mark.parametrize("auto_revert", [True, False])
def test_what_is_not_well_is_stopped_unless_somebody_wants_to_look_into_it(auto_revert: bool) -> None:
    data = declared([WEB], rollout={**ROLLOUT, "auto_revert": auto_revert})
    (wave,) = planning.host_plan({"services": [instance("web", OLD, "started")]}, data)["waves"]
    assert wave["services"][0]["gate"]["auto_revert"] is auto_revert
    assert len(wave["returns"]) == auto_revert


def test_what_failed_neither_gets_ports_nor_ends_what_serves() -> None:
    api = {**WEB, "name": "api", "ports": [{"host_port": 81, "port": 3000}]}
    info = {
        "services": [at(2, "web", OLD, state="started"), at(4, "api", OLD, state="started")],
        "portmaps": [leads("web", 2), leads("api", 4)],
    }
    wave = planning.together(planning.host_plan(info, declared([WEB, api])))
    results = [
        {"name": entry["name"], "failed": entry["service"] == "web", "service": {"addresses": [{"ipv4": "10.88.0.9"}]}}
        for entry in wave["services"]
    ]
    result = {"results": results}
    assert planning.lost(result) == [f"web-{NEW}"]
    assert [entry["name"] for entry in _targets.portmaps(wave, results)] == ["api"]
    assert [entry["name"] for entry in planning.ended(wave, result)] == [f"api-{OLD}"]


STATES = st.sampled_from(["started", "stopped", "failing", None])


@h.given(new=STATES, old=STATES, older=STATES, host=st.sampled_from([1, 2, 3, None]), enabled=st.integers(0, 7))
def test_from_any_state_one_run_leads_to_the_new_one_alone(
    new: str | None, old: str | None, older: str | None, host: int | None, enabled: int
) -> None:
    """What the plan does, carried out, is settled; and no instance that serves is stopped before ports lead elsewhere."""
    there = [
        at(place, "web", release, state=state, enabled=bool(enabled & place), updated=place)
        for place, (release, state) in enumerate([(OLDER, older), (OLD, old), (NEW, new)], 1)
        if state is not None
    ]
    portmaps = [leads("web", host)] if host is not None else []
    info = {"services": there, "portmaps": portmaps}
    plan = host_plan(info, declared([WEB]))
    (service,) = plan["services"]
    assert service["name"] == f"web-{NEW}"
    running = {entry["name"] for entry in there if entry["state"] != "stopped"}
    assert service.get("beside") in {None, *running}
    left = (running | {service["name"]}) - {*ended(plan)}
    assert left == {f"web-{NEW}"}
    after = [at(3, "web", NEW, state="started", enabled=True)]
    again = host_plan({"services": after, "portmaps": [leads("web", 3)]}, declared([WEB]))
    assert (ended(again), again["returns"], again["begins"]) == ([], [], False)
