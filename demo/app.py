"""The demo's service: says hello on every path, and, under /inside, what it sees of itself."""

from __future__ import annotations

import http.server
import json
import os
import socket
import typing as t


def read(path: str) -> str:
    """The content of a file."""
    with open(path, encoding="utf-8") as stream:
        return stream.read()


def inside() -> dict[str, t.Any]:
    """What this process can see."""
    pids = sorted((entry for entry in os.listdir("/proc") if entry.isdigit()), key=int)
    status = read("/proc/self/status").splitlines()
    return {
        "hostname": socket.gethostname(),
        "processes": {pid: read(f"/proc/{pid}/cmdline").replace("\0", " ").strip() for pid in pids},
        "interfaces": sorted(os.listdir("/sys/class/net")),
        "mounts": [line.split()[4] for line in read("/proc/self/mountinfo").splitlines()],
        "uid": os.getuid(),
        "uid_map": read("/proc/self/uid_map").split(),
        "capabilities": [line.replace("\t", " ") for line in status if line.startswith("Cap")],
    }


class Hello(http.server.BaseHTTPRequestHandler):
    """One answer for all."""

    def do_GET(self) -> None:
        """Answer a request."""
        body = json.dumps(inside(), indent=2) + "\n" if self.path == "/inside" else "hello world\n"
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())


class Server(http.server.ThreadingHTTPServer):
    """Listens on both families: the port is published on both."""

    address_family = socket.AF_INET6


if __name__ == "__main__":
    Server(("::", int(os.environ.get("PORT", "3000"))), Hello).serve_forever()
