# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Changes of published ports that are taken back unless they are confirmed."""

from __future__ import annotations

import time
import typing as t

import pytest
from standins import Service, ask, serve
from world import HOST4, World, difference

ADDRESSES = {"old": "10.88.0.2", "new": "10.88.0.3"}
REVERT = "/usr/local/libexec/isolation/revert"
SLEEPERS = f"pgrep -fc '{REVERT} [0-9a-f]' || :"


@pytest.fixture
def stage(world: World) -> World:
    """Two instances that answer with their names, and an owner that nobody changes."""
    world.apply("bridge", name="iso0", addresses=["10.88.0.1/24"])
    for name, address in ADDRESSES.items():
        Service(world, name, "iso0", [address], ["10.88.0.1"])
        serve(world, name, "tcp/3000")
    world.apply("nat_portmap", name="other", mappings=[{"host_port": 9000, "address": ADDRESSES["old"], "port": 3000}])
    return world


def web(instance: str, **options: t.Any) -> dict[str, t.Any]:
    return {"name": "web", "mappings": [{"host_port": 80, "address": ADDRESSES[instance], "port": 3000}], **options}


def served(world: World, port: int = 80) -> str:
    """Who answers a client."""
    target = ("tcp", HOST4, port)
    return ask(world, "client", target)[target].partition(":")[0]


def until_taken_back(world: World) -> None:
    """Wait until the old one serves again, and what has seen to that has ended."""
    world.wait(lambda: served(world) == "old", 15, "the old one")
    world.wait(lambda: world.sh(SLEEPERS) == "0\n", 5, "the end of the helper")


def test_what_nobody_confirms_is_taken_back(stage: World) -> None:
    """By the host itself, with records and files, as if nothing had been; changes of others stay."""
    stage.apply("nat_portmap", **web("old"))
    before = stage.snapshot()
    result = stage.cycle("nat_portmap", **web("new", confirm_timeout="4s"))
    assert result["portmap"]["unconfirmed"]
    assert served(stage) == "new"
    assert [one["name"] for one in stage.apply("host_info")["portmaps"] if one["unconfirmed"]] == ["web"]
    until_taken_back(stage)
    assert stage.sh(SLEEPERS) == "0\n"
    assert difference(before, stage.snapshot()) == {}
    assert not stage.apply("nat_portmap", **web("old"))["changed"]


def test_what_is_confirmed_stays(stage: World) -> None:
    stage.apply("nat_portmap", **web("old"))
    stage.apply("nat_portmap", **web("new"))
    wanted = stage.snapshot()
    stage.apply("nat_portmap", **web("old"))
    stage.apply("nat_portmap", **web("new", confirm_timeout="3s"))
    again = stage.apply("nat_portmap", **web("new", confirm_timeout="3s"))
    assert not again["changed"]
    assert again["portmap"]["unconfirmed"]
    confirmed = stage.cycle("nat_portmap", **web("new"))
    assert "confirmed: yes" in confirmed["diff"][0]["after"]
    assert stage.sh(SLEEPERS) == "0\n"
    time.sleep(4)
    assert served(stage) == "new"
    assert difference(wanted, stage.snapshot()) == {}


def test_a_second_change_has_its_own_time_and_leads_back_to_before_the_first(stage: World) -> None:
    stage.apply("nat_portmap", **web("old"))
    stage.apply("nat_portmap", **web("new", confirm_timeout="1h"))
    stage.apply("nat_portmap", **web("new", confirm_timeout="3s", mappings=[
        {"host_port": 80, "address": ADDRESSES["new"], "port": 3000, "deny_from": ["198.51.100.0/24"]}]))  # fmt: skip
    assert stage.sh(SLEEPERS) == "1\n"
    until_taken_back(stage)
    assert stage.sh(SLEEPERS) == "0\n"


def test_others_change_meanwhile(stage: World) -> None:
    """What they have is not taken back, and what may be led back is not theirs."""
    stage.apply("nat_portmap", **web("old"))
    moved = [{"host_port": 81, "address": ADDRESSES["new"], "port": 3000}]
    stage.apply("nat_portmap", **web("new", confirm_timeout="5s", mappings=moved))
    refusal = stage.refused("nat_portmap", name="third", mappings=web("new")["mappings"])
    assert "confirm it first" in refusal
    stage.apply("nat_portmap", name="other", mappings=[{"host_port": 9000, "address": ADDRESSES["new"], "port": 3000}])
    until_taken_back(stage)
    assert served(stage, 81) == "closed"
    assert served(stage, 9000) == "new"
    assert not stage.module("nat_portmap", check=True, **web("old"))["changed"]


def test_a_host_that_starts_anew_has_the_earlier_ports_from_the_start(stage: World) -> None:
    stage.apply("nat_portmap", **web("old"))
    before = stage.snapshot()
    stage.apply("nat_portmap", **web("new", confirm_timeout="1h"))
    stage.sh("/usr/local/libexec/isolation/boot again")
    assert served(stage) == "new", "the host has not been started since"
    stage.sh("kill $(cat /run/isolation/revert.pid); sed -i 's/ .*/ another/' /etc/isolation/unconfirmed/token")
    stage.sh("nft delete table inet isolation_nat; /usr/local/libexec/isolation/boot again")
    assert served(stage) == "old"
    assert difference(before, stage.snapshot()) == {}


def test_the_first_ports_of_a_host(world: World) -> None:
    """Nothing is published again, and what starts the host needs nothing of it."""
    mapping = {"host_port": 80, "address": "10.88.0.2", "port": 3000}
    world.apply("nat_portmap", name="web", mappings=[mapping], confirm_timeout="2s")
    deadline = time.monotonic() + 15
    while "isolation_nat" in world.sh("nft list tables"):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    world.wait(lambda: world.sh(SLEEPERS) == "0\n", 5, "the end of the helper")
    assert (
        world.sh("ls /etc/isolation/portmap /etc/isolation/boot.d")
        == "/etc/isolation/boot.d:\n\n/etc/isolation/portmap:\n"
    )
    world.sh("/usr/local/libexec/isolation/boot again")
    world.cycle("nat_portmap", name="web", mappings=[mapping])
    world.apply("nat_portmap", name="web", state="absent")


def test_a_check_that_fails_leaves_nothing_armed(stage: World) -> None:
    stage.apply("nat_portmap", **web("old"))
    before = stage.snapshot()
    failed = stage.module(
        "nat_portmap",
        **web("new", confirm_timeout="1h", verify={"tcp": {"address": HOST4, "port": 1}, "timeout": "500ms"}),
    )
    assert "The earlier ports are back" in failed["msg"]
    assert stage.sh(SLEEPERS) == "0\n"
    assert difference(before, stage.snapshot()) == {}


def test_what_was_interrupted_before_its_change_leads_nowhere(stage: World) -> None:
    """Whoever comes next forgets it."""
    stage.apply("nat_portmap", **web("old"))
    stage.apply("nat_portmap", **web("new", confirm_timeout="1h"))
    stage.sh("kill $(cat /run/isolation/revert.pid); rm /etc/isolation/unconfirmed/token")
    other = {"name": "other", "mappings": [{"host_port": 9000, "address": ADDRESSES["new"], "port": 3000}]}
    stage.apply("nat_portmap", **other)
    assert served(stage) == "new"
    assert stage.sh("ls -d /etc/isolation/unconfirmed /usr/local/libexec/isolation/revert 2>/dev/null || :") == ""
