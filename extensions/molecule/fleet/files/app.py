# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) daemonless.isolation contributors
"""The fleet's web service: it tells its release, unless that is a bad one."""

from __future__ import annotations

import http.server
import os
import sys
import threading

FAULT = os.environ["FAULT"]
WELL_FOR = 8.0


class Release(http.server.BaseHTTPRequestHandler):
    """One answer for all."""

    def do_GET(self) -> None:
        """Answer a request."""
        if FAULT == "ill":
            self.send_error(500)
            return
        body = os.environ["RELEASE"].encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: object) -> None:
        """Say nothing of requests."""


def end() -> None:
    """End, as a program does that has lost something it needs."""
    print(f"this release ends after {WELL_FOR:g} s", file=sys.stderr, flush=True)
    os._exit(3)


if __name__ == "__main__":
    if FAULT == "ends":
        sys.exit("this release ends at once")
    if FAULT == "dies":
        threading.Timer(WELL_FOR, end).start()
    http.server.ThreadingHTTPServer.request_queue_size = 128
    http.server.ThreadingHTTPServer(("", 3000), Release).serve_forever()
