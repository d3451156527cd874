# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How a service is asked to read its configuration again, and to end."""

from __future__ import annotations

import time
import typing as t

import pytest
from services import Host

# Tells each signal that it gets; ends by SIGTERM unless it is deaf.
PROGRAM = """
import os, signal, sys, time
def tell(number, _frame):
    print("got", signal.Signals(number).name, flush=True)
    if number == signal.SIGINT or (number == signal.SIGTERM and "deaf" not in sys.argv):
        sys.exit(0)
for one in (signal.SIGHUP, signal.SIGUSR1, signal.SIGTERM, signal.SIGINT):
    signal.signal(one, tell)
print("ready", flush=True)
while True:
    time.sleep(1000)
"""


def options(host: Host, *words: str, **given: t.Any) -> dict[str, t.Any]:
    """A service without networks, up when it says that it is ready."""
    command = ["/usr/bin/python3", "-c", PROGRAM, *words]
    wanted = {"command": command, "networks": [], "health": None, "gate": {"min_healthy_time": "300ms"}, **given}
    return host.options("web", **wanted)


def test_reload(host: Host) -> None:
    """The process is told and stays the same; one that is stopped is started; a change that takes a restart is one."""
    world = host.world
    host.rootfs("web")
    assert "needed with state: reloaded" in world.refused("namespaced_service", **options(host, state="reloaded"))
    first = world.cycle("namespaced_service", **options(host))["service"]
    live = world.cycle("namespaced_service", **options(host, reload_signal="HUP"))
    assert live["diff"][0]["after"] == "reload_signal: SIGHUP\neffect: live\n"
    assert live["service"]["pid"] == first["pid"]
    wanted = options(host, reload_signal="HUP", state="reloaded")
    for times in (1, 2):
        checked = world.module("namespaced_service", check=True, **wanted)
        done = world.apply("namespaced_service", **wanted)
        assert checked["diff"] == done["diff"]
        assert done["diff"][0]["after"] == "state: reloaded\neffect: live\n"
        assert (done["service"]["pid"], done["service"]["state"]) == (first["pid"], "started")
        world.wait(lambda: host.log("web").count("got SIGHUP") == times, 5, "it was told")  # noqa: B023
    world.cycle("namespaced_service", **options(host, reload_signal="USR1"))
    world.sh("sv hup /etc/service/isolation-web")
    world.wait(lambda: "got SIGUSR1" in host.log("web"), 5, "it was told by hand")
    assert not world.module("namespaced_service", check=True, **options(host, reload_signal="USR1"))["changed"]

    world.cycle("namespaced_service", **options(host, reload_signal="USR1", state="stopped"))
    started = world.apply("namespaced_service", **options(host, reload_signal="USR1", state="reloaded"))
    assert "state: started" in started["diff"][0]["after"]
    changed = options(host, reload_signal="USR1", state="reloaded", environment={"A": "1"})
    other = world.apply("namespaced_service", **changed)
    assert other["service"]["pid"] != started["service"]["pid"]
    gone = world.cycle("namespaced_service", **options(host, environment={"A": "1"}))
    assert gone["service"]["pid"] == other["service"]["pid"]
    assert "control/h" not in world.sh("cd /etc/isolation/runit/sv/web; ls -d control/*")


# Sends itself what it is told to, and tells who it is.
COMMAND = """
import os, signal, sys, time
print("as", os.getuid(), flush=True)
if "slow" in sys.argv:
    time.sleep(1000)
if "wrong" in sys.argv:
    print("no such setting 'quoted \\" $HOME %n'", file=sys.stderr)
    sys.exit(7)
for pid in os.listdir("/proc"):
    if pid.isdigit() and "tell(number" in open(f"/proc/{pid}/cmdline").read() and "/dev/init" not in open(f"/proc/{pid}/cmdline").read():
        os.kill(int(pid), signal.SIGUSR1)
"""


def reloaded_by(*words: str) -> list[str]:
    """A command that reloads, with a word that shells and units would have to quote."""
    return ["/usr/bin/python3", "-c", COMMAND, *words]


def test_reload_by_a_command(host: Host) -> None:
    """It is executed inside, as the service's user; its failure is told, and it has its time."""
    world = host.world
    host.rootfs("web")
    signal = world.refused("namespaced_service", **options(host, reload_signal="HUP", reload_command=reloaded_by()))
    assert "web: reload_command: not beside reload_signal" in signal
    base: dict[str, t.Any] = {"user": "1000:1000"}
    first = world.cycle("namespaced_service", **options(host, **base))["service"]
    live = world.cycle("namespaced_service", **options(host, **base, reload_command=reloaded_by()))
    assert live["diff"][0]["after"].endswith("effect: live\n")
    for times in (1, 2):
        wanted = options(host, **base, reload_command=reloaded_by(), state="reloaded")
        checked = world.module("namespaced_service", check=True, **wanted)
        done = world.apply("namespaced_service", **wanted)
        assert checked["diff"] == done["diff"]
        assert done["service"]["pid"] == first["pid"]
        world.wait(lambda: host.log("web").count("got SIGUSR1") == times, 5, "it was told")  # noqa: B023

    world.cycle("namespaced_service", **options(host, **base, reload_command=reloaded_by("wrong")))
    wanted = options(host, **base, reload_command=reloaded_by("wrong"), state="reloaded")
    failed = world.module("namespaced_service", **wanted)
    assert failed["failed"]
    said = failed["msg"]
    assert said.startswith("service web: reload_command: exec /usr/bin/python3"), said
    assert "status 7: as 1000 no such setting 'quoted \" $HOME %n'" in said
    world.sh("sv hup /etc/service/isolation-web")
    world.wait(lambda: 'quoted " $HOME %n' in host.log("web"), 5, "what it says by hand is in the log")

    slow = {**base, "reload_command": reloaded_by("slow"), "gate": {"min_healthy_time": "0s", "deadline": "1s"}}
    failed = world.module("namespaced_service", **options(host, **slow, state="reloaded"))
    assert failed["failed"]
    assert "no end within 1 s; it was killed" in failed["msg"]
    assert "slow" not in world.sh("cat /proc/[0-9]*/cmdline | tr '\\0' ' ' | grep -c 'slow $' || :").split()
    assert host.see("web")["pid"] == first["pid"]


@pytest.mark.alone
@pytest.mark.parametrize("runtime", ["crun", "runc"])
def test_stop(host: Host, runtime: str) -> None:
    """The signal reaches the program through its init; what does not end in time is killed."""
    world = host.world
    host.rootfs("web")
    base: dict[str, t.Any] = {"runtime": runtime, "runtime_policy": "warn"}
    for words, given, told, least, most in (
        ((), {"stop_timeout": "8s"}, "got SIGTERM", 0, 6),
        ((), {"stop_timeout": "8s", "stop_signal": "INT"}, "got SIGINT", 0, 6),
        (("deaf",), {"stop_timeout": "1s"}, "got SIGTERM", 1, 9),
    ):
        world.apply("namespaced_service", **options(host, *words, **base, **given))
        begin = time.monotonic()
        stopped = world.apply("namespaced_service", **options(host, *words, **base, **given, state="stopped"))
        assert least <= time.monotonic() - begin < most
        assert stopped["service"]["state"] == "stopped"
        assert told in host.log("web")
        assert world.sh("pgrep -f 'tell(number' || :") == ""
