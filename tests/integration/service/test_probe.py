# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Three probes try what is in the table of expectations; tests/machine/probe does the same with systemd."""

from __future__ import annotations

import json
import pathlib
import typing as t

import pytest
from services import Host, supervise
from world import World

from ansible_collections.daemonless.isolation.tests.integration.service import expectations

HERE = pathlib.Path(__file__).parent
FILES = ("attempts.py", "interrogate.py", "probe.py")
BRIDGE = {"name": "iso0", "addresses": ["10.88.0.1/24", "fd88::1/64"]}
LINKED = "start a root filesystem whose /dev is a link"
WORKDIR = "start with a working directory below /proc"


@pytest.fixture
def guarded(world: World, archive: pathlib.Path) -> Host:
    """A host whose bridge is the module's, with its guards."""
    world.apply("bridge", **BRIDGE)
    world.sh("mkdir /run/data; echo x >/run/data/private; echo x >/run/data/public; chmod 600 /run/data/private")
    return Host(world, archive, supervise(world))


def _root(host: Host, name: str) -> None:
    """Prepare a root filesystem with the probe's programs and a setuid one."""
    files = [{"path": f"/srv/{file}", "content": (HERE / file).read_text(encoding="utf-8")} for file in FILES]
    host.rootfs(name, files=files)
    root = f"/var/lib/isolation/instances/{name}/rootfs"
    host.world.sh(
        f"cd {root}; cp usr/bin/$(readlink usr/bin/python3) srv/canary; chown $(stat -c %u:%g .) srv/canary; chmod 4755 srv/canary"
    )


def _start(host: Host) -> dict[str, t.Any]:
    """The three services."""
    _root(host, "probe")
    host.world.apply("cgroup_slice", name="probe", memory_max="160M", memory_swap_max="0", pids_max=64)
    own: dict[str, dict[str, t.Any]] = {
        "probe": {"slice": "probe", "mounts": [{"source": "/run/data", "target": "/data"}], "restart": {"delay": "200ms"}},
        "raw": {"capabilities": ["net_raw"]},
        "neighbour": {"capabilities": ["net_raw"], "user": "1000:1000"},
    }  # fmt: skip
    services = {}
    for name, options in own.items():
        _root(host, name)
        wanted = host.options(name, command=["/usr/bin/python3", "-B", "/srv/attempts.py"], **options)
        services[name] = host.world.apply("namespaced_service", **wanted)["service"]
    return services


def _answers(host: Host, services: dict[str, t.Any], *only: str) -> expectations.Answers:
    """What the probes answer."""
    asked = {}
    for name, service in services.items():
        address = service["addresses"][0]
        asked[name] = [address["ipv4"], address["ipv6"], address["interface"]]
    command = [
        "/usr/bin/python3",
        "-B",
        str(HERE / "interrogate.py"),
        "iso0",
        "10.88.0.1",
        "fd88::1",
        json.dumps(asked),
        *only,
    ]
    done = host.world.run(command, check=False)
    assert done.returncode == 0, done.stderr + host.log("probe")
    return json.loads(done.stdout)  # type: ignore[no-any-return]


def test_each_attempt_ends_as_documented(guarded: Host) -> None:
    world = guarded.world
    answers = _answers(guarded, _start(guarded))

    guarded.rootfs("linked")
    root = "/var/lib/isolation/instances/linked/rootfs"
    world.sh(f"mkdir /run/elsewhere; touch /run/elsewhere/canary; rm -rf {root}/dev; ln -s /run/elsewhere {root}/dev")
    assert "/dev" in world.refused("namespaced_service", **guarded.options("linked"))
    answers["T4"][LINKED] = "refused" if world.sh("ls /run/elsewhere") == "canary\n" else "done"
    wanted = guarded.options("fresh", rootfs="probe", workdir="/proc/self/fd/7")
    assert "/proc" in world.refused("namespaced_service", **wanted)
    answers["T2"][WORKDIR] = "refused"
    different = expectations.differences(answers)
    assert not different, "\n".join(different)


def test_what_is_refused_is_refused_by_the_guards(guarded: Host) -> None:
    """The same frames arrive once the guards are gone: those who watch can see them."""
    services = _start(guarded)
    link = services["raw"]["addresses"][0]["interface"]
    other = services["neighbour"]["addresses"][0]["interface"]
    guarded.world.sh(
        "sysctl -qw net.bridge.bridge-nf-call-iptables=0 net.bridge.bridge-nf-call-ip6tables=0;"
        f" nft flush chain bridge isolation_bridge link-{link}; nft flush chain bridge isolation_bridge forward;"
        f" bridge link set dev {link} isolated off hairpin off;"
        f" bridge link set dev {other} isolated off hairpin off; sysctl -qw net.ipv4.neigh.iso0.locktime=0"
    )
    answers = _answers(guarded, services, "frames")["T13"]
    arrived = [attempt for attempt, answer in answers.items() if answer == "seen by the host and its neighbour"]
    assert len(arrived) == 6, answers
    assert answers["the host's and the neighbour's tables after it"] != "as before"


def test_a_probe_answers_once_where_nothing_is_refused(host: Host) -> None:
    """A child of a call that is let through must not answer too."""
    service = host.run("web", seccomp="unconfined")
    url = f"http://{service['addresses'][0]['ipv4']}/inside"
    ask = "import json, sys, urllib.request as u; print([json.load(u.urlopen(sys.argv[1], timeout=20)) for _ in range(40)][0]['calls'])"
    assert "'clone': 'done'" in host.world.run(["/usr/bin/python3", "-c", ask, url]).stdout
    mine = host.world.sh("ps -e -o stat=,args= | grep '[s]rv/probe.py'").splitlines()
    assert [line for line in mine if line.startswith("Z")] == []
    assert len(mine) == len(host.inside(service)["processes"])
