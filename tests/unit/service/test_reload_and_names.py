# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Plans of a reload, and of names that change."""

from __future__ import annotations

import dataclasses
import typing as t

import pytest

from ansible_collections.daemonless.isolation.plugins.module_utils._errors import InvalidOption
from ansible_collections.daemonless.isolation.plugins.module_utils._host.files import WriteFile
from ansible_collections.daemonless.isolation.plugins.module_utils._host.hosts import RenewHosts, hosts_file
from ansible_collections.daemonless.isolation.plugins.module_utils._service.apply import Reload
from ansible_collections.daemonless.isolation.plugins.module_utils._service.plan import plan
from ansible_collections.daemonless.isolation.tests.unit.service.test_plan import bare, but, kinds, one, settled, spec

ON = [{"bridge": "iso0", "address": ["auto"]}]


def test_a_reload_is_live_and_one_that_is_stopped_is_started() -> None:
    asked = spec(reload_signal="hup")
    world = settled(asked)
    again = spec(reload_signal="hup", state="reloaded")
    done = one(again, world)
    assert [(change.key, change.after, change.effect) for change in done.changes] == [("state", "reloaded", "live")]
    assert (kinds(done.steps), kinds(done.finish)) == (["SaveRecord", "Reload"], ["AwaitHealth"])
    stopped = one(again, but(world, "web", running=None, wanted=False))
    assert kinds(stopped.steps) == ["SaveRecord", "Start"]
    other = one(spec(reload_signal="hup", state="reloaded", environment={"A": "1"}), world)
    assert kinds(other.steps) == ["SaveRecord", "Start"]


@pytest.mark.parametrize("wrong", ["SIGKILL", "SIGNOTHING"])
def test_signals_that_no_program_can_handle_are_refused(wrong: str) -> None:
    with pytest.raises(InvalidOption, match="is not a signal that can ask a process to read"):
        spec(reload_signal=wrong)
    with pytest.raises(InvalidOption, match="reload_signal: needed with state: reloaded"):
        spec(state="reloaded")


@pytest.mark.parametrize("on_systemd", [True, False])
def test_the_supervisor_knows_how_to_reload(on_systemd: bool) -> None:
    new = one(spec(reload_signal="USR1"), bare("web", systemd=on_systemd))
    texts = {step.path: step.text for step in new.prepare if isinstance(step, WriteFile)}
    if on_systemd:
        assert "\nExecReload=/usr/local/libexec/isolation/crun kill web SIGUSR1\n" in texts.popitem()[1]
    else:
        assert "kill web SIGUSR1" in texts["/etc/isolation/runit/sv/web/control/h"]
    without = one(spec(), bare("web", systemd=on_systemd))
    files = [step for step in without.prepare if isinstance(step, WriteFile)]
    assert not any("ExecReload" in step.text or step.path.endswith("control/h") for step in files)


WORDS = ["/bin/sh", "-c", 'echo "$HOME" 100%n \\ \n']


@pytest.mark.parametrize("on_systemd", [True, False])
def test_the_supervisor_knows_the_command(on_systemd: bool) -> None:
    asked = spec(reload_command=WORDS)
    new = one(asked, bare("web", systemd=on_systemd))
    texts = {step.path: step.text for step in new.prepare if isinstance(step, WriteFile)}
    if on_systemd:
        words = r'''"/bin/sh" "-c" "echo \"$$HOME\" 100%%n \\ \x0a"'''
        assert f"\nExecReload=/usr/local/libexec/isolation/enter exec web -- {words}\n" in texts.popitem()[1]
    else:
        text = texts["/etc/isolation/runit/sv/web/control/h"]
        assert (
            """ exec web -- /bin/sh -c 'echo "$HOME" 100%n \\ \n' </dev/null >/run/isolation/output/web 2>&1 &"""
            in text
        )
    done = one(spec(reload_command=WORDS, state="reloaded"), settled(asked))
    (step,) = [step for step in done.steps if isinstance(step, Reload)]
    assert (step.command, step.timeout, step.waits) == (tuple(WORDS), 60.0, True)
    assert not Reload(step.handle).waits


def test_one_way_of_reloading() -> None:
    with pytest.raises(InvalidOption, match="reload_command: not beside reload_signal"):
        spec(reload_command=WORDS, reload_signal="HUP")
    with pytest.raises(InvalidOption, match="reload_command: a program and its arguments"):
        spec(reload_command=["", "x"])
    shared = {"pid": "host"}
    with pytest.raises(
        InvalidOption, match="reload_command: nothing can be executed in it, since its pid namespace is host"
    ):
        spec(reload_command=WORDS, namespaces=shared)
    assert spec(reload_command=WORDS, state="reloaded").reload_command == tuple(WORDS)


def test_a_new_service_is_told_once_and_written_once() -> None:
    web = spec("web", networks=ON)
    world = settled(web)
    new_host = bare("db")
    world = dataclasses.replace(
        world,
        booted=frozenset({"web"}),
        instances={**world.instances, **new_host.instances},
        rootfs={**world.rootfs, **new_host.rootfs},
        roots={**world.roots, **new_host.roots},
        ranges={**world.ranges, "db": dataclasses.replace(world.ranges["web"], name="db")},
    )
    task = plan([spec("db", service="db", networks=ON)], world, {}, "default")
    (new,) = task.elements
    address = new.result["addresses"][0]["ipv4"]
    assert [(change.before, change.after) for change in new.changes if change.key == "name db"] == [(None, [address])]
    assert new.finish[-1] == RenewHosts("default") == task.shared[0]
    written: t.Any = next(step for step in new.prepare if getattr(step, "path", "") == hosts_file("db"))
    assert f"{world.records['web'].assigned['networks'][0]['ipv4']} web\n" in written.text
