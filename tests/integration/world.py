# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A world of its own for a test: a host with a LAN client and an attacker beside it, on the real kernel.

The host has its own mount, network, pid, ipc and cgroup namespaces. What it writes under /etc, /usr/local, /var/lib,
/var/log and /run stays inside it. Killing its first process ends everything that was started in it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import time
import typing as t
import uuid

from warm import PACKAGE, Warm

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
COLLECTIONS = REPOSITORY / ".build" / "collections"
_COMPILED = REPOSITORY / ".build" / "pycache"
SETUP = pathlib.Path(__file__).with_name("world.sh")

HOST4, HOST6 = "198.51.100.1", "2001:db8:1::1"
CLIENT4, CLIENT6 = "198.51.100.2", "2001:db8:1::2"
ATTACKER4, ATTACKER6 = "198.51.100.3", "2001:db8:1::3"

_STAGE = "/run/.world"
_FILES = (
    f"/etc={_STAGE}/_etc",
    f"/usr/local={_STAGE}/_usr_local",
    "/var/lib/isolation",
    "/var/log/isolation",
    "/etc/service",
)
_VOLATILE_SYSCTLS = ("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding", "net.ipv4.ip_unprivileged_port_start")


@dataclasses.dataclass(frozen=True)
class Completed:
    """What a command in the world said."""

    returncode: int
    stdout: str
    stderr: str


class World:
    """The host, the client and the attacker. Use it as a context manager."""

    _known: t.ClassVar[dict[str, t.Any]] = {}
    """Files that snapshots have read already, in whatever world."""
    _forks: t.ClassVar[Warm | None] = None
    """What runs modules, in whatever world."""

    def __init__(self, python: str = sys.executable, compiled: bool = True) -> None:
        """Make it. `compiled` keeps what Python compiles for the next module, which Ansible's modules on a host can't."""
        self.python = python
        self.collections = COLLECTIONS
        self._compiled = compiled
        self.seconds = 0.0  # what the last module took
        self.tag = "isolation-test-" + uuid.uuid4().hex[:8]
        self._cgroups = self._make_cgroups()
        self._holder = subprocess.Popen(
            ["unshare", "--mount", "--net", "--pid", "--ipc", "--uts", "--cgroup", "--fork", "--kill-child",
             "--propagation", "private", "sh", str(SETUP)],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            preexec_fn=self._join_cgroups,
        )  # fmt: skip
        try:
            ready = self._holder.stdout.readline()  # type: ignore[union-attr]
            if ready != "ready\n":
                raise RuntimeError(f"the world could not be made: {ready}{self._holder.stderr.read()}")  # type: ignore[union-attr]
            self.pid = self._first_process()
        except BaseException:
            self.close()
            raise

    # -- life and death ------------------------------------------------------------------------------------------

    def _make_cgroups(self) -> list[pathlib.Path]:
        """A cgroup of its own in every hierarchy that this process is in (v1, hybrid or v2)."""
        roots = []
        for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines():
            fields, _dash, rest = line.partition(" - ")
            if rest.split()[0] in ("cgroup", "cgroup2"):
                roots.append(pathlib.Path(fields.split()[4]))
        made = []
        for root in roots:
            path = root / self.tag
            path.mkdir()
            made.append(path)
            for name in ("cpuset.cpus", "cpuset.mems"):
                if (path / name).exists() and (root / name).exists() and not (path / name).read_text().strip():
                    (path / name).write_text((root / name).read_text())
        return made

    def _join_cgroups(self) -> None:
        for path in self._cgroups:
            (path / "cgroup.procs").write_text(str(os.getpid()))

    def _first_process(self) -> int:
        children = pathlib.Path(f"/proc/{self._holder.pid}/task/{self._holder.pid}/children").read_text().split()
        return int(children[0])

    def close(self) -> None:
        """End every process of the world and remove its cgroups; mounts and networks go with their namespaces."""
        if hasattr(self, "pid"):
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
        else:
            self._holder.kill()
        self._holder.wait()
        for root in self._cgroups:
            folders = sorted(root.rglob("*"), key=lambda path: -len(path.parts))
            for folder in [*[path for path in folders if path.is_dir()], root]:
                self._remove_cgroup(folder)

    @staticmethod
    def _remove_cgroup(folder: pathlib.Path) -> None:
        for _attempt in range(100):
            try:
                folder.rmdir()
                return
            except FileNotFoundError:
                return
            except OSError:
                time.sleep(0.02)
        raise RuntimeError(f"{folder}: can't be removed; processes: {(folder / 'cgroup.procs').read_text()!r}")

    def __enter__(self) -> World:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    # -- doing things --------------------------------------------------------------------------------------------

    def argv(self, command: t.Sequence[str], ns: str = "host") -> list[str]:
        """The command that runs `command` in the world; `ns` is host, client or attacker."""
        enter = ["nsenter", "-t", str(self.pid), "-m", "-n", "-p", "-i", "-u", "-C"]
        return [*enter, *(["ip", "netns", "exec", ns] if ns != "host" else []), *command]

    def popen(self, command: t.Sequence[str], ns: str = "host", **options: t.Any) -> subprocess.Popen[str]:
        """Start a command in the world; it ends with the world at the latest."""
        options.setdefault("stdin", subprocess.DEVNULL)
        return subprocess.Popen(self.argv(command, ns), text=True, cwd="/", preexec_fn=self._join_cgroups, **options)

    def run(
        self, command: t.Sequence[str], check: bool = True, ns: str = "host", stdin: str = "", timeout: float = 120
    ) -> Completed:
        """Run a command in the world to its end."""
        process = self.popen(command, ns, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            stdout, stderr = process.communicate(stdin, timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise
        if check and process.returncode != 0:
            raise AssertionError(f"{list(command)} failed with {process.returncode}:\n{stdout}{stderr}")
        return Completed(process.returncode, stdout, stderr)

    def sh(self, script: str, check: bool = True, ns: str = "host", timeout: float = 120) -> str:
        """Run a shell script in the world and return its standard output."""
        return self.run(["sh", "-ec", script], check=check, ns=ns, timeout=timeout).stdout

    def module(self, name: str, /, check: bool = False, diff: bool = True, **args: t.Any) -> dict[str, t.Any]:
        """Run a module of the collection in the world, as Ansible would on a host, and return its result."""
        arguments = {**args, "_ansible_check_mode": check, "_ansible_diff": diff, "_ansible_remote_tmp": "/tmp"}
        text, started = json.dumps({"ANSIBLE_MODULE_ARGS": arguments}), time.perf_counter()
        command = [f"{PACKAGE}.{name}"]
        done = self._warm(command, text) if self._is_usual() else self._cold(command, text)
        self.seconds = time.perf_counter() - started
        try:
            return json.loads(done.stdout)  # type: ignore[no-any-return]
        except ValueError:
            raise AssertionError(f"{name} gave no result:\n{done.stdout}\n{done.stderr}") from None

    def _is_usual(self) -> bool:
        """Whether modules run as most tests want them; else each one starts a Python."""
        return self._compiled and self.python == sys.executable and self.collections == COLLECTIONS

    def _warm(self, command: t.Sequence[str], text: str) -> Completed:
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(_COMPILED), **self._paths()}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        if World._forks is None:
            World._forks = Warm(environment)
        cgroups = [str(path / "cgroup.procs") for path in self._cgroups]
        return Completed(*World._forks.run(command, self.pid, cgroups, environment, text, timeout=600))

    def _cold(self, command: t.Sequence[str], text: str) -> Completed:
        keep = ["-u", "PYTHONDONTWRITEBYTECODE", f"PYTHONPYCACHEPREFIX={_COMPILED}"]
        options = keep if self._compiled else ["PYTHONDONTWRITEBYTECODE=1"]
        paths = [f"{key}={value}" for key, value in self._paths().items()]
        program = command if os.path.isabs(command[0]) else ["-m", *command]
        return self.run(["env", *options, *paths, self.python, *program], check=False, stdin=text, timeout=600)

    def _paths(self) -> dict[str, str]:
        return {"PYTHONPATH": f"{self.collections}:{self._ansible_path()}", "LC_ALL": "C.UTF-8"}

    @staticmethod
    def _ansible_path() -> str:
        import ansible

        return str(pathlib.Path(ansible.__file__).parents[1])

    def apply(self, name: str, /, **args: t.Any) -> dict[str, t.Any]:
        """Run a module that must not fail."""
        result = self.module(name, **args)
        assert not result.get("failed"), result.get("msg")
        return result

    def refused(self, name: str, /, **args: t.Any) -> str:
        """Run a module that must fail without changing anything, with and without check mode; returns its message."""
        before = self.snapshot()
        predicted = self.module(name, check=True, **args)
        assert predicted.get("failed"), f"check mode accepted it: {predicted}"
        result = self.module(name, **args)
        assert result.get("failed"), f"it was accepted: {result}"
        assert self.snapshot() == before
        return str(result["msg"])

    def cycle(self, name: str, /, **args: t.Any) -> dict[str, t.Any]:
        """Check, apply, apply, check. What check mode predicts is what happens, and it changes nothing itself."""
        before = self.snapshot()
        predicted = self.module(name, check=True, **args)
        assert not predicted.get("failed"), predicted.get("msg")
        assert difference(before, self.snapshot()) == {}
        applied = self.apply(name, **args)
        assert applied["changed"] == predicted["changed"]
        assert applied["diff"] == predicted["diff"]
        again = self.apply(name, **args)
        assert not again["changed"], again["diff"]
        assert again["diff"] == []
        checked = self.module(name, check=True, **args)
        assert not checked.get("failed"), checked.get("msg")
        assert not checked["changed"], checked["diff"]
        return applied

    # -- looking -------------------------------------------------------------------------------------------------

    def snapshot(self) -> dict[str, t.Any]:
        """All state of the host that modules may change, in a form that can be compared."""
        program = str(pathlib.Path(__file__).with_name("snapshot.py"))
        done = self._warm([program, "--known", *_FILES], json.dumps(World._known))
        assert done.returncode == 0, done.stderr
        found: dict[str, t.Any] = json.loads(done.stdout)
        World._known = found.pop("known")
        return found

    def wait(self, condition: t.Callable[[], t.Any], seconds: float = 10, what: str = "condition") -> t.Any:
        """Poll until a condition holds; returns its value."""
        deadline = time.monotonic() + seconds
        while True:
            value = condition()
            if value:
                return value
            assert time.monotonic() < deadline, f"{what}: not within {seconds} s"
            time.sleep(0.05)


def difference(before: dict[str, t.Any], after: dict[str, t.Any]) -> dict[str, t.Any]:
    """What differs between two snapshots, by kind: what is gone and what is new."""
    found = {}
    for kind in sorted({*before, *after}):
        old, new = set(before.get(kind, [])), set(after.get(kind, []))
        if old != new:
            found[kind] = {"gone": sorted(old - new), "new": sorted(new - old)}
    return found


def digest(path: str) -> str:
    """The sha256 of a file, as the modules want it."""
    return "sha256:" + hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()
