# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 daemonless.isolation contributors

"""Tells by which address it was reached, and how many requests it has answered: replicas count for themselves."""

from __future__ import annotations

import http.server
import itertools

NUMBERS = itertools.count(1)


class Counter(http.server.BaseHTTPRequestHandler):
    """One answer for all."""

    def do_GET(self) -> None:
        """Answer a request."""
        body = f"{self.connection.getsockname()[0]} {next(NUMBERS)}\n".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    http.server.ThreadingHTTPServer(("", 3000), Counter).serve_forever()
