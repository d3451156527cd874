# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tasks inside services by the connection plugin, with the host being this one."""

from __future__ import annotations

import hashlib
import json
import os
import pathlib
import sys
import typing as t

import pytest
import yaml
from services import PROBE, Host
from world import COLLECTIONS, Completed

INSIDE = {"ansible_connection": "daemonless.isolation.service", "ansible_isolation_connection": "local"}


def ansible(host: Host, folder: pathlib.Path, program: str, *words: str, check: bool = True) -> Completed:
    """Run one of Ansible's programs in the world."""
    settings = {
        "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS),
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_HOME": str(folder / "home"),
        "LC_ALL": "C.UTF-8",
    }
    found = pathlib.Path(sys.executable).with_name(program)
    return host.world.run(
        ["env", *(f"{key}={value}" for key, value in settings.items()), str(found), *words], check=check, timeout=300
    )


def play(
    host: Host, folder: pathlib.Path, tasks: list[dict[str, t.Any]], check: bool = True, **variables: t.Any
) -> Completed:
    """Run tasks inside the service web."""
    inventory = folder / "hosts.yml"
    own = {**INSIDE, "ansible_python_interpreter": "/usr/bin/python3", **variables}
    inventory.write_text(yaml.safe_dump({"all": {"hosts": {"web": own}}}))
    playbook = folder / "play.yml"
    playbook.write_text(yaml.safe_dump([{"hosts": "web", "gather_facts": False, "tasks": tasks}]))
    return ansible(host, folder, "ansible-playbook", "-i", str(inventory), str(playbook), check=check)


@pytest.mark.parametrize("pipelining", [True, False])
def test_modules_copies_and_facts(host: Host, tmp_path: pathlib.Path, pipelining: bool) -> None:
    service = host.run("web")
    odd = 'it\'s a "file" `ü`;.txt'
    (tmp_path / "sent").write_bytes(os.urandom(100_000) + b"\n\0\xff")
    (tmp_path / "page.j2").write_text("hello {{ ansible_facts.hostname }}\n")
    tasks: list[dict[str, t.Any]] = [
        {"raw": "echo $$ in $(cat /proc/sys/kernel/hostname)", "register": "raw"},
        {"setup": {"gather_subset": ["min"]}},
        {"command": "/usr/bin/python3 -c 'import os; print(os.getuid(), os.getpid())'", "register": "command"},
        {"copy": {"src": str(tmp_path / "sent"), "dest": f"/srv/{odd}", "mode": "0640"}},
        {"template": {"src": str(tmp_path / "page.j2"), "dest": "/srv/page.html"}},
        {
            "copy": {"src": str(tmp_path / "sent"), "dest": f"/srv/{odd}", "mode": "0640"},
            "register": "again",
            "failed_when": "again is changed",
        },
        {"fetch": {"src": f"/srv/{odd}", "dest": str(tmp_path / "fetched"), "flat": True}},
        {"slurp": {"src": "/srv/page.html"}, "register": "page"},
        {"script": {"cmd": str(tmp_path / "script.py"), "executable": "/usr/bin/python3"}, "register": "script"},
        {
            "copy": {
                "content": "{{ {'raw': raw.stdout, 'command': command.stdout, 'hostname': ansible_facts.hostname,"
                " 'system': ansible_facts.system, 'page': page.content | b64decode, 'script': script.stdout} | to_json }}",
                "dest": str(tmp_path / "seen.json"),
            },
            "delegate_to": "localhost",
            "vars": {"ansible_connection": "local", "ansible_python_interpreter": sys.executable},
        },
    ]
    (tmp_path / "script.py").write_text("import socket\nprint('script on', socket.gethostname())\n")
    play(host, tmp_path, tasks, ansible_pipelining=pipelining)
    seen = json.loads((tmp_path / "seen.json").read_text())
    assert seen["raw"].strip().endswith("in web")
    assert seen["command"].split()[0] == "0"
    assert (seen["hostname"], seen["system"]) == ("web", "Linux")
    assert seen["page"] == "hello web\n"
    assert seen["script"].strip() == "script on web"
    assert (tmp_path / "fetched").read_bytes() == (tmp_path / "sent").read_bytes()
    assert host.see("web")["pid"] == service["pid"]


def test_fifty_megabytes_in_and_out(host: Host, tmp_path: pathlib.Path) -> None:
    host.run("web")
    big = os.urandom(1 << 20) * 50
    (tmp_path / "big").write_bytes(big)
    tasks: list[dict[str, t.Any]] = [
        {"copy": {"src": str(tmp_path / "big"), "dest": "/srv/big"}},
        {"fetch": {"src": "/srv/big", "dest": str(tmp_path / "back"), "flat": True}},
    ]
    play(host, tmp_path, tasks)
    assert hashlib.sha256((tmp_path / "back").read_bytes()).digest() == hashlib.sha256(big).digest()


def test_copies_follow_no_link_out_of_the_service(host: Host, tmp_path: pathlib.Path) -> None:
    """T6: a directory that changes into a link to the host's, again and again, while files are copied in and out."""
    swap = (
        "import os, threading\n"
        "def swap():\n"
        "    while True:\n"
        "        os.makedirs('/srv/x', exist_ok=True)\n"
        "        os.rename('/srv/x', '/srv/old'); os.symlink('/etc', '/srv/x'); os.unlink('/srv/x'); os.rename('/srv/old', '/srv/x')\n"
        "threading.Thread(target=swap, daemon=True).start()\n"
        "exec(open('/srv/probe.py').read())\n"
    )
    host.rootfs("web", files=[{"path": "/srv/probe.py", "content": PROBE}, {"path": "/srv/swap.py", "content": swap}])
    host.world.apply("namespaced_service", **host.options("web", command=["/usr/bin/python3", "-B", "/srv/swap.py"]))
    world = host.world
    world.sh("echo untouched >/etc/canary; chmod 600 /etc/canary")
    look = "find /etc -xdev -printf '%p %m %u %l\\n' | sort; find /etc -xdev -type f | sort | xargs -d '\\n' sha256sum"
    before = world.sh(look)
    (tmp_path / "sent").write_text("from the controller\n")
    tasks: list[dict[str, t.Any]] = [
        {"copy": {"src": str(tmp_path / "sent"), "dest": "/srv/x/canary"}, "ignore_errors": True},
        {"fetch": {"src": "/srv/x/canary", "dest": str(tmp_path / "taken"), "flat": True}, "ignore_errors": True},
    ] * 4
    play(host, tmp_path, tasks, check=False)
    assert world.sh(look) == before
    assert not (tmp_path / "taken").exists() or (tmp_path / "taken").read_text() != "untouched\n"


def test_what_is_said_of_what_is_not_there(host: Host, tmp_path: pathlib.Path) -> None:
    host.run("web")
    nothing = play(host, tmp_path, [{"raw": "true"}], check=False, ansible_isolation_service="nothing")
    assert nothing.returncode == 4, "unreachable"
    assert "there is no service nothing on this host" in nothing.stdout
    shell = play(host, tmp_path, [{"raw": "true"}], check=False, ansible_isolation_shell="/bin/other")
    assert "there is no /bin/other in its root filesystem" in shell.stdout
    missing = play(
        host, tmp_path, [{"fetch": {"src": "/nowhere", "dest": str(tmp_path / "x"), "flat": True}}], check=False
    )
    assert missing.returncode == 2
    helper = "/usr/local/libexec/isolation/enter"
    host.world.sh(f"rm {helper}")
    gone = play(host, tmp_path, [{"raw": "true"}], check=False)
    assert f"its host has no {helper}" in gone.stdout
    assert "apply daemonless.isolation.namespaced_service there again" in gone.stdout


def test_another_user_inside(host: Host, tmp_path: pathlib.Path) -> None:
    host.run("web")
    ids = "/usr/bin/python3 -c 'import os; print(os.getuid(), os.getgid(), \"ids\")'"
    tasks: list[dict[str, t.Any]] = [{"raw": ids, "register": "out"}, {"debug": {"var": "out.stdout"}}]
    assert "1234 99 ids" in play(host, tmp_path, tasks, ansible_isolation_user="1234:99").stdout


def test_services_as_hosts(host: Host, tmp_path: pathlib.Path) -> None:
    host.run("web-1", service="web")
    host.run("db")
    host.run("idle", state="stopped")
    (tmp_path / "group_vars").mkdir()
    (tmp_path / "group_vars" / "isolation.yml").write_text("ansible_connection: local\n")
    machines = {"isolation": {"hosts": {"alpha": {"ansible_python_interpreter": sys.executable}}}}
    (tmp_path / "hosts.yml").write_text(yaml.safe_dump(machines))
    source = tmp_path / "services.isolation.yml"
    keyed = [{"key": "isolation_service", "prefix": "is"}]
    source.write_text(yaml.safe_dump({"plugin": "daemonless.isolation.service", "keyed_groups": keyed}))
    both = ["-i", str(tmp_path / "hosts.yml"), "-i", str(source)]

    listed = json.loads(ansible(host, tmp_path, "ansible-inventory", *both, "--list").stdout)
    found = listed["_meta"]["hostvars"]
    assert set(found) == {"alpha", "web-1.alpha", "db.alpha"}
    # What hosts tell is no template, which this listing marks.
    assert found["web-1.alpha"]["isolation_service"] == {"__ansible_unsafe": "web"}
    assert "ansible_python_interpreter" not in found["db.alpha"]
    for group, hosts in {
        "isolation_services": ["db.alpha", "web-1.alpha"],
        "service_web": ["web-1.alpha"],
        "on_alpha": ["db.alpha", "web-1.alpha"],
        "project_default": ["db.alpha", "web-1.alpha"],
        "is_db": ["db.alpha"],
    }.items():
        assert sorted(listed[group]["hosts"]) == hosts, group

    names = ansible(
        host, tmp_path, "ansible", *both, "isolation_services", "-m", "raw", "-a", "cat /proc/sys/kernel/hostname"
    )
    assert "web\n" in names.stdout
    assert "db\n" in names.stdout

    source.write_text(
        yaml.safe_dump({"plugin": "daemonless.isolation.service", "stopped": True, "projects": ["default"]})
    )
    listed = json.loads(ansible(host, tmp_path, "ansible-inventory", *both, "--list").stdout)
    assert "idle.alpha" in listed["_meta"]["hostvars"]
    source.write_text(yaml.safe_dump({"plugin": "daemonless.isolation.service", "projects": ["other"]}))
    assert "isolation_services" not in json.loads(ansible(host, tmp_path, "ansible-inventory", *both, "--list").stdout)

    lonely = ansible(host, tmp_path, "ansible-inventory", "-i", str(source), "--list", check=False)
    assert "before this one" in lonely.stderr
