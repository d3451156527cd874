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
ENVIRON = "import json, os, time; print(json.dumps(dict(os.environ)), flush=True); time.sleep(600)"
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


def test_files_of_variables(host: Host) -> None:
    world = host.world
    host.rootfs("web")
    world.sh(
        "echo 'A=canary\nB=one' >/etc/one.env; printf 'B=\"two\"\nPATH=/usr/bin' >/etc/two.env; chmod 600 /etc/*.env"
    )
    asked = quiet(
        env_files=["/etc/one.env", "/etc/two.env"], environment={"C": "own"}, command=["python3", "-c", ENVIRON]
    )
    made = world.cycle("namespaced_service", **asked)
    assert told(host).items() >= {"A": "canary", "B": '"two"', "C": "own", "PATH": "/usr/bin"}.items()
    entered = world.run(["/usr/local/libexec/isolation/enter", "exec", "web", "--", "/usr/bin/env"]).stdout
    assert "A=canary" in entered.splitlines()

    world.sh("echo 'A=goose\nB=one' >/etc/one.env")
    changed = world.cycle("namespaced_service", **asked)
    assert changed["diff"][0]["after"].splitlines() == ["env_files /etc/one.env: other variables", "effect: restart"]
    assert changed["service"]["pid"] != made["service"]["pid"]
    assert told(host)["A"] == "goose"
    assert world.sh("stat -c %a /var/lib/isolation/instances/web/config.json").strip() == "600"
    record = world.sh("cat /etc/isolation/service/web.json")
    for text in (json.dumps([made, changed, host.see("web")]), record):
        assert "canary" not in text
        assert "goose" not in text

    world.sh("echo '# nothing else' >>/etc/one.env")
    assert not world.apply("namespaced_service", **asked)["changed"]
    for text, message in (("A", "line 1: is not NAME=VALUE"), ("x=1\nPASSWORD=canary", "line 2: PASSWORD looks like")):
        world.sh(f"printf '{text}' >/etc/one.env")
        assert world.refused("namespaced_service", **asked).startswith(
            f"service web: env_files: /etc/one.env: {message}"
        )
    world.sh("rm /etc/one.env")
    answer = world.refused("namespaced_service", **asked)
    assert answer.startswith("service web: env_files: /etc/one.env: No such file or directory: it is read on the host")


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
