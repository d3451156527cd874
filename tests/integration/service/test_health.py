# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Services are asked whether they are well: by a request, a connection, or a command in them."""

from __future__ import annotations

import time
import typing as t

from services import Host, processes

# Well once it has run for as many seconds as it is told; ends after as many as it is told, too.
PROGRAM = """
import os, sys, time
well, end = map(float, sys.argv[1:3])
time.sleep(well)
open("/tmp/well", "w").close()
time.sleep(end)
sys.exit(1)
"""
CHECK = "import os, sys; print('not', 'yet'); sys.exit(0 if os.path.exists('/tmp/well') else 3)"
PYTHON = "/usr/bin/python3"


def options(host: Host, well: float, end: float = 1000, check: str = CHECK, **given: t.Any) -> dict[str, t.Any]:
    """A service without networks, asked by a command in it."""
    return host.options("web", **{
        "command": [PYTHON, "-c", PROGRAM, str(well), str(end)], "networks": [], "tmpfs": [{"target": "/tmp"}],
        "health": {"exec": {"command": [PYTHON, "-c", check]}}, "gate": {"min_healthy_time": "0s", "deadline": "30s"},
        **given,
    })  # fmt: skip


def test_exec_fails_and_then_succeeds(host: Host) -> None:
    """The start is over when the command succeeds; it runs with the rights and the environment of the service."""
    host.rootfs("web")
    begin = time.monotonic()
    check = CHECK + " if os.getuid() == 1000 and os.environ['COLOUR'] == 'green' and os.getcwd() == '/srv' else 4"
    wanted = options(host, 2, check=check, user="1000:1000", environment={"COLOUR": "green"}, workdir="/srv")
    started = host.world.apply("namespaced_service", **wanted)["service"]
    assert started["state"] == "started"
    assert time.monotonic() - begin >= 2
    assert started["health"]["kind"] == "exec"
    assert not host.world.apply("namespaced_service", **wanted)["changed"]


def test_exec_never_succeeds(host: Host) -> None:
    """The error has the status, and what the command says."""
    host.rootfs("web")
    gate = {"min_healthy_time": "0s", "deadline": "3s"}
    failed = host.world.module("namespaced_service", **options(host, 100, gate=gate))
    assert failed["failed"]
    assert "not well within 3 s: exec /usr/bin/python3 -c" in failed["msg"]
    assert "status 3: not yet" in failed["msg"]


def test_exec_takes_too_long(host: Host) -> None:
    """It is killed, with what it has started."""
    host.rootfs("web")
    check = "import os, time; os.fork(); time.sleep(543210)"
    health = {"exec": {"command": [PYTHON, "-c", check]}, "timeout": "1s"}
    gate = {"min_healthy_time": "0s", "deadline": "3s"}
    failed = host.world.module("namespaced_service", **options(host, 0, health=health, gate=gate))
    assert "no end within 1 s; it was killed" in failed["msg"]
    assert not processes(host.world, "sleep(543210)")


def test_nothing_to_execute(host: Host) -> None:
    """That the command is not there is told."""
    host.rootfs("web")
    gate = {"min_healthy_time": "0s", "deadline": "2s"}
    health = {"exec": {"command": ["/no/such/command"]}}
    failed = host.world.module("namespaced_service", **options(host, 0, health=health, gate=gate))
    assert "exec /no/such/command: status" in failed["msg"]
    assert "/no/such/command" in failed["msg"].split("status", 1)[1]


def test_the_time_until_it_is_well_does_not_count(host: Host) -> None:
    """It is to be well for three seconds, not to be three seconds old: this one ends after it has been well for less."""
    host.rootfs("web")
    gate = {"min_healthy_time": "3s", "deadline": "15s"}
    failed = host.world.module("namespaced_service", **options(host, 3.5, 1.5, gate=gate))
    assert failed.get("failed"), failed
    assert "still differs" not in failed["msg"]


def test_it_ends_within_the_gate(host: Host) -> None:
    """One that is well, and ends after 8 seconds, has not passed a gate of 12."""
    host.rootfs("web")
    gate = {"min_healthy_time": "12s", "deadline": "16s"}
    failed = host.world.module("namespaced_service", **options(host, 0, 8, gate=gate))
    assert failed["failed"]
    assert "not well within 16 s" in failed["msg"]


def test_an_answer_of_500(host: Host) -> None:
    """The error has the status."""
    host.rootfs("web")
    program = """
import http.server
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_error(500)
http.server.HTTPServer(("", 80), Handler).serve_forever()
"""
    wanted = host.options("web", command=[PYTHON, "-c", program], gate={"min_healthy_time": "0s", "deadline": "3s"})
    failed = host.world.module("namespaced_service", **wanted)
    assert ":80/: status 500" in failed["msg"]
