# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) daemonless.isolation contributors
"""Ask the published port all the time, until it is told to end; then print what was answered, as JSON."""

from __future__ import annotations

import collections
import http.client
import json
import signal
import time

answers: collections.Counter[str] = collections.Counter()
failures: list[str] = []
going = [True]


def once() -> str:
    """Return what one request, on a connection of its own, is answered.

    :raises OSError: there is no answer.
    :raises http.client.HTTPException: it is no whole answer.
    """
    connection = http.client.HTTPConnection("127.0.0.1", 8080, timeout=20)
    try:
        connection.request("GET", "/")
        answer = connection.getresponse()
        body = answer.read().decode()
        return body if answer.status == 200 else f"status {answer.status}"
    finally:
        connection.close()


def main() -> None:
    """Ask and count."""
    signal.signal(signal.SIGTERM, lambda _signal, _frame: going.clear())
    while going:
        began = time.monotonic()
        try:
            body = once()
            answers[body] += 1
            if not body.isdigit():
                failures.append(f"{time.strftime('%T')} {body}")
        except (OSError, http.client.HTTPException) as error:
            took = time.monotonic() - began
            failures.append(f"{time.strftime('%T')} after {took:.1f} s: {type(error).__name__} {error}")
        time.sleep(0.2)
    print(json.dumps({"answers": answers, "failures": failures}))


if __name__ == "__main__":
    main()
