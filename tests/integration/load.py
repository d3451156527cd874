# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Clients of a service that is updated meanwhile. Standard library alone, since it runs inside a service, too.

Called with a URL; asks until its standard input is closed, then prints what became of the requests, as JSON. Three clients: one with a
connection per request, one that keeps its connection, and one whose requests take 200 ms.
"""

from __future__ import annotations

import collections
import http.client
import json
import sys
import threading
import time
import urllib.parse

TARGET = urllib.parse.urlsplit(sys.argv[1])
REUSED_AND_CLOSED = (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError)
"""What a client that keeps its connection sees when the server has closed it: it asks again, as every library does (RFC 9110, 9.2.2)."""

over = threading.Event()
counts: dict[str, collections.Counter[str]] = {}


def connect() -> http.client.HTTPConnection:
    return http.client.HTTPConnection(TARGET.hostname or "", TARGET.port, timeout=10)


def ask(connection: http.client.HTTPConnection, path: str, keep: bool) -> str:
    connection.request("GET", path, headers={"Connection": "keep-alive" if keep else "close"})
    answer = connection.getresponse()
    text = answer.read().decode()
    if answer.status != 200:
        raise ValueError(f"status {answer.status}")
    return text


def once(path: str, seen: collections.Counter[str]) -> None:
    connection = connect()
    try:
        seen["release " + ask(connection, path, False)] += 1
        seen["answered"] += 1
    except ConnectionRefusedError:
        seen["refused"] += 1
    except (OSError, ValueError, http.client.HTTPException) as error:
        seen["lost"] += 1
        seen[f"error {type(error).__name__} {error}"] += 1
    finally:
        connection.close()


def fresh(path: str, name: str) -> None:
    while not over.is_set():
        once(path, counts[name])
        time.sleep(0.005)


def kept(path: str, name: str) -> None:
    seen = counts[name]
    connection, used = connect(), 0
    while not over.is_set():
        try:
            seen["release " + ask(connection, path, True)] += 1
            seen["answered"] += 1
            used += 1
        except REUSED_AND_CLOSED:
            seen["closed" if used else "lost"] += 1
            connection.close()
            connection, used = connect(), 0
            continue
        except ConnectionRefusedError:
            seen["refused"] += 1
        except (OSError, ValueError, http.client.HTTPException) as error:
            seen["lost"] += 1
            seen[f"error {type(error).__name__} {error}"] += 1
            connection.close()
            connection, used = connect(), 0
        time.sleep(0.02)


def main() -> None:
    plan = {"fresh": (fresh, "/"), "kept": (kept, "/"), "slow": (fresh, "/slow")}
    threads = []
    for name, (client, path) in plan.items():
        counts[name] = collections.Counter(answered=0, refused=0, lost=0, closed=0)
        threads.append(threading.Thread(target=client, args=(path, name)))
    for thread in threads:
        thread.start()
    sys.stdin.read()
    over.set()
    for thread in threads:
        thread.join()
    print(json.dumps(counts))


main()
