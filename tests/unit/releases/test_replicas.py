# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Several instances of one service: planned together, published together, taken back together."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.daemonless.isolation.plugins.module_utils import _targets
from ansible_collections.daemonless.isolation.plugins.module_utils._rollout import planning, releases, replicas

from .test_releases import ROLLOUT, WEB, Data, declared, host_plan
from .test_rollout import OLD, OLDER, at

THREE: Data = {**WEB, "replicas": 3}
NEW = releases.release(THREE)
DRAIN = {"drain": {"timeout": "5s"}}


def names(release: str, *numbers: int) -> list[str]:
    return [replicas.instance("web", release, number) for number in numbers]


def there(release: str, *numbers: int, base: int = 0, **more: t.Any) -> list[Data]:
    """Replicas of a release, each at an address of its own."""
    return [
        at(base + number, "web", name.removeprefix("web-"), **{"state": "started", "updated": base, **more})
        for number, name in zip(numbers, names(release, *numbers))
    ]


def spread(*hosts: int) -> list[Data]:
    backends = [{"address": f"10.88.0.{host}", "port": 3000} for host in hosts]
    return [{"name": "web", "project": "default", "mappings": [{"host_port": 80, "backends": backends}]}]


def services(plan: Data) -> list[str]:
    return [entry["name"] for entry in plan["services"]]


def results(plan: Data, failed: t.Container[str] = ()) -> list[Data]:
    return [
        {"name": name, "failed": name in failed, "service": {"addresses": [{"ipv4": f"10.88.0.{number}"}]}}
        for number, name in enumerate(services(plan), 100)
    ]


def test_how_many_there_are_makes_no_release() -> None:
    assert releases.release(WEB) == NEW


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("web-3fa91c2", ("web", "3fa91c2", 1)),
        ("web-3fa91c2-2", ("web", "3fa91c2", 2)),
        ("web-3fa91c2-12", ("web", "3fa91c2", 12)),
        ("web-2-3fa91c2", ("web-2", "3fa91c2", 1)),
        ("web-1234567-3fa91c2", ("web-1234567", "3fa91c2", 1)),
        ("web", None),
        ("web-3fa91c2-0", None),
    ],
)
def test_names(name: str, expected: tuple[str, str, int] | None) -> None:
    assert replicas.parts(name) == expected
    if expected is not None:
        assert replicas.instance(*expected) == name


def test_a_port_leads_to_all_of_them() -> None:
    plan = host_plan({}, declared([THREE]))
    assert services(plan) == names(NEW, 1, 2, 3)
    assert [entry["name"] for entry in plan["slices"]] == [f"web/{NEW}", f"web/{NEW}-2", f"web/{NEW}-3"]
    (portmap,) = _targets.portmaps(plan, results(plan))
    (mapping,) = portmap["mappings"]
    assert mapping == {
        "host_port": 80,
        "backends": [{"address": f"10.88.0.{host}", "port": 3000} for host in (100, 101, 102)],
    }


def test_those_that_are_there_stay_when_more_come_and_when_some_go() -> None:
    info = {"services": there(NEW, 1, 2), "portmaps": spread(1, 2)}
    more = host_plan(info, declared([THREE]))
    assert not any({"beside", "replaces"} & set(entry) for entry in more["services"])
    assert (more["ended"][0]["elements"], more["returns"], more["begins"]) == ([], [], True)
    (less,) = [host_plan(info, declared([WEB]))]
    assert services(less) == names(NEW, 1)
    assert less["remove"]["services"] == [{"name": f"web-{NEW}-2", "state": "absent", **DRAIN}]
    assert [entry["name"] for entry in less["remove"]["slices"]] == [f"web/{NEW}-2"]


def test_a_new_release_takes_over_with_all_of_them_or_with_none() -> None:
    info = {"services": there(OLD, 1, 2, 3), "portmaps": spread(1, 2, 3)}
    plan = host_plan(info, declared([THREE]))
    assert [entry["beside"] for entry in plan["services"]] == names(OLD, 1, 2, 3)
    good = {"results": results(plan)}
    assert planning.ended(plan, good) == [{"name": name, "state": "stopped", **DRAIN} for name in names(OLD, 1, 2, 3)]
    bad = {"results": results(plan, names(NEW, 2))}
    assert _targets.portmaps(plan, bad["results"]) == []
    assert planning.ended(plan, bad) == [{"name": name, "state": "stopped"} for name in names(NEW, 1, 3)]


def test_they_come_in_one_wave() -> None:
    others = [{**WEB, "name": name, "ports": []} for name in "abc"]
    data = declared([*others, THREE], rollout={**ROLLOUT, "services_at_once": 4})
    old = [at(20 + place, name, OLD, state="started") for place, name in enumerate("abc")]
    info = {"services": [*old, *there(OLD, 1, 2)], "portmaps": spread(1, 2)}
    waves = planning.host_plan(info, data)["waves"]
    assert [[entry["service"] for entry in wave["services"]] for wave in waves] == [["a", "b", "c"], ["web"] * 3]


def test_a_rollback_takes_all_of_them_back_and_leaves_out_those_that_were_not_there() -> None:
    info = {
        "services": [*there(NEW, 1, 2, 3, base=10), *there(OLD, 1, 2, base=5, state="stopped"), *there(OLDER, 1)],
        "portmaps": spread(11, 12, 13),
    }
    plan = host_plan(info, declared([THREE], rollback=True))
    assert services(plan) == names(OLD, 1, 2)
    assert [entry["name"] for entry in plan["holds"]] == names(NEW, 1, 2)
    assert plan["remove"]["services"] == [
        {"name": f"web-{OLDER}", "state": "absent"},
        {"name": f"web-{NEW}-3", "state": "absent", **DRAIN},
    ]

    held = there(NEW, 1, 2, base=10, state="stopped", options={"held": True})
    after = {"services": [*held, *there(OLD, 1, 2)], "portmaps": spread(1, 2)}
    plan = host_plan(after, declared([THREE]))
    assert (services(plan), plan["held"]) == (names(OLD, 1, 2), {"web": ", ".join(names(NEW, 1, 2))})
    assert (plan["begins"], plan["remove"]["services"]) == (False, [])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"replicas": 0}, "0 is not a number from 1 to 99"),
        ({"replicas": "many"}, "'many' is not a number"),
        ({"replicas": 2, "service_address": "10.88.9.1"}, "a service_address leads to one instance only"),
        ({"replicas": 2, "networks": [{"bridge": "iso0", "address": "10.88.0.9"}]}, "its address on iso0 is given"),
        ({"replicas": 2, "strategy": "recreate"}, "behind a port, all of them are replaced at once"),
        ({"replicas": 2, "mounts": [{"type": "volume", "source": "data", "target": "/data"}]}, "give strategy: surge"),
    ],
)
def test_what_can_not_be_several(change: Data, message: str) -> None:
    with pytest.raises(releases.PlanError, match=f"service web .*replicas: .*{message}"):
        host_plan({}, declared([{**WEB, **change}]))
