# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A service in releases that tell which one they are, and those who ask it."""

from __future__ import annotations

import json
import pathlib
import subprocess
import typing as t

from stage import Site

LOAD = pathlib.Path(__file__).with_name("load.py").read_text(encoding="utf-8")

APP = """
import http.server, os, signal, time

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.path == "/slow":
            time.sleep(0.2)
        if self.path == "/health" and os.environ.get("ILL"):
            self.send_error(500)
            return
        text = os.environ["RELEASE"].encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *ignored):
        pass

http.server.ThreadingHTTPServer.request_queue_size = 128
server = http.server.ThreadingHTTPServer(("", 3000), Handler)
if os.environ.get("DIES"):
    import threading
    threading.Timer(float(os.environ["DIES"]), lambda: os._exit(3)).start()
# As the first process of a container without an init it would not be ended by the signal otherwise.
signal.signal(signal.SIGTERM, lambda *ignored: os._exit(0))
server.serve_forever()
"""


def running(site: Site, service: str = "web") -> list[dict[str, t.Any]]:
    info = site.world.apply("host_info", gather_subset=["services"], project=site.variables["isolation_project"])
    return [entry for entry in info["services"] if entry["service"] == service and entry["state"] == "started"]


def load(site: Site, url: str, inside: int | None = None) -> subprocess.Popen[str]:
    pipes: dict[str, t.Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    if inside is None:
        return site.world.popen(["/usr/bin/python3", "-c", LOAD, url], ns="client", **pipes)
    enter = ["nsenter", "-t", str(inside), "-m", "-n", "/usr/bin/python3", "/srv/load.py", url]
    return site.world.popen(enter, **pipes)


def stop(client: subprocess.Popen[str]) -> dict[str, dict[str, int]]:
    output, errors = client.communicate("", timeout=60)
    assert output, errors
    return json.loads(output)  # type: ignore[no-any-return]
