# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How long connect(2) takes to the first and to the last of the published ports."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import typing as t

from world import HOST4, World

from .figures import Figure, Latency

SERVER = r"""
import os, signal, socket, sys, threading
signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C ends the whole world
def accept(listener):
    while True:
        listener.accept()[0].close()
for port in map(int, sys.argv[1:]):
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("0.0.0.0", port))
    listener.listen(4096)
    threading.Thread(target=accept, args=(listener,)).start()
print("ready", flush=True)
sys.stdin.read()
os._exit(0)
"""

# Both ports by turns, and first one then the other in front, so that whatever else the machine does hits both alike.
# The connection is reset rather than closed: thousands of them then leave neither TIME_WAIT nor used-up client ports.
CLIENT = r"""
import gc, json, socket, struct, sys, time
address, first, last, rounds, count = sys.argv[1], *map(int, sys.argv[2:])
reset = struct.pack("ii", 1, 0)
clock = time.perf_counter_ns
def connect(port):
    with socket.socket() as s:
        s.settimeout(5)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
        target = (address, port)
        start = clock()
        s.connect(target)
        return clock() - start
for _ in range(50):
    connect(first), connect(last)
gc.disable()
found = []
for _ in range(rounds):
    ones, others = [], []
    for number in range(count):
        if number % 2:
            others.append(connect(last)); ones.append(connect(first))
        else:
            ones.append(connect(first)); others.append(connect(last))
    found.append((ones, others))
print(json.dumps(found))
"""


def serve(world: World, enter: t.Sequence[str], *ports: int, ns: str = "host") -> subprocess.Popen[str]:
    """Start the stand-in for a service: it accepts and closes, until `stop`. `enter` is the command that leads to its network."""
    command = [*enter, sys.executable, "-c", SERVER, *map(str, ports)]
    process = world.popen(command, ns=ns, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    if process.stdout.readline() != "ready\n":
        raise RuntimeError(f"the server did not start: {' '.join(enter)}")
    return process


def stop(server: subprocess.Popen[str]) -> None:
    """End what `serve` started."""
    server.communicate(timeout=10)


def measure(world: World, first: int, last: int, rounds: int, count: int) -> Latency:
    """Connect `rounds` times `count` to each of both ports from the client's namespace."""
    command = [sys.executable, "-c", CLIENT, HOST4, str(first), str(last), str(rounds), str(count)]
    found = json.loads(world.run(command, ns="client", timeout=600).stdout)
    ratios = Figure.of([statistics.median(others) / statistics.median(ones) for ones, others in found])
    if ratios is None:
        raise RuntimeError("the client made no connections")
    ones = sorted(value / 1000 for values, _others in found for value in values)
    others = sorted(value / 1000 for _ones, values in found for value in values)
    return Latency(
        first=statistics.median(ones),
        first_p95=ones[len(ones) * 95 // 100],
        last=statistics.median(others),
        last_p95=others[len(others) * 95 // 100],
        ratio=ratios,
        connections=len(ones),
    )
