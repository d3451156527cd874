# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A host with a supervisor, a bridge, and root filesystems with Python and a probe, for tests of services."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import subprocess
import typing as t

from world import World

PROBE = (pathlib.Path(__file__).with_name("service") / "probe.py").read_text(encoding="utf-8")
COMMAND = ["/usr/bin/python3", "-B", "/srv/probe.py"]
ASK = "import sys, urllib.request as u; sys.stdout.write(u.urlopen(sys.argv[1], timeout=5).read().decode())"


@dataclasses.dataclass
class Host:
    """A host that is ready for services."""

    world: World
    archive: pathlib.Path
    supervisor: subprocess.Popen[str]

    def rootfs(self, name: str, **options: t.Any) -> str:
        """Prepare a root filesystem with the probe; returns its name."""
        files = [{"path": "/srv/probe.py", "content": PROBE}]
        source = {"tar": {"path": str(self.archive)}}
        self.world.apply("rootfs_prepare", **{"name": name, "source": source, "files": files, **options})
        return name

    def options(self, name: str, **options: t.Any) -> dict[str, t.Any]:
        """What most tests ask for: the probe on port 80 of the bridge, watched by its health."""
        return {
            "name": name,
            "rootfs": name,
            "command": COMMAND,
            "networks": [{"bridge": "iso0"}],
            "health": {"http": {"port": 80}},
            "gate": {"min_healthy_time": "100ms", "deadline": "20s"},
            **options,
        }

    def run(self, name: str, **options: t.Any) -> dict[str, t.Any]:
        """Start a service, with its root filesystem if it has none yet; returns its result."""
        wanted = self.options(name, **options)
        if wanted["rootfs"] == name:
            self.rootfs(name, service=options.get("service", name))
        result: dict[str, t.Any] = self.world.apply("namespaced_service", **wanted)["service"]
        return result

    def ask(self, service: dict[str, t.Any], path: str = "/", family: str = "ipv4") -> str:
        """What a service answers to the host; empty if it doesn't."""
        address = service["addresses"][0][family]
        host = f"[{address}]" if ":" in address else address
        return self.world.run(["/usr/bin/python3", "-c", ASK, f"http://{host}{path}"], check=False).stdout

    def inside(self, service: dict[str, t.Any]) -> dict[str, t.Any]:
        """What a service sees of itself."""
        return json.loads(self.ask(service, "/inside"))  # type: ignore[no-any-return]

    def see(self, name: str) -> dict[str, t.Any]:
        """What host_info tells of an instance."""
        found = self.world.apply("host_info", gather_subset=["services"])["services"]
        (one,) = [entry for entry in found if entry["name"] == name]
        return one  # type: ignore[no-any-return]

    def supervise(self) -> None:
        """Start runsvdir."""
        self.supervisor = supervise(self.world)

    def log(self, name: str) -> str:
        """What a service has logged; svlogd(8) puts aside what a killed one had been writing to."""
        return self.world.sh(f"cd /var/log/isolation/{name}; cat $(ls | grep @ || :) current")


def supervise(world: World) -> subprocess.Popen[str]:
    """Start runsvdir in a world, with a log as distributions do."""
    return world.popen(
        ["runsvdir", "-P", "/etc/service", "log: " + "," * 100], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def make_bridge(world: World) -> None:
    """A bridge made by hand: what the layer of bridges does with it is tested there. Its own port keeps it running."""
    world.sh(
        "ip link add iso0 address 02:00:00:00:00:01 type bridge; ip address add 10.88.0.1/24 dev iso0;"
        "ip address add fd88::1/64 dev iso0 nodad; ip link add keep0 type veth peer name keep1; ip link set keep1 up;"
        "ip link set keep0 up master iso0; ip link set iso0 up;"
        "until ip -6 -o address show dev iso0 scope link | grep -v tentative | grep -q .; do sleep 0.02; done"
    )


def end_supervisor(world: World) -> None:
    """End runsvdir and all that it supervises."""
    world.sh("kill -HUP $(pgrep -x runsvdir)")
    world.wait(lambda: not processes(world, "runsv"), 15, "the supervisor has ended")


def processes(world: World, text: str) -> list[str]:
    """The command lines of living processes that contain a text."""
    lines = world.sh("ps -e -ww -o stat=,args=").splitlines()
    return [line for line in lines if text in line and not line.startswith("Z")]
