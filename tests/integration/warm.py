# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run Python programs without the time that Python takes to start and to import: each run is a fork of a process that has done so.

That process has imported, and nothing else: it is in no world and has no threads. Its fork enters the world's cgroups
and namespaces, takes the caller's environment, runs the program as __main__, and ends with all that is due at an exit. Two such
processes, whose sets iterate in different orders, take turns: what depends on an order differs from run to run, as ever.
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import importlib
import json
import os
import runpy
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
import typing as t

PACKAGE = "ansible_collections.daemonless.isolation.plugins.modules"
_OURS = "ansible_collections.daemonless.isolation.plugins.module_utils"
_IMPORTED = ("_runner", "_info", *(f"_{layer}.layer" for layer in ("bridge", "portmap", "cgroup", "rootfs", "service")))
_LIBRARIES = (
    "pyroute2",
    "pyroute2.netlink.exceptions",
    "pyroute2.netlink.nfnetlink.nfctsocket",
    "ansible.module_utils.basic",
)
_NAMESPACES = ("cgroup", "ipc", "uts", "net", "pid", "mnt")


class Warm:
    """The two processes, and what they are asked for. They end with the process that has made this."""

    def __init__(self, environment: t.Mapping[str, str]) -> None:
        """Start them in an environment which says where Python finds modules, and how."""
        self._turn = 0
        self._channels = []
        for seed in ("1", "2"):
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            subprocess.Popen(
                [sys.executable, __file__, str(theirs.fileno())],
                cwd="/", env={**environment, "PYTHONHASHSEED": seed}, pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            )  # fmt: skip
            theirs.close()
            self._channels.append(ours)

    def run(
        self, command: t.Sequence[str], pid: int, cgroups: t.Sequence[str], environment: t.Mapping[str, str],
        stdin: str, timeout: float,
    ) -> tuple[int, str, str]:  # fmt: skip
        """Run a command, a module's name or a file's absolute path first, in the cgroups and the namespaces of a process.

        Returns its exit status, its output, and what it wrote to standard error.

        :raises TimeoutError: it still ran, or something held its output open.
        :raises RuntimeError: it has not run.
        """
        wanted = {"command": list(command), "environment": dict(environment), "cgroups": len(cgroups)}
        places = [f"/proc/{pid}/ns/{kind}" for kind in _NAMESPACES]
        pipes = [os.pipe() for _end in range(4)]
        given = [pipes[0][0], *(writing for _reading, writing in pipes[1:])]
        given += [os.open(path, os.O_WRONLY) for path in cgroups] + [os.open(path, os.O_RDONLY) for path in places]
        self._turn = 1 - self._turn
        try:
            socket.send_fds(self._channels[self._turn], [json.dumps(wanted).encode()], given)
        finally:
            for descriptor in given:
                os.close(descriptor)
        status, stdout, stderr = _exchange(
            pipes[0][1], stdin.encode(), [pipes[number][0] for number in (3, 1, 2)], timeout
        )
        if not status:
            raise RuntimeError(f"{list(command)} could not be started:\n{stderr.decode()}")
        return int(status), stdout.decode(), stderr.decode()


def _exchange(into: int, content: bytes, outputs: t.Sequence[int], timeout: float) -> list[bytes]:
    """Write to a pipe and read others to their ends; closes all of them."""
    deadline, left = time.monotonic() + timeout, memoryview(content)
    found: dict[int, list[bytes]] = {descriptor: [] for descriptor in outputs}
    with selectors.DefaultSelector() as selector:
        selector.register(into, selectors.EVENT_WRITE)
        os.set_blocking(into, False)
        for descriptor in outputs:
            selector.register(descriptor, selectors.EVENT_READ)
        while selector.get_map():
            for key, _events in selector.select(max(0.0, deadline - time.monotonic())):
                if key.fd == into:
                    try:
                        left = left[os.write(into, left[: 1 << 16]) :] if left else left
                    except BrokenPipeError:
                        left = left[:0]
                    ended = not left
                else:
                    part = os.read(key.fd, 1 << 16)
                    found[key.fd].append(part)
                    ended = not part
                if ended:
                    selector.unregister(key.fd)
                    os.close(key.fd)
            if selector.get_map() and time.monotonic() >= deadline:
                for key in selector.get_map().values():
                    os.close(key.fd)
                raise TimeoutError(f"still running after {timeout} s")
    return [b"".join(found[descriptor]) for descriptor in outputs]


# -- the other side ----------------------------------------------------------------------------------------------


def _import_all() -> None:
    """What modules import. They themselves run as __main__."""
    for name in _LIBRARIES:
        importlib.import_module(name)
    for name in _IMPORTED:
        importlib.import_module(f"{_OURS}.{name}")
    if threading.active_count() != 1:
        raise RuntimeError(f"an import has started threads: {threading.enumerate()}")


def _enter(cgroups: t.Sequence[int], namespaces: t.Sequence[int]) -> None:
    """Join cgroups and namespaces; that of processes is for children."""
    for descriptor in cgroups:
        os.write(descriptor, b"0")
    libc = ctypes.CDLL(None, use_errno=True)
    for kind, descriptor in zip(_NAMESPACES, namespaces):
        if libc.setns(descriptor, 0) != 0:
            raise OSError(ctypes.get_errno(), f"setns {kind}")
    os.chdir("/")
    for descriptor in (*cgroups, *namespaces):
        os.close(descriptor)


def _wait(child: int, status: int) -> t.NoReturn:
    """Tell how a child ends, as a shell would."""
    _pid, ended = os.waitpid(child, 0)
    code = os.WEXITSTATUS(ended) if os.WIFEXITED(ended) else 128 + os.WTERMSIG(ended)
    os.write(status, str(code).encode())
    os._exit(0)


def _serve(channel: socket.socket) -> list[str]:
    """Fork for each request. Returns only in the fork, with the command that is to run."""
    while True:
        message, given, _flags, _address = socket.recv_fds(channel, 1 << 20, 64)
        if not message:
            os._exit(0)
        wanted = json.loads(message)
        if os.fork() == 0:
            break
        for descriptor in given:
            os.close(descriptor)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    channel.close()
    split = 4 + wanted["cgroups"]
    stdin, stdout, stderr, status = given[:4]
    os.dup2(stderr, 2)
    _enter(given[4:split], given[split:])
    child = os.fork()
    if child != 0:
        for descriptor in (stdin, stdout, stderr):
            os.close(descriptor)
        _wait(child, status)
    os.dup2(stdin, 0)
    os.dup2(stdout, 1)
    for descriptor in given[:4]:
        os.close(descriptor)
    os.environ.clear()
    os.environ.update(wanted["environment"])
    return list(wanted["command"])


def _end(error: BaseException | None) -> t.NoReturn:
    """Exit as Python does, but leave it to the kernel to free what was imported: that takes as long as most modules run."""
    code: t.Any = error.code if isinstance(error, SystemExit) else error and 1
    if error is not None and not isinstance(error, SystemExit):
        traceback.print_exception(error)
    elif code is not None and not isinstance(code, int):
        print(code, file=sys.stderr)
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code or 0)


def main() -> None:
    """Import, then serve; the fork runs its program."""
    channel = socket.socket(fileno=int(sys.argv.pop()))
    channel.set_inheritable(False)
    sys.path[0] = "/"
    _import_all()
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    sys.argv = _serve(channel)
    try:
        if os.path.isabs(sys.argv[0]):
            runpy.run_path(sys.argv[0], run_name="__main__")
        else:
            runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    finally:
        _end(sys.exc_info()[1])


if __name__ == "__main__":
    main()
