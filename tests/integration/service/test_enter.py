# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The helper that leads into services: what is executed there is as locked in as the service itself."""

from __future__ import annotations

import hashlib
import json
import pathlib
import typing as t

import pytest
from services import Host
from world import Completed

ENTER = "/usr/local/libexec/isolation/enter"
PYTHON = "/usr/bin/python3"
STATUS = "import json, os; print(json.dumps({'status': open('/proc/self/status').read(), 'cwd': os.getcwd(),"
STATUS += (
    "'fds': sorted(os.listdir('/proc/self/fd')), 'env': dict(os.environ), 'cgroup': open('/proc/self/cgroup').read(),"
)
STATUS += "'ns': {kind: os.stat('/proc/self/ns/' + kind).st_ino for kind in ('pid', 'mnt', 'net', 'uts', 'ipc', 'cgroup', 'user')}}))"


def enter(host: Host, *words: str, stdin: str = "", check: bool = True) -> Completed:
    """Run the helper as an operator would."""
    return host.world.run([ENTER, *words], stdin=stdin, check=check)


def seen(host: Host, *words: str) -> dict[str, t.Any]:
    """What a command that is executed inside sees of itself."""
    found: dict[str, t.Any] = json.loads(enter(host, "exec", *words, "--", PYTHON, "-c", STATUS).stdout)
    found["status"] = dict(line.split(":\t", 1) for line in found["status"].splitlines() if ":\t" in line)
    return found


@pytest.mark.parametrize("runtime", ["crun", "runc"])
def test_as_locked_in_as_the_service(host: Host, runtime: str) -> None:
    service = host.run(
        "web", runtime=runtime, environment={"GREETING": "hello world"}, user="1000:1000", workdir="/srv"
    )
    inside = host.inside(service)
    found = seen(host, "web")
    status = found["status"]
    assert {key: value for key, value in status.items() if key.startswith("Cap")} == inside["capabilities"]
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    assert status["Uid"].split() == ["1000"] * 4 == status["Gid"].split()
    # T2: no descriptor but the three, and the listing itself.
    assert found["fds"] == ["0", "1", "2", "3"]
    assert found["cwd"] == "/srv"
    assert found["env"]["GREETING"] == "hello world"
    assert set(found["env"]) <= {"PATH", "GREETING", "HOME", "LC_CTYPE"}
    assert {kind: service["namespaces"][kind] for kind in found["ns"]} == found["ns"]


def test_options(host: Host) -> None:
    host.run("web", environment={"GREETING": "hello world"})
    found = seen(host, "--user", "1234:99", "--workdir=/srv", "--env", "GREETING=moin", "--env", "MORE=a=b c", "web")
    assert found["status"]["Uid"].split()[0] == "1234"
    assert found["status"]["Gid"].split()[0] == "99"
    assert (found["cwd"], found["env"]["GREETING"], found["env"]["MORE"]) == ("/srv", "moin", "a=b c")

    done = enter(host, "exec", "web", "--", PYTHON, "-c", "import sys; sys.stderr.write('e'); sys.exit(7)", check=False)
    assert (done.returncode, done.stdout, done.stderr) == (7, "", "e")
    echo = "import sys; sys.stdout.write(sys.stdin.read()[::-1])"
    assert enter(host, "exec", "web", PYTHON, "-c", echo, stdin="abc\n").stdout == "\ncba"


def test_in_its_control_groups(host: Host) -> None:
    """T17: a fork bomb that is executed inside counts as the service's, and is held."""
    world = host.world
    world.apply("cgroup_slice", name="web", pids_max=24, memory_max="128M")
    service = host.run("web", slice="web")
    groups = world.sh(f"cat /proc/{service['pid']}/cgroup")
    pid = "import os, time; print(os.getpid(), flush=True); time.sleep(30)"
    child = world.popen([ENTER, "exec", "web", "--", PYTHON, "-c", pid], stdout=-1)
    world.wait(
        lambda: len(world.sh(f"cat /sys/fs/cgroup/pids{service['cgroup']}/cgroup.procs").split()) > 3,
        10,
        "it is inside",
    )
    for number in world.sh(f"cat /sys/fs/cgroup/pids{service['cgroup']}/cgroup.procs").split():
        # The tree that crun must not see is the only one that it is not put into.
        assert [line for line in world.sh(f"cat /proc/{number}/cgroup").splitlines() if line[:3] != "0::"] == [
            line for line in groups.splitlines() if line[:3] != "0::"
        ]
    child.kill()
    child.wait()

    bomb = """
import os, time
n = 0
try:
    while True:
        if os.fork() == 0:
            time.sleep(5)
            os._exit(0)
        n += 1
except OSError as error:
    print(n, error.errno)
"""
    count, error = enter(host, "exec", "web", "--", PYTHON, "-c", bomb).stdout.split()
    assert int(count) < 24
    assert error == "11"
    assert host.ask(service) == "hello world"


def test_the_runtime_is_out_of_reach(host: Host) -> None:
    """T1: while it executes a command inside, nobody inside can write to the runtime's program."""
    host.run("web")
    hunter = """
import os, time
until = time.monotonic() + 4
answers = set()
while time.monotonic() < until:
    for pid in os.listdir('/proc'):
        if pid.isdigit() and int(pid) not in (1, os.getpid()):
            try:
                target = os.readlink(f'/proc/{pid}/exe')
                descriptor = os.open(f'/proc/{pid}/exe', os.O_WRONLY)
                os.write(descriptor, b'#!')
                answers.add('written ' + target)
            except OSError as error:
                answers.add(error.errno)
print(sorted(map(str, answers)))
"""
    runtime = pathlib.Path("/usr/bin/crun")
    before = hashlib.sha256(runtime.read_bytes()).hexdigest()
    hunting = host.world.popen([ENTER, "exec", "web", "--", PYTHON, "-c", hunter], stdout=-1)
    for _attempt in range(20):
        enter(host, "exec", "web", "--", PYTHON, "-c", "")
    answers = hunting.communicate(timeout=60)[0]
    assert "written" not in answers, answers
    assert hashlib.sha256(runtime.read_bytes()).hexdigest() == before


WRONG: tuple[tuple[list[str], str], ...] = (
    (["exec", "nothing", "true"], "there is no service nothing"),
    (["exec", "web"], "usage"),
    (["exec", "--user", "app", "web", "true"], "must be numbers"),
    (["exec", "--workdir", "/proc/self/fd/5", "web", "true"], "not below /proc"),
    (["exec", "--workdir", "srv", "web", "true"], "absolute path"),
    (["exec", "--env", "A", "web", "true"], "KEY=VALUE"),
    (["exec", "--privileged", "web", "true"], "no such option"),
    (["exec", "idle", "true"], "does not run"),
    (["exec", "pair", "true"], "2 instances that run, pair-1, pair-2"),
    ([], "usage"),
)


def test_refusals_and_the_list(host: Host) -> None:
    host.run("web")
    host.run("idle", state="stopped")
    for name in ("pair-1", "pair-2"):
        host.run(name, service="pair")
    for words, message in WRONG:
        done = enter(host, *words, check=False)
        assert done.returncode == 125, (words, done)
        assert message in done.stderr, (words, done.stderr)
    assert enter(host, "exec", "pair-2", PYTHON, "-c", "print('here')").stdout == "here\n"

    listed = {item["name"]: item for item in json.loads(enter(host, "list").stdout)}
    assert {name: item["service"] for name, item in listed.items()} == {
        "web": "web",
        "idle": "idle",
        "pair-1": "pair",
        "pair-2": "pair",
    }
    assert listed["web"]["pid"] == host.see("web")["pid"]
    assert listed["idle"]["pid"] is None

    done = host.world.run(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", ENTER, "list"], check=False)
    assert done.returncode == 125 or json.loads(done.stdout)


def test_what_is_not_there(host: Host) -> None:
    host.run("web")
    done = enter(host, "exec", "web", "/nothing", check=False)
    assert done.returncode not in (0, 125)
    assert "/nothing" in done.stderr
    done = enter(host, "exec", "--workdir", "/nowhere", "web", PYTHON, "-c", "", check=False)
    assert done.returncode != 0
    assert "/nowhere" in done.stderr
