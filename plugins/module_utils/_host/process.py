# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Starting the host's own tools."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import typing as t
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from .._errors import IsolationError

SEARCH_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


T = t.TypeVar("T")


class ToolError(IsolationError):
    """A tool of the host is missing or has refused."""


@dataclass(frozen=True)
class Completed:
    """What a finished tool said."""

    returncode: int
    stdout: str
    stderr: str


def find_tool(name: str) -> str | None:
    """The absolute path of a tool, also where the caller's PATH lacks the sbin directories; None if it is not installed."""
    return shutil.which(name, path=SEARCH_PATH)


def require_tool(name: str, package: str | None = None) -> str:
    """The absolute path of a tool that must be there.

    :raises ToolError: it is not installed; the message names the package.
    """
    path = find_tool(name)
    if path is None:
        raise ToolError(
            f"{name} is not installed on this host: install the package {package or name},"
            " or apply the role daemonless.isolation.isolation_host first"
        )
    return path


def run(
    argv: t.Sequence[str],
    *,
    stdin: str | None = None,
    check: bool = True,
    timeout: float | None = 120,
    cwd: str = "/",
    pass_fds: t.Sequence[int] = (),
) -> Completed:
    """Run a tool to its end in the C locale, and return what it said.

    :raises ToolError: it is missing, it ran longer than `timeout` seconds, or (with `check`) it failed.
    """
    path = require_tool(argv[0])
    environment = {"LC_ALL": "C", "PATH": SEARCH_PATH, "HOME": os.environ.get("HOME", "/root")}
    try:
        done = subprocess.run(
            [path, *argv[1:]],
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            env=environment,
            cwd=cwd,
            timeout=timeout,
            pass_fds=pass_fds,
            check=False,
            text=True,
            errors="replace",
        )
    except subprocess.TimeoutExpired as error:
        raise ToolError(f"{' '.join(argv)}: no end after {timeout:g} s; it was killed") from error
    except OSError as error:
        raise ToolError(f"{' '.join(argv)}: {error.strerror}") from error
    if check and done.returncode != 0:
        answer = done.stderr.strip() or done.stdout.strip() or "no message"
        raise ToolError(f"{' '.join(argv)} failed with status {done.returncode}: {answer}")
    return Completed(done.returncode, done.stdout, done.stderr)


@functools.lru_cache(maxsize=1)
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=4)


def aside(work: t.Callable[[], T]) -> Future[T]:
    """Have work done beside other work, such as waiting for a tool of the host. Its `result()` raises its error."""
    return _pool().submit(work)
