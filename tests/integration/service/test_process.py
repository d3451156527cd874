# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a service's first process is started with, and what is refused before anything is changed."""

from __future__ import annotations

import json
import typing as t

import pytest
from services import Host

Options = t.Dict[str, t.Any]
TELL = (
    "import json, os, time; mask = os.umask(0); print(json.dumps({'groups': os.getgroups(), 'umask': mask,"
    " 'oom': open('/proc/self/oom_score_adj').read().strip()}), flush=True); time.sleep(600)"
)
GROUPS = [{"path": "/etc/group", "content": "root:x:0:\nextra:x:1002:\n"}]


def quiet(**options: t.Any) -> Options:
    return {"name": "web", "rootfs": "web", "command": ["/usr/bin/python3", "-c", TELL], **options}


def told(host: Host) -> Options:
    (line,) = host.world.wait(
        lambda: [line for line in host.log("web").splitlines()[-1:] if "{" in line], 5, "it tells"
    )
    return json.loads(line[line.index("{") :])  # type: ignore[no-any-return]


def test_options_of_the_process(host: Host) -> None:
    world = host.world
    host.rootfs("web", files=GROUPS)
    first = world.cycle("namespaced_service", **quiet())["service"]
    assert told(host)["umask"] == 0o022
    second = world.cycle("namespaced_service", **quiet(groups=["extra", "77"], umask="0027", oom_score_adj=300))
    assert second["service"]["pid"] != first["pid"]
    assert set(second["diff"][0]["after"].splitlines()) >= {"groups: extra, 77", "umask: 0027", "oom_score_adj: 300"}
    assert told(host) == {"groups": [77, 1002], "umask": 0o027, "oom": "300"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"groups": ["nosuch"]}, "service web: groups: the root filesystem's /etc/group has no 'nosuch'"),
        ({"groups": ["70000"]}, "service web: groups: 70000: a service's ids are 0 to 65534"),
        ({"umask": "999"}, "service: web: umask: '999' is not an octal mask"),
        ({"oom_score_adj": -5}, "service: web: oom_score_adj: -5: must be 0 to 1000"),
        ({"environment": {"DB_PASSWORD": "canary"}}, "service: web: environment: DB_PASSWORD looks like a secret"),
        ({"workdir": "/nosuch"}, "service web: workdir: /nosuch is not a directory in the root filesystem"),
        ({"workdir": "/etc/passwd"}, "service web: workdir: /etc/passwd is not a directory in the root filesystem"),
        (
            {"workdir": "/srv/link"},
            "service web: workdir: /srv/link leads to /proc: a directory under /proc is refused",
        ),
        (
            {"tmpfs": [{"target": "/srv"}, {"target": "/srv/"}]},
            "service: web: mounts: /srv is the target of more than one",
        ),
        (
            {"tmpfs": [{"target": "/etc"}]},
            "service: web: mounts: /etc would hide /etc/hosts, which the service is given",
        ),
    ],
    ids=lambda value: str(value)[:50] if isinstance(value, dict) else "",
)
def test_bad_input_is_refused_before_any_change(host: Host, options: Options, message: str) -> None:
    host.rootfs("web", files=GROUPS)
    host.world.sh(
        "mkdir -p /var/lib/isolation/instances/web/rootfs/srv && ln -s /proc /var/lib/isolation/instances/web/rootfs/srv/link"
    )
    answer = host.world.refused("namespaced_service", **quiet(**options))
    assert answer.startswith(message), answer
    assert "canary" not in answer
