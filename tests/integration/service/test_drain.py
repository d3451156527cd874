# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Connections are waited for before a service is told to stop, but not for ever."""

from __future__ import annotations

import subprocess
import time
import typing as t

import pytest
from services import Host

# Keeps connections open as long as the client does, on IPv4 and IPv6, and has one with itself all the time.
PROGRAM = """
import http.server, socket, sys
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"hello")
class Server(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6
    daemon_threads = True
server = Server(("::", 80), Handler)
own = socket.create_connection(("127.0.0.1", 80))
server.serve_forever()
"""
# Is connected for so many seconds, then asks, and tells what was answered.
CLIENT = """
import http.client, sys, time
connection = http.client.HTTPConnection(sys.argv[1], 80, timeout=60)
connection.connect()
if "first" in sys.argv:
    connection.request("GET", "/")
    print(connection.getresponse().read().decode(), flush=True)
else:
    print("connected", flush=True)
time.sleep(float(sys.argv[2]))
try:
    connection.request("GET", "/")
    print(connection.getresponse().read().decode(), flush=True)
except (OSError, http.client.HTTPException) as error:
    print("cut:", type(error).__name__, flush=True)
"""


def options(host: Host, name: str = "web", **given: t.Any) -> dict[str, t.Any]:
    wanted = {"command": ["/usr/bin/python3", "-c", PROGRAM], "rootfs": "web", "service": "web", **given}
    return host.options(name, **wanted)


def connect(host: Host, service: dict[str, t.Any], *words: str, family: str = "ipv4") -> subprocess.Popen[str]:
    """A client on the host, once it is connected."""
    address = service["addresses"][0][family]
    client = host.world.popen(["/usr/bin/python3", "-c", CLIENT, address, *words], stdout=subprocess.PIPE)
    assert client.stdout is not None
    assert client.stdout.readline().strip() in ("connected", "hello")
    return client


def stop(host: Host, **given: t.Any) -> dict[str, t.Any]:
    """Stop it, as check mode predicts it; returns its result."""
    begin = time.monotonic()
    checked = host.world.module("namespaced_service", check=True, **given)
    assert time.monotonic() - begin < 2
    done = host.world.apply("namespaced_service", **given)
    assert checked["diff"] == done["diff"]
    assert "drain: until nobody is connected, for at most " in done["diff"][0]["after"]
    assert not host.world.module("namespaced_service", **given)["changed"]
    told: dict[str, t.Any] = done["service"]
    assert checked["service"]["drained"]["seconds"] is None
    return {**told, "before": checked["service"]["drained"]["remaining"]}


def test_nobody_is_waited_for(host: Host) -> None:
    """Without a connection from outside there is no delay."""
    host.rootfs("web")
    host.world.apply("namespaced_service", **options(host))
    told = stop(host, **options(host, state="stopped", drain={}))
    assert told["state"] == "stopped"
    assert (told["before"], told["drained"]["remaining"]) == (0, 0)
    assert told["drained"]["seconds"] < 0.5


@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
@pytest.mark.parametrize("state", ["stopped", "absent"])
def test_one_that_ends_is_waited_for(host: Host, state: str, family: str) -> None:
    """It gets its answer, and the service is stopped then."""
    host.rootfs("web")
    service = host.world.apply("namespaced_service", **options(host))["service"]
    client = connect(host, service, "8", family=family)
    begin = time.monotonic()
    told = stop(host, **options(host, state=state, drain={"timeout": "40s"}))
    assert client.communicate()[0] == "hello\n"
    assert (told["state"], told["before"], told["drained"]["remaining"]) == (state, 1, 0)
    assert 0.5 < told["drained"]["seconds"] < 9
    assert time.monotonic() - begin < 30


def test_one_that_does_not_end_is_cut(host: Host) -> None:
    """After the timeout, and so is one that is only kept alive."""
    host.rootfs("web")
    service = host.world.apply("namespaced_service", **options(host))["service"]
    clients = [connect(host, service, "8"), connect(host, service, "8", "first")]
    told = stop(host, **options(host, state="stopped", drain={"timeout": "1500ms"}))
    assert (told["state"], told["before"], told["drained"]) == ("stopped", 2, {"seconds": 1.5, "remaining": 2})
    assert all(client.communicate()[0].startswith("cut: ") for client in clients)


def test_all_at_the_same_time(host: Host) -> None:
    """Elements wait side by side, each for its own connections."""
    host.rootfs("web")
    names = ["web-1", "web-2", "web-3"]
    common = {key: value for key, value in options(host).items() if key != "name"}
    elements = [{"name": name} for name in names]
    started = host.world.apply("namespaced_service", aggregate=elements, **common)["results"]
    clients = [connect(host, one["service"], "30") for one in started[:2]]
    begin = time.monotonic()
    done = host.world.apply(
        "namespaced_service", aggregate=elements, **{**common, "state": "stopped", "drain": {"timeout": "10s"}}
    )
    assert time.monotonic() - begin < 20
    assert [one["service"]["drained"] for one in done["results"]] == [
        {"seconds": 10.0, "remaining": 1},
        {"seconds": 10.0, "remaining": 1},
        {"seconds": 0.0, "remaining": 0},
    ]
    for client in clients:
        assert client.communicate()[0].startswith("cut: ")


def test_what_is_refused(host: Host) -> None:
    """A drain without a stop, and where connections of others can't be told apart."""
    host.rootfs("web")
    shared: dict[str, t.Any] = {"networks": [], "namespaces": {"network": "host"}, "health": None}
    shared["command"] = ["/usr/bin/python3", "-c", "import time; time.sleep(600)"]
    host.world.apply("namespaced_service", **options(host, **shared))
    for wanted, message in (
        (options(host, drain={}), "web: drain: only with state: stopped or absent"),
        (options(host, state="stopped", drain={"timeout": "0s"}), "drain: timeout: '0s': must be at least 100ms"),
        (options(host, **shared, state="stopped", drain={}), "web: drain: its network namespace is host"),
        ({"name": "web", "state": "absent", "drain": {}}, "service web: drain: its network namespace is host"),
    ):
        answer = host.world.refused("namespaced_service", **wanted)
        assert message in answer, answer


def test_one_that_runs_on_is_ended_by_the_host(host: Host) -> None:
    """As check mode predicts it; it can serve again within that time, and is not started at boot."""
    service = host.run("web")
    stopping: dict[str, t.Any] = {"name": "web", "state": "stopped", "keep_running": "1m"}
    checked = host.world.module("namespaced_service", check=True, **stopping)
    done = host.world.apply("namespaced_service", **stopping)
    assert checked["diff"] == done["diff"]
    assert "state: stopped in 60s" in done["diff"][0]["after"]
    assert "effect: live" in done["diff"][0]["after"]
    assert 50 < done["service"]["stops_in"] <= checked["service"]["stops_in"] == 60
    assert not host.world.module("namespaced_service", **stopping)["changed"]
    seen = host.see("web")
    assert (seen["pid"], seen["state"], seen["enabled"]) == (service["pid"], "started", False)

    back = host.world.apply("namespaced_service", name="web")
    assert (back["service"]["pid"], back["service"]["stops_in"]) == (service["pid"], None)
    assert host.see("web")["enabled"]
    assert host.world.sh("ls /run/isolation/ending /usr/local/libexec/isolation/end", check=False) == ""

    stopping["keep_running"] = "2s"
    assert host.world.apply("namespaced_service", **stopping)["service"]["state"] == "started"
    deadline = time.monotonic() + 20
    while host.see("web")["state"] != "stopped":
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert not host.world.module("namespaced_service", **stopping)["changed"]

    host.world.apply("namespaced_service", name="web")
    host.world.apply("namespaced_service", name="web", state="stopped", keep_running="1m")
    host.world.apply("namespaced_service", name="web", state="stopped")
    assert host.see("web")["state"] == "stopped"
    assert host.world.sh("ls /run/isolation/ending /usr/local/libexec/isolation/end", check=False) == ""
    host.world.apply("namespaced_service", name="web")
    host.world.apply("namespaced_service", name="web", state="stopped", keep_running="1m")
    host.world.apply("namespaced_service", name="web", state="absent")
    assert host.world.sh("ls /run/isolation/ending /usr/local/libexec/isolation/end", check=False) == ""
