# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What somebody changes on a host by hand: the status names it, a deployment mends it and says so."""

from __future__ import annotations

import json
import pathlib
import typing as t

from stage import Site
from world import HOST4

ENABLED = "/etc/isolation/runit/enabled"
INSTANCES = "/var/lib/isolation/instances"


class Drift(t.NamedTuple):
    """What is done by hand, and the difference that it makes. `before` and `after` are how the texts of that begin."""

    script: str
    object: str
    key: str
    before: str
    after: str


def _more_services(site: Site) -> None:
    """Two more services, which can be stopped: only then may their root filesystems be touched."""
    site.service["mounts"] = [{"type": "volume", "source": "demo-data", "target": "/data"}]
    site.service["health"]["on_failure"] = "restart"
    for name in ("other", "third"):
        site.variables["isolation_services"].append(
            {
                "name": name,
                "rootfs": {
                    "source": site.service["rootfs"]["source"],
                    "files": [{"path": "/srv/note", "content": "as it was laid in"}],
                },
                "command": ["/bin/sleep", "1000000"],
                "resources": {"pids_max": 20},
                "networks": [{"bridge": "isodemo0"}],
            }
        )


def _bridge() -> list[Drift]:
    bridge = "bridge isodemo0"
    rule = (
        "ip rule del $(ip rule | sed -n 's/^[0-9]*:[[:space:]]*\\(.* iif isodemo0 lookup main.*\\)/\\1/p' | head -n 1)"
    )
    return [
        Drift("ip link set isodemo0 mtu 1400", bridge, "mtu", "1400", "1500"),
        Drift("ip address del 10.88.0.1/24 dev isodemo0", bridge, "addresses", "", "10.88.0.1/24"),
        Drift("ip link set isodemo0 down", bridge, "up", "no", "yes"),
        Drift("ip link set isodemo0 address 02:00:00:00:00:99", bridge, "mac", "02:00:00:00:00:99", ""),
        Drift(
            "sysctl -qw net.ipv4.conf.isodemo0.route_localnet=0",
            bridge, "net.ipv4.conf.isodemo0.route_localnet", "0", "1",
        ),
        Drift("sysctl -qw net.ipv4.ip_forward=0", bridge, "net.ipv4.ip_forward", "0", "1"),
        Drift(rule, bridge, "routing rule", "(none)", "102 to 10.88.0.0/24 iif isodemo0"),
        Drift("nft flush chain inet isolation_bridge spoof-isodemo0", bridge, "nft spoof-isodemo0", "(none)", "ip daddr 127.0.0.0/8 drop"),
        Drift("rm /etc/isolation/boot.d/10-bridge.sh", bridge, "boot files", "other", "/etc/isolation/boot.d/10-bridge.sh"),
    ]  # fmt: skip


def _others(site: Site) -> list[Drift]:
    running = {entry["service"]: entry for entry in site.running()}
    names = {service: entry["name"] for service, entry in running.items()}
    link = running["service-demo"]["addresses"][0]["interface"]
    demo, other, third = (names[name] for name in ("service-demo", "other", "third"))
    release = {name: instance.rpartition("-")[2] for name, instance in names.items()}
    run, helper = f"/etc/isolation/runit/sv/{demo}/run", "/usr/local/libexec/isolation/backoff"
    limits = f"/sys/fs/cgroup/*/isolation/service-demo/{release['service-demo']}"
    leaf = f"/sys/fs/cgroup/*/isolation/third/{release['third']}"
    element = "nft delete element inet isolation_nat any4 '{ tcp . 8080 }'; nft add element inet isolation_nat any4"
    return [
        Drift(f"{element} '{{ tcp . 8080 : 10.0.0.1 . 80 }}'", "portmap service-demo", "tcp 8080", "10.0.0.1:80", "10.88."),
        Drift("nft add element inet isolation_nat any4 '{ tcp . 99 : 10.0.0.1 . 80 }'", "portmap service-demo", "nftables", "other elements", "tcp 99"),
        Drift(f"echo 99 > $(echo {limits}/pids.max)", f"slice service-demo/{release['service-demo']}", "pids_max", "99", "64"),
        Drift(f"echo '# edited' >> {run}", f"service {demo}", f"artifact {run}", "edited", "as asked for"),
        Drift(f"sed -i 's/}}$/ }}/' {INSTANCES}/{demo}/config.json", f"service {demo}", "artifact config.json", "edited", "as asked for"),
        Drift(f"echo 192.0.2.9 other >> {INSTANCES}/{demo}/hosts", f"service {demo}", "artifact hosts", "other names", "as asked for"),
        Drift(f"echo nameserver 192.0.2.9 >> {INSTANCES}/{demo}/resolv.conf", f"service {demo}", "artifact resolv.conf", "edited", "as asked for"),
        Drift("mv /var/lib/isolation/volumes/demo-data /tmp/elsewhere", f"service {demo}", "volume demo-data", "gone", "empty"),
        Drift(f"ip link set {link} nomaster", f"service {demo}", "link isodemo0", "on no bridge", "attached"),
        Drift(f"echo '# edited' >> {helper}", f"service {demo}", "helper backoff", "other version", helper),
        Drift(f"rm {ENABLED}/isolation.health", f"service {demo}", "periodic check", "otherwise", "every"),
        Drift(f"sv -w 30 stop {ENABLED}/isolation-{other} {ENABLED}/isolation-{third}", f"service {other}", "state", "stopped", "started"),
        Drift(f"touch $(readlink -f {ENABLED}/isolation-{other})/down", f"service {other}", "at boot", "not started", "started"),
        Drift(f"echo edited > {INSTANCES}/{other}/rootfs/srv/note", f"rootfs {other}", "files /srv/note", "sha256:", "sha256:"),
        Drift(f"umount {INSTANCES}/{third}/rootfs", f"rootfs {third}", "mounted", "no", "yes"),
        Drift(f"rm {ENABLED}/isolation-{third}", f"service {third}", "supervised", "no", "yes"),
        Drift(f"for group in {leaf}; do rmdir $group; done", f"slice third/{release['third']}", "state", "absent", "present"),
    ]  # fmt: skip


def test_each_kind_of_drift_is_named_and_mended(site: Site, tmp_path: pathlib.Path) -> None:
    _more_services(site)
    site.changed("deploy")
    assert site.changed("deploy") == 0
    world, data = site.world, tmp_path / "status.json"
    drifts = [*_others(site), *_bridge()]
    for drift in drifts:
        world.sh(drift.script)

    told = site.play("status", "-e", f"status_json={data}").stdout
    (host,) = json.loads(data.read_text())["hosts"]
    assert host["result"] == "drifted", host["message"]

    def named(drift: Drift) -> bool:
        return any(
            (one["object"], one["key"]) == (drift.object, drift.key)
            and (one["before"] or "(none)").startswith(drift.before)
            and (one["after"] or "(none)").startswith(drift.after)
            for one in host["drift"]
        )

    assert [drift for drift in drifts if not named(drift)] == [], told
    done = site.play("deploy", "--diff").stdout
    assert [drift for drift in drifts if f"+{drift.key}: {drift.after}" not in done] == [], done
    assert "no drift" in site.play("status", "-e", "status_fail=true").stdout
    assert site.changed("deploy") == 0
    assert site.get("http://127.0.0.1:8080/") == "hello world"


def test_what_is_gone_as_a_whole_is_named_and_mended(site: Site, tmp_path: pathlib.Path) -> None:
    """A service whose bridge was deleted still runs, on no bridge: it is started again, on the one that is made anew."""
    site.changed("deploy")
    world, data = site.world, tmp_path / "status.json"
    before = site.instance()
    world.sh("ip link del isodemo0; nft delete table inet isolation_nat; nft delete table bridge isolation_bridge")
    site.play("status", "-e", f"status_json={data}")
    (host,) = json.loads(data.read_text())["hosts"]
    found = {(one["object"].partition(" ")[0], one["key"], one["before"], one["after"]) for one in host["drift"]}
    assert {
        ("bridge", "state", "absent", "present"),
        ("service", "link isodemo0", "on no bridge", "attached"),
        ("portmap", "tcp 8080", None, f"{before['addresses'][0]['ipv4']}:3000"),
    } <= found
    assert site.changed("deploy") > 0
    assert "no drift" in site.play("status", "-e", "status_fail=true").stdout
    assert site.instance()["addresses"] == before["addresses"]
    assert site.get(f"http://{HOST4}:8080/", ns="client") == "hello world"
