# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Single files of the host in a service."""

from __future__ import annotations

import typing as t

from services import Host

TELL = """
import os, time
def attempt(what, *given):
    try:
        what(*given)
    except OSError as error:
        return error.strerror
    return "yes"
for name in ("kept", "open"):
    print(name, open("/srv/" + name).read().strip(), attempt(open, "/srv/" + name, "a"), attempt(os.execv, "/srv/" + name, ["it"]), sep=": ")
print("end", flush=True)
time.sleep(600)
"""


def quiet(*mounts: dict[str, t.Any]) -> dict[str, t.Any]:
    return {"name": "web", "rootfs": "web", "command": ["/usr/bin/python3", "-B", "-c", TELL], "mounts": list(mounts)}


def test_single_files(host: Host) -> None:
    world = host.world
    world.sh("echo one >/run/one; echo two >/run/two; chmod 777 /run/one /run/two")
    host.rootfs("web")
    kept = {"source": "/run/one", "target": "/srv/kept", "read_only": True, "exec": False}
    world.cycle("namespaced_service", **quiet(kept, {"source": "/run/two", "target": "/srv/open"}))
    log = world.wait(lambda: host.log("web") if "end" in host.log("web") else "", 5, "it tells")
    assert "kept: one: Read-only file system: Permission denied" in log
    assert "open: two: yes: Exec format error" in log
    answer = world.refused("namespaced_service", **quiet({**kept, "read_only": False}))
    assert "web: mounts: source: /run/one is a single file, which can't be mounted without exec" in answer, answer
