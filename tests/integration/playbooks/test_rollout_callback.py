# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the callback shows of real deployments, to a pipe and on a terminal."""

from __future__ import annotations

import fcntl
import os
import re
import struct
import termios
import typing as t

import pytest
from stage import Site

from ansible_collections.daemonless.isolation.tests.unit.releases.terminal import screen

SETTINGS = ["env", "-u", "NO_COLOR", "ANSIBLE_STDOUT_CALLBACK=daemonless.isolation.rollout", "TERM=xterm"]
WIDTH, HEIGHT = 72, 20


@pytest.fixture
def pair(site: Site) -> Site:
    """Two hosts on one kernel, the first of which is the canary."""
    (bridge,) = site.variables.pop("isolation_bridges")
    (service,) = site.variables.pop("isolation_services")
    del site.variables["isolation_project"]
    site.hosts = {}
    for number in (1, 2):
        site.hosts[f"web{number}"] = {
            "isolation_project": f"p{number}",
            "isolation_bridges": [{**bridge, "name": f"iso{number}", "addresses": [f"10.88.{number}.1/24"]}],
            "isolation_services": [
                {
                    **service,
                    "name": f"web{number}",
                    "networks": [{"bridge": f"iso{number}"}],
                    "ports": [{"host_port": 8080 + number, "port": 3000}],
                }
            ],
        }
    site.variables["isolation_rollout"] = {
        "min_healthy_time": "200ms",
        "healthy_deadline": "20s",
        "drain_timeout": "1s",
        "max_parallel": 1,
    }
    return site


def piped(site: Site, *options: str) -> tuple[int, list[str]]:
    done = site.world.run([*SETTINGS, *site._command("deploy", *options)], check=False, timeout=500)
    assert "\x1b" not in done.stdout
    print(done.stdout)
    return done.returncode, done.stdout.splitlines()


def on_terminal(site: Site, *options: str) -> tuple[int, str]:
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", HEIGHT, WIDTH, 0, 0))
    process = site.world.popen(
        [*SETTINGS, *site._command("deploy", *options)], stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    said = bytearray()
    while True:
        try:
            said += (part := os.read(ours, 65536))
        except OSError:  # how a terminal ends whose last user has gone
            part = b""
        if not part:
            break
    os.close(ours)
    return process.wait(60), said.decode().replace("\r\n", "\n")


def expected(lines: t.Sequence[str], *patterns: str) -> None:
    """Some lines match these patterns, in this order."""
    rest = iter(lines)
    for pattern in patterns:
        assert any(re.fullmatch(pattern, line) for line in rest), f"{pattern}\nin\n" + "\n".join(lines)


def test_a_deployment(pair: Site) -> None:
    reachable = dict(pair.hosts["web2"])
    pair.hosts["web2"].update(ansible_connection="ssh", ansible_host="127.0.0.1", ansible_port=1)
    status, lines = piped(pair)
    assert status != 0
    expected(
        lines,
        "Deploy isolated services: 2 hosts in 2 batches",
        r"batch 1 of 2: web1",
        r"web1: prepare bridges: iso1",
        r"web1: prepare slices: web1/\w+",
        r"web1: prepare root file systems: web1-\w+",
        r"web1: start and gate: web1-\w+",
        r"web1: cut over: web1",
        r"web1: done: \d+ changes in \d+ (s|min) \[#{10}-{10}\] 1 of 2 hosts",
        "batch 2 of 2: web2",
        r"web2: unreachable: .*(port 1|127\.0\.0\.1).*",
        "2 hosts: 1 changed, 1 unreachable",
        r"  web1  changed  \d+ changes",
        r"  web2  unreachable",
        r"    unreachable: .*(port 1|127\.0\.0\.1).*",
    )
    pair.hosts["web2"] = reachable

    status, lines = piped(pair, "--check")
    assert status == 0
    expected(
        lines,
        r"Deploy isolated services: 2 hosts in 2 batches \(check mode: nothing is changed\)",
        r"web1: in sync, .*",
        r"web2: start and gate: web2-\w+",
        r"  web1  unchanged",
        r"  web2  would change  \d+ changes",
    )

    service = pair.hosts["web1"]["isolation_services"][0]
    pair.hosts["web1"]["isolation_services"] = [
        {**service, "command": ["/usr/bin/python3", "-c", "raise SystemExit('this release is broken')"]}
    ]
    pair.variables["isolation_rollout"]["healthy_deadline"] = "4s"
    status, said = on_terminal(pair)
    assert status != 0
    shown = screen(said, WIDTH)
    print("\n".join(shown))
    expected(
        shown,
        "Deploy isolated services: 2 hosts in 2 batches",
        "batch 1 of 2: web1",
        r"web1: start and gate: failed: .*web1-\w+.*",
        r"web1: failed after \d+ (s|min) \[#{10}-{10}\] 1 of 2 hosts",
        "2 hosts: 1 failed, 1 not begun",
        r"  web1  failed .*",
        r"    start and gate: .*",
        r"  web2  not begun",
    )
    assert "" not in shown[shown.index("batch 1 of 2: web1") : shown.index("2 hosts: 1 failed, 1 not begun") - 1]
    assert "this release is broken" in "".join(shown)
    assert re.search(r"^  web1: look, plan and begin\x1b\[K$", said, re.MULTILINE), "it was shown while it went on"
    assert "  web1: look, plan and begin" not in shown, "and is gone"
    assert not re.search(r"\x1b\[[0-9;]*m", said), "there are no colors where none are wanted"

    done = pair.world.run([*SETTINGS, *pair._command("deploy", "-v", "--limit", "web2")], timeout=500)
    assert "TASK [daemonless.isolation.isolation : Look, plan and begin]" in done.stdout
    assert "PLAY RECAP" in done.stdout
