# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Changes of published ports that are taken back unless they are confirmed."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.daemonless.isolation.plugins.module_utils._errors import InvalidOption
from ansible_collections.daemonless.isolation.plugins.module_utils._host import revert
from ansible_collections.daemonless.isolation.plugins.module_utils._host.nft import ApplyRuleset
from ansible_collections.daemonless.isolation.plugins.module_utils._host.records import Record
from ansible_collections.daemonless.isolation.plugins.module_utils._plan import TaskPlan
from ansible_collections.daemonless.isolation.plugins.module_utils._portmap import render
from ansible_collections.daemonless.isolation.plugins.module_utils._portmap.apply import VerifyOrRevert
from ansible_collections.daemonless.isolation.plugins.module_utils._portmap.elements import all_elements
from ansible_collections.daemonless.isolation.plugins.module_utils._portmap.model import Mapping, PortmapSpec, Verify
from ansible_collections.daemonless.isolation.plugins.module_utils._portmap.plan import _SCRIPT, plan_task
from ansible_collections.daemonless.isolation.plugins.module_utils._portmap.spec import parse
from ansible_collections.daemonless.isolation.plugins.module_utils._portmap.state import World
from ansible_collections.daemonless.isolation.plugins.module_utils._portmap.unconfirmed import owners_of


def spec(name: str, port: int, last: int, confirm: float | None = None, verify: Verify | None = None) -> PortmapSpec:
    """An owner of one port, that leads to 10.88.0.LAST."""
    return PortmapSpec(
        name, (Mapping(None, port, port, "tcp", f"10.88.0.{last}", 3000),), confirm_timeout=confirm, verify=verify
    )


def world(*specs: PortmapSpec, unconfirmed: t.Mapping[str, Record | None] | None = None) -> World:
    """A host that has what these publish."""
    return World(
        records={one.name: record(one) for one in specs},
        elements=all_elements(specs),
        there=True,
        intact=True,
        table_file=render.table_text(all_elements(specs)),
        script=_SCRIPT,
        unconfirmed=unconfirmed or {},
    )


def record(one: PortmapSpec) -> Record:
    return Record("portmap", one.name, "default", one.kept, {})


def armed(plan: TaskPlan) -> revert.Arm | None:
    found = [step for step in plan.shared if isinstance(step, revert.Arm)]
    assert len(found) <= 1
    return found[0] if found else None


def disarmed(plan: TaskPlan) -> bool:
    return any(isinstance(step, revert.Disarm) for step in plan.shared)


def owners(step: revert.Arm) -> dict[str, Record | None]:
    """What the next run reads of it."""
    return owners_of({"portmap": step.record})


def test_a_change_is_armed_before_it_is_made() -> None:
    old, new = spec("web", 80, 2), spec("web", 80, 3, confirm=60)
    plan = plan_task([new], world(old, spec("dns", 53, 9)), "default")
    step = armed(plan)
    assert step is not None
    assert step.timeout == 60
    assert owners(step) == {"web": record(old)}
    files = dict(step.files)
    assert "10.88.0.2 . 3000" in files[revert.TABLE]
    assert "10.88.0.9 . 3000" in files[revert.TABLE], "others stay"
    assert "10.88.0.3" not in files[revert.TABLE]
    assert files[revert.record_path("web")] == record(old).text()
    kinds = [type(one) for one in plan.shared]
    assert kinds.index(revert.Arm) < kinds.index(ApplyRuleset)
    assert plan.elements[0].result["unconfirmed"] is True


def test_nothing_to_change_arms_nothing() -> None:
    plan = plan_task([spec("web", 80, 2, confirm=60)], world(spec("web", 80, 2)), "default")
    assert armed(plan) is None
    assert plan.elements[0].result["unconfirmed"] is False


def test_the_first_ports_lead_back_to_none() -> None:
    plan = plan_task([spec("web", 80, 2, confirm=60)], World(), "default")
    step = armed(plan)
    assert step is not None
    files = dict(step.files)
    assert files[revert.record_path("web")] == ""
    assert revert.GONE in files
    assert "delete table inet isolation_nat" in files[revert.TABLE]
    assert "chain" not in files[revert.TABLE]


def test_the_same_again_without_a_time_confirms() -> None:
    new = spec("web", 80, 3)
    plan = plan_task([new], world(new, unconfirmed={"web": record(spec("web", 80, 2))}), "default")
    assert disarmed(plan)
    assert armed(plan) is None
    assert [(one.key, one.before, one.after) for one in plan.elements[0].changes] == [("confirmed", False, True)]
    assert plan.elements[0].result["unconfirmed"] is False


def test_the_same_again_with_a_time_changes_nothing() -> None:
    there = world(spec("web", 80, 3), unconfirmed={"web": record(spec("web", 80, 2))})
    plan = plan_task([spec("web", 80, 3, confirm=60)], there, "default")
    assert not plan.elements[0].changed
    assert plan.elements[0].result["unconfirmed"] is True


def test_a_second_change_leads_back_to_before_the_first() -> None:
    first = record(spec("web", 80, 2))
    plan = plan_task([spec("web", 80, 4, confirm=30)], world(spec("web", 80, 3), unconfirmed={"web": first}), "default")
    step = armed(plan)
    assert step is not None
    assert owners(step) == {"web": first}
    assert step.timeout == 30


def test_a_change_of_another_owner_goes_into_what_leads_back_and_gives_no_more_time() -> None:
    there = world(spec("web", 80, 3), unconfirmed={"web": record(spec("web", 80, 2))})
    plan = plan_task([spec("dns", 53, 9)], there, "default")
    step = armed(plan)
    assert step is not None
    assert step.timeout is None
    assert "10.88.0.9 . 3000" in dict(step.files)[revert.TABLE]
    assert "10.88.0.2 . 3000" in dict(step.files)[revert.TABLE]


def test_confirming_one_of_two_keeps_the_other() -> None:
    earlier: dict[str, Record | None] = {"web": record(spec("web", 80, 2)), "dns": None}
    there = world(spec("web", 80, 3), spec("dns", 53, 9), unconfirmed=earlier)
    plan = plan_task([spec("web", 80, 3)], there, "default")
    step = armed(plan)
    assert step is not None
    assert owners(step) == {"dns": None}
    assert "10.88.0.3 . 3000" in dict(step.files)[revert.TABLE]
    assert "10.88.0.9" not in dict(step.files)[revert.TABLE]


def test_a_port_that_may_be_led_back_is_nobody_elses() -> None:
    there = world(spec("web", 81, 3), unconfirmed={"web": record(spec("web", 80, 2))})
    with pytest.raises(InvalidOption, match="confirm it first"):
        plan_task([spec("dns", 80, 9)], there, "default")


def test_what_is_verified_in_vain_leaves_the_way_back_that_was_there() -> None:
    check = Verify("127.0.0.1", 80)
    first = record(spec("web", 80, 2))

    def last(unconfirmed: dict[str, Record | None]) -> t.Any:
        there = world(spec("web", 80, 3), unconfirmed=unconfirmed)
        plan = plan_task([spec("web", 80, 4, confirm=30, verify=check), spec("dns", 53, 9)], there, "default")
        (verify,) = [step for step in plan.shared if isinstance(step, VerifyOrRevert)]
        return verify.back[-1]

    assert last({}) == revert.Disarm()
    step = last({"web": first})
    assert owners(step) == {"web": first}
    assert "10.88.0.9" not in dict(step.files)[revert.TABLE]


@pytest.mark.parametrize("given", ["0s", "500ms", "25h", "soon"])
def test_a_time_that_cant_be_meant(given: str) -> None:
    options = {"name": "web", "mappings": [], "service_addresses": [], "state": "present", "confirm_timeout": given}
    with pytest.raises(InvalidOption, match="confirm_timeout"):
        parse(options)
