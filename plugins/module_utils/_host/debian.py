# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Debian root filesystems by mmdebstrap(1)."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import typing as t

from .._errors import IsolationError
from .files import read_text
from .process import SEARCH_PATH, require_tool, run

_ARCHIVE_KEYS = "debian-archive-"
_TIMEOUT = 1800


class DebianError(IsolationError):
    """mmdebstrap has refused."""


def _is_debian() -> bool:
    return re.search(r"^ID=[\"']?debian[\"']?$", read_text("/etc/os-release") or "", re.MULTILINE) is not None


def _fits(suites: t.Sequence[str], components: t.Sequence[str], signed_by: str, suite: str) -> list[str]:
    """Of a source's suites those that belong to a Debian release, if it is Debian's own archive (its keys sign it)."""
    if "main" not in components or (signed_by and _ARCHIVE_KEYS not in os.path.basename(signed_by)):
        return []
    return [name for name in suites if name in (suite, f"{suite}-updates", f"{suite}-security", f"{suite}/updates")]


def _deb822(text: str, suite: str) -> list[str]:
    """One-line sources of a .sources file (sources.list(5), deb822 style)."""
    lines = []
    for stanza in re.split(r"\n\s*\n", text):
        plain = "\n".join(line for line in stanza.splitlines() if not line.startswith("#"))
        fields = {
            key.lower(): value.split()
            for key, value in re.findall(r"^([\w-]+):((?:.*)(?:\n[ \t].*)*)", plain, re.MULTILINE)
        }
        if "deb" not in fields.get("types", []) or fields.get("enabled") == ["no"]:
            continue
        signed_by = " ".join(fields.get("signed-by", []))
        for name in _fits(fields.get("suites", []), fields.get("components", []), signed_by, suite):
            lines += [_line(uri, name, fields["components"], signed_by) for uri in fields.get("uris", [])]
    return lines


def _one_line(text: str, suite: str) -> list[str]:
    """One-line sources of a .list file (sources.list(5))."""
    lines = []
    for line in text.splitlines():
        match = re.match(r"\s*deb\s+(?:\[(.*?)\]\s+)?(\S+)\s+(\S+)\s+([^#]+)", line)
        if match:
            options = dict(option.partition("=")[::2] for option in shlex.split(match.group(1) or ""))
            components, signed_by = match.group(4).split(), options.get("signed-by", "")
            lines += [
                _line(match.group(2), name, components, signed_by)
                for name in _fits([match.group(3)], components, signed_by, suite)
            ]
    return lines


def _line(uri: str, suite: str, components: t.Sequence[str], signed_by: str) -> str:
    option = f" [signed-by={signed_by}]" if signed_by.startswith("/") else ""
    return f"deb{option} {uri} {suite} {' '.join(components)}"


def host_sources(suite: str, folder: str = "/etc/apt") -> list[str]:
    """The host's own sources for a Debian release, as lines of sources.list(5); none if the host has none for it."""
    lines = _one_line(read_text(os.path.join(folder, "sources.list")) or "", suite)
    try:
        entries = sorted(os.listdir(os.path.join(folder, "sources.list.d")))
    except OSError:
        entries = []
    for entry in entries:
        text = read_text(os.path.join(folder, "sources.list.d", entry)) or ""
        if entry.endswith(".sources"):
            lines += _deb822(text, suite)
        elif entry.endswith(".list"):
            lines += _one_line(text, suite)
    return list(dict.fromkeys(lines))


def _sources(suite: str, mirror: str | None) -> list[str]:
    """What mmdebstrap is given as its sources; with none it takes Debian's public mirror and security archive."""
    if mirror is not None:
        return [f"deb {mirror} {suite} main"]
    lines = host_sources(suite) if _is_debian() else []
    return lines if any(f" {suite} " in line for line in lines) else []


def _proxies() -> dict[str, str]:
    """The host's proxies for apt, as the environment of a tool: mmdebstrap doesn't read the host's apt.conf."""
    settings = {name: os.environ[name] for name in ("http_proxy", "https_proxy", "no_proxy") if name in os.environ}
    for scheme in ("http", "https"):
        done = run(["apt-config", "shell", "proxy", f"Acquire::{scheme}::Proxy"], check=False)
        match = re.match(r"proxy='(.+)'", done.stdout)
        if match and match.group(1) != "DIRECT":
            settings[f"{scheme}_proxy"] = match.group(1)
    return settings


def bootstrap(suite: str, variant: str, include: t.Sequence[str], mirror: str | None, archive: str, work: str) -> None:
    """Make a Debian root filesystem as a tar archive. Package lists and downloaded packages are left out of it.

    :raises DebianError: mmdebstrap failed; the message has the end of what it said.
    :raises ToolError: it is not installed.
    """
    argv = [require_tool("mmdebstrap"), "--mode=root", f"--variant={variant}", "--format=tar"]
    argv += [f"--include={','.join(include)}"] if include else []
    argv += [suite, archive, *_sources(suite, mirror)]
    environment = {
        "PATH": SEARCH_PATH,
        "LC_ALL": "C",
        "HOME": "/root",
        "TMPDIR": work,
        "DEBIAN_FRONTEND": "noninteractive",
    }
    if os.path.exists("/usr/bin/apt-config"):
        environment.update(_proxies())
    try:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment, cwd="/",
            timeout=_TIMEOUT, text=True, errors="replace", check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise DebianError(f"mmdebstrap {suite}: no end after {_TIMEOUT} s: is the mirror reachable?") from error
    if done.returncode != 0:
        said = [
            line for line in done.stdout.splitlines() if re.match(r"[EW]: |E:|.*(?:Unable|Failed|failed)", line)
        ] or done.stdout.splitlines()
        raise DebianError(
            f"mmdebstrap of {suite} ({variant}) failed with status {done.returncode}: {'; '.join(said[-6:])}"
        )
