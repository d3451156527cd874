# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""T16: the value of a secret is where the service reads it and where it is kept, and nowhere else, whatever is misspelt."""

from __future__ import annotations

import copy
import json
import pathlib
import sys
import threading
import typing as t

from services import Host
from world import COLLECTIONS, World

from ansible_collections.daemonless.isolation.plugins.module_utils._service.options import OPTIONS
from ansible_collections.daemonless.isolation.plugins.module_utils._service.secret_options import BESIDE

MEMORY, STORE = "/run/isolation/secrets", "/var/lib/isolation/secrets"
CANARY = "canary-0815-of-secrets"
SECOND = "Y2FuYXJ5LTA4MTYtb2Ytc2VjcmV0cw=="  # base64 of canary-0816-of-secrets
DECODED = "canary-0816-of-secrets"
MISPLACED = "canary-0817-misplaced"
"""Stands only where it does not belong, so that nothing else tells the module to hide it."""

SIGNS = ("canary-", SECOND)

PROGRAM = "import os, time\nos.stat('/run/secrets/db_password')\nprint('up', flush=True)\ntime.sleep(100000)"
TELLTALE = "import sys\nprint(open('/run/secrets/db_password').read(), open('/run/secrets/tls.key').read(), flush=True)\nsys.exit(1)"

# Runs the module once for each set of arguments on stdin, each in a process of its own, and prints what they said.
MANY = """
import json, os, sys
import ansible_collections.daemonless.isolation.plugins.module_utils._runner
import ansible_collections.daemonless.isolation.plugins.module_utils._service.layer
import ansible_collections.daemonless.isolation.plugins.modules.namespaced_service as module
said = []
for arguments in json.load(sys.stdin):
    given, told = os.memfd_create("given"), os.memfd_create("told")
    os.write(given, json.dumps({"ANSIBLE_MODULE_ARGS": arguments}).encode())
    os.lseek(given, 0, os.SEEK_SET)
    child = os.fork()
    if child == 0:
        for number, descriptor in ((0, given), (1, told), (2, told)):
            os.dup2(descriptor, number)
        sys.stdin = open(0)
        module.main()
    os.waitpid(child, 0)
    said.append(os.pread(told, 10_000_000, 0).decode())
    os.close(given), os.close(told)
json.dump(said, sys.stdout)
"""


class Watch(threading.Thread):
    """Looks at the command lines and environments of all processes until it is told to end."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()
        self.looks = 0
        self._end = threading.Event()

    def run(self) -> None:
        while not self._end.is_set():
            self.looks += 1
            for path in pathlib.Path("/proc").glob("[0-9]*"):
                for name in ("cmdline", "environ"):
                    try:
                        text = (path / name).read_bytes().decode(errors="replace")
                    except OSError:
                        continue
                    if any(sign in text for sign in SIGNS):
                        self.found.add(text)

    def __enter__(self) -> Watch:
        self.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._end.set()
        self.join()


def options(host: Host, **given: t.Any) -> dict[str, t.Any]:
    wanted = {
        "command": ["/usr/bin/python3", "-c", PROGRAM], "networks": [], "health": None, "gate": {"min_healthy_time": "300ms"},
        "environment": {"COLOUR": "green"}, "user": "1000:1001", "tmpfs": [{"target": "/run", "size": "1M", "mode": "755"}],
        "restart": {"policy": "always", "delay": "200ms", "max_delay": "1s"},
        "secrets": [
            {"name": "db_password", "target": "db_password", "user": "1000", "group": "1001", "mode": "0400", "on_change": "restart"},
            {"name": "tls.key", "encoding": "base64", "persist": True},
        ],
        "secret_values": {"db_password": CANARY, "tls.key": SECOND}, **given,
    }  # fmt: skip
    return host.options("web", **wanted)


def many(world: World, arguments: list[dict[str, t.Any]]) -> list[str]:
    """What the module says for each set of arguments."""
    shown = [{**one, "_ansible_diff": True, "_ansible_remote_tmp": "/tmp"} for one in arguments]
    paths = f"PYTHONPATH={COLLECTIONS}:{World._ansible_path()}"
    done = world.run(["env", paths, sys.executable, "-c", MANY], stdin=json.dumps(shown), timeout=300)
    return json.loads(done.stdout)  # type: ignore[no-any-return]


def shows_nothing(text: str) -> None:
    assert [sign for sign in SIGNS if sign in text] == [], text


def where(world: World) -> list[str]:
    """The files of the host that have a secret in them, by name or content."""
    places, patterns = "/etc /var/lib /usr/local /var/log /run", "".join(sign + "\n" for sign in SIGNS)
    found = world.run(["sh", "-c", f"grep -rlaF -f - {places} 2>/dev/null; :"], stdin=patterns).stdout
    names = world.run(
        ["sh", "-c", f"find {places} 2>/dev/null | grep -F -f /dev/fd/3 3<<END\n$(cat)\nEND\n:"], stdin=patterns
    ).stdout
    return sorted((found + names).splitlines())


PLACES = sorted(
    [
        f"{MEMORY}/web/db_password",
        f"{MEMORY}/web/tls.key",
        f"{STORE}/web/plain.db_password",
        f"{STORE}/web/plain.tls.key",
    ]
)


def test_a_canary_is_nowhere_else(host: Host) -> None:
    world = host.world
    host.rootfs("web")
    with Watch() as watch:
        for check in (True, False, False):
            result = world.module("namespaced_service", check=check, **options(host))
            assert not result.get("failed"), result
            shows_nothing(json.dumps(result))
        assert where(world) == PLACES
        rotated = world.apply("namespaced_service", **options(host, secret_values={"db_password": CANARY + "-2"}))
        shows_nothing(json.dumps(rotated))
        pid = host.see("web")["pid"]
        shows_nothing(json.dumps(world.module("host_info", gather_subset=["all"])))
        shows_nothing(
            world.sh(f"cat /proc/{pid}/environ /proc/{pid}/cmdline /proc/{pid}/mountinfo; crun state web 2>&1 || :")
        )
        assert where(world) == PLACES

        # The host's own words, too, if the service itself writes secrets to its log: with values of the task, and with those of the host.
        for values in ({"db_password": CANARY, "tls.key": SECOND}, None):
            crashing = options(host, command=["/usr/bin/python3", "-c", TELLTALE], secret_values=values)
            failed = world.module("namespaced_service", **{**crashing, "gate": {"deadline": "5s"}})
            assert "its log ends with" in failed["msg"]
            shows_nothing(json.dumps(failed))
        assert f"{CANARY} {DECODED}" in host.log("web"), "the log is the service's own"
        world.sh("rm -f /var/log/isolation/web/*")
        world.apply("namespaced_service", name="web", state="absent")
    assert watch.looks > 100
    assert watch.found == set()
    assert where(world) == []


def _misspelt(key: str) -> str:
    return key[:-2] + key[-1] + key[-2] if len(key) > 2 and key[-1] != key[-2] else key + "s"


def typos(arguments: dict[str, t.Any]) -> list[tuple[str, dict[str, t.Any]]]:
    """The arguments with each key at each level misspelt in turn."""
    found: list[tuple[str, dict[str, t.Any]]] = []

    def walk(value: t.Any, path: list[t.Any]) -> None:
        if isinstance(value, list):
            for index, item in enumerate(value):
                walk(item, [*path, index])
        if not isinstance(value, dict):
            return
        for key, item in value.items():
            made = copy.deepcopy(arguments)
            place: t.Any = made
            for step in path:
                place = place[step]
            place[_misspelt(key)] = place.pop(key)
            found.append((".".join(map(str, [*path, key])), made))
            walk(item, [*path, key])

    walk(arguments, [])
    return found


def misplaced(rules: dict[str, t.Any], arguments: dict[str, t.Any]) -> list[dict[str, t.Any]]:
    """The arguments with one option more, for every option that there is at any depth: its name misspelt, its value the secret."""
    found = []
    for key, rule in rules.items():
        found.append({**arguments, _misspelt(key): {"db_password": MISPLACED}})
        if "options" in rule:
            inner = arguments.get(key) or {}
            listed = isinstance(inner, list) or rule["type"] == "list"
            first = (inner[0] if inner else {}) if isinstance(inner, list) else inner
            found += [{**arguments, key: [one] if listed else one} for one in misplaced(rule["options"], first)]
    return found


def test_a_typo_in_every_key_at_every_level(host: Host) -> None:
    world = host.world
    host.rootfs("web")
    alone = options(host, project="default", lock_timeout=30, on_error="stop")
    beside = ("secret_values", "project", "lock_timeout", "on_error")
    aggregate = {
        "aggregate": [{key: value for key, value in alone.items() if key not in beside}],
        **{key: alone[key] for key in beside},
    }
    made = typos(alone) + typos(aggregate)
    assert len(made) > 60
    everything = {**OPTIONS, **BESIDE}
    more = misplaced(everything, alone)
    more += [{**aggregate, "aggregate": [one]} for one in misplaced(everything, aggregate["aggregate"][0])]
    assert len(more) > 100
    made += [(f"more {number}", arguments) for number, arguments in enumerate(more)]
    # What is not misspelt, but misplaced or of another kind.
    element = aggregate["aggregate"][0]
    others: list[dict[str, t.Any]] = [
        {**aggregate, "secret_values": None, "aggregate": [{**element, "secret_values": {"db_password": MISPLACED}}]},
        {**alone, "secrets": [{"name": "db_password", "value": MISPLACED}]},
        {**alone, "secrets": {"db_password": MISPLACED}},
        {**alone, "secret_values": CANARY},
        {**alone, "secret_values": json.dumps(alone["secret_values"])},
        {**alone, "secret_values": f"db_password={CANARY},tls.key={SECOND}"},
        {**alone, "secret_values": [CANARY]},
        {**alone, "secret_values": {**alone["secret_values"], "other": {"nested": [CANARY]}}},
        {**alone, "secret_values": {**alone["secret_values"], "other": CANARY}},
        {**alone, "environment": {"PASSWORD": CANARY}},
        {**alone, "args": ["--password", CANARY]},
        {**alone, "secrets": [*alone["secrets"], {"name": "third", "mode": "0777"}]},
        {**alone, "command": ["/no/such/program"]},
        {**alone, "nonsense": {"deep": [{"deeper": MISPLACED}]}},
        {**alone, "health": {"htpt": {"password": MISPLACED}}},
    ]
    made += [(f"other {number}", arguments) for number, arguments in enumerate(others)]
    before = world.snapshot()
    checked = [{**arguments, "_ansible_check_mode": True} for _path, arguments in made]
    with Watch() as watch:
        said = many(world, checked)
    accepted = []
    for (path, _arguments), text in zip(made, said):
        shows_nothing(text)
        result = json.loads(text)
        if not result.get("failed"):
            accepted.append(path)
    # Keys that are data: their names are free.
    assert sorted(accepted) == ["aggregate.0.environment.COLOUR", "environment.COLOUR", "other 4", "other 5"]
    assert watch.found == set()
    assert world.snapshot() == before
    assert where(world) == []
