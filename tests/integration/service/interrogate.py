# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ask the three probes of a host for what they can reach: interrogate.py BRIDGE GATE4 GATE6 ASKED [frames], on the host itself.

ASKED is JSON: for `probe` (root inside, without capabilities), `raw` (with NET_RAW) and `neighbour` (user 1000, with
NET_RAW) the IPv4 and IPv6 address and the name of the link. Prints the answers as expectations.py has them; with `frames`
those of T13 alone.
attempts.py and probe.py lie beside it.
"""

from __future__ import annotations

import concurrent.futures
import hashlib
import http.client
import json
import pathlib
import subprocess
import sys
import time
import typing as t
import urllib.parse
import urllib.request

import attempts  # type: ignore[import-not-found]

ENTER = "/usr/local/libexec/isolation/enter"
PYTHON = "/usr/bin/python3"
PROBE = "import sys; sys.path.insert(0, '/srv'); import attempts, probe; print({}, end='')"
BOMB = PROBE.format("probe.fork(200)")
LISTING = PROBE.format("attempts.STARTED")
TABLES = PROBE.format("attempts.tables()")
MARKS = PROBE.format("probe.read('/dev/shm/marks')")
Answers = t.Dict[str, t.Dict[str, str]]


class Probes:
    """The probes, by name."""

    def __init__(self, asked: dict[str, list[str]]) -> None:
        self.asked = asked

    def get(self, name: str, path: str, seconds: float = 120) -> str:
        """An answer."""
        with urllib.request.urlopen(f"http://{self.asked[name][0]}{path}", timeout=seconds) as answer:
            return answer.read().decode()  # type: ignore[no-any-return]

    def answers_again(self, name: str) -> str:
        """Whether it is there, now or soon."""
        until = time.monotonic() + 90
        while time.monotonic() < until:
            try:
                return "it answers" if self.get(name, "/", 10) == "hello world" else "it answers wrongly"
            except (OSError, http.client.HTTPException):
                time.sleep(0.2)
        return "silence"


def command(*words: str) -> str:
    """The output of a command."""
    return subprocess.run(words, capture_output=True, text=True, check=False).stdout


def execute(name: str, script: str) -> str:
    """The output of a script that is executed inside."""
    return command(ENTER, "exec", name, "--", PYTHON, "-B", "-c", script)


def programs() -> list[str]:
    """What the runtimes of this host are, to the byte."""
    paths = [pathlib.Path("/usr/bin") / name for name in ("crun", "runc", "catatonit", "tini")]
    return [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths if path.exists()]


def executions(probes: Probes) -> Answers:
    """What happens while commands are executed inside, and to them."""
    before = programs()
    with concurrent.futures.ThreadPoolExecutor() as pool:
        hunting = pool.submit(probes.get, "probe", "/hunt?6")
        for _repeat in range(5):
            execute("probe", "")
    outside = [ENTER, "exec", "--workdir", "/proc/self/fd/5", "probe", "--", PYTHON, "-c", ""]
    refused = subprocess.run(outside, capture_output=True, check=False).returncode == 125
    return {
        "T1": {
            "open the runtime for writing during exec": hunting.result(),
            "the host's runtime after it": "as before" if programs() == before else "changed",
        },
        "T2": {
            "descriptors of a command that is executed": execute("probe", LISTING),
            "exec with a working directory below /proc": "refused" if refused else "done",
        },
    }


def beliefs(bridge: str, peer: tuple[str, ...]) -> list[str]:
    """Where the host takes a neighbour to be."""
    known = command("bridge", "fdb", "show", "br", bridge).splitlines()
    found = sorted(" ".join(line.split()[:3]) for line in known if line.startswith(peer[0]) and "permanent" not in line)
    for address in peer[1:]:
        words = command("ip", "neigh", "show", address, "dev", bridge).split()
        found.append(" ".join([address, *words[words.index("lladdr") + 1 :][:1]]) if "lladdr" in words else address)
    return found


def spoofing(probes: Probes, bridge: str, gate4: str, gate6: str) -> Answers:
    """What of the frames of a service with NET_RAW reaches the host and its neighbour."""
    gate = (pathlib.Path(f"/sys/class/net/{bridge}/address").read_text(encoding="ascii").strip(), gate4, gate6)
    own, peer = ((probes.get(name, "/mac"), *probes.asked[name][:2]) for name in ("raw", "neighbour"))
    for address in peer[1:]:  # so that the host knows it
        host = f"[{address}]" if ":" in address else address
        urllib.request.urlopen(f"http://{host}/", timeout=60).close()
    before = beliefs(bridge, peer), execute("neighbour", TABLES)
    query = urllib.parse.quote(json.dumps({"own": own, "gate": gate, "peer": peer}))
    with concurrent.futures.ThreadPoolExecutor() as pool:
        watching = pool.submit(attempts.watch, bridge, 6)
        probes.get("neighbour", "/watch?6")
        time.sleep(1)
        probes.get("raw", "/spoof?" + query)
    time.sleep(1)
    seen = {"the host": watching.result(), "its neighbour": json.loads(execute("neighbour", MARKS))}
    after = beliefs(bridge, peer), execute("neighbour", TABLES)
    found = {}
    for kind, words in attempts.KINDS.items():
        who = [name for name, marks in seen.items() if kind in marks]
        found[f"with NET_RAW, send {words}"] = "seen by " + " and ".join(who) if who else "dropped"
    return {
        "T13": {
            "with NET_RAW, open a socket of AF_PACKET": probes.get("raw", "/packet"),
            **found,
            "with NET_RAW, send a frame of its own to the host": "arrives" if "own" in seen["the host"] else "dropped",
            "with NET_RAW, send a frame of its own to its neighbour": "arrives" if "own" in seen["its neighbour"] else "dropped",
            "send a packet to its neighbour through the host": "arrives" if "routed" in seen["its neighbour"] else "dropped",
            "the host's and the neighbour's tables after it": "as before" if before == after else f"{before} {after}",
        }
    }  # fmt: skip


def held(answer: str) -> str:
    """What a fork bomb came to, with at most 64 processes."""
    count, _blank, error = answer.partition(" ")
    return "held" if count.isdigit() and int(count) < 64 and error == "EAGAIN" else answer


def bombs(probes: Probes) -> Answers:
    """What bombs come to, and who notices."""
    since = probes.get("neighbour", "/since")
    found = {
        "start 200 processes with pids_max 64": held(probes.get("probe", "/fork?200")),
        "start 200 processes by exec": held(execute("probe", BOMB)),
    }
    try:
        eaten = probes.get("probe", "/eat?300")
    except (OSError, http.client.HTTPException):
        eaten = "9"  # the whole service was killed, with who would have answered
    found["use 300 MB with memory_max 160M"] = "killed" if eaten == "9" else eaten
    found["the service after it"] = probes.answers_again("probe")
    again = probes.get("neighbour", "/since")
    found["its neighbour after it"] = "not restarted" if again == since else "restarted"
    return {"T17": found}


def merged(*parts: Answers) -> Answers:
    """All answers of each threat."""
    found: Answers = {}
    for part in parts:
        for threat, answers in part.items():
            found.setdefault(threat, {}).update(answers)
    return found


def main() -> None:
    """Ask, and print."""
    bridge, gate4, gate6, asked, *only = sys.argv[1:]
    probes = Probes(json.loads(asked))
    for name in probes.asked:
        probes.answers_again(name)
    if only == ["frames"]:
        sys.stdout.write(json.dumps(spoofing(probes, bridge, gate4, gate6)))
        return
    bases = [int(probes.get(name, "/base")) for name in probes.asked]
    apart = all(abs(one - other) >= 65536 for one in bases for other in bases if one != other)
    found = merged(
        json.loads(probes.get("probe", "/attempts")),
        {
            "T9": {"ranges of ids of services": "disjoint" if apart and len(set(bases)) == len(bases) else str(bases)},
            "T10": {"user of a setuid program of root's": probes.get("neighbour", "/canary")},
        },
        executions(probes),
        spoofing(probes, bridge, gate4, gate6),
        bombs(probes),
    )
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main()
