# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Images of registries, by skopeo(1). Credentials reach it by a file in memory: they are in no command line and on no disk."""

from __future__ import annotations

import base64
import contextlib
import ctypes
import json
import os
import re
import signal
import subprocess
import tempfile
import typing as t

from .._errors import IsolationError
from .access import Access
from .process import SEARCH_PATH, require_tool

_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1
_ASKING = 60
_COPYING = 1800
_POLICIES = ("/etc/containers/policy.json", "/usr/share/containers/policy.json", "/root/.config/containers/policy.json")
_PASSED = (
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "HOME",
    "XDG_RUNTIME_DIR",
    "REGISTRY_AUTH_FILE",
)
_REMEDIES = (
    (r"did not match|size mismatch|unexpected EOF", "the registry's copy is damaged, or was cut off: run again, or push the image again"),
    (r"server gave HTTP response to HTTPS client", "it speaks plain HTTP: set tls_verify: false if that is meant"),
    (r"x509|certificate", "give the certificate of its authority by ca_path"),
    (r"unauthorized|authentication required|invalid username|access .*denied", "give username and password that may read it"),
    (r"no space left", "make room under /var/lib/isolation, or remove images that nothing uses (prune_images: true)"),
    (r"connection refused|no such host|i/o timeout|no route|unreachable|server misbehaving", "is the registry up, and can this host reach it?"),
    (r"manifest unknown|name unknown|not found", "is the name right, and has it been pushed?"),
)  # fmt: skip


class SkopeoError(IsolationError):
    """A registry has refused, or can't be reached."""


@contextlib.contextmanager
def _authfile(access: Access) -> t.Iterator[int | None]:
    """A descriptor of a file in memory with the credentials, as containers-auth.json(5) has them."""
    if access.username is None:
        yield None
        return
    pair = base64.b64encode(f"{access.username}:{access.password}".encode()).decode()
    descriptor = os.memfd_create("auth", 0)
    try:
        os.write(descriptor, json.dumps({"auths": {access.server: {"auth": pair}}}).encode())
        yield descriptor
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _certificates(access: Access) -> t.Iterator[str | None]:
    """A directory of certificates, as containers-certs.d(5) has them."""
    if access.ca_path is None:
        yield None
        return
    if not os.path.isfile(access.ca_path):
        raise SkopeoError(f"source.registry.ca_path: {access.ca_path}: there is no such file on this host")
    with tempfile.TemporaryDirectory(prefix=".isolation-") as folder:
        os.symlink(access.ca_path, os.path.join(folder, "ca.crt"))
        yield folder


def _die_with_parent() -> None:
    """Let a tool end with the run that has started it: the next one removes what both have left."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL), 0, 0, 0)


def _explain(said: str) -> str:
    """The last error of skopeo's log, and a remedy if there is one."""
    messages = re.findall(r'level=(?:fatal|error) msg="((?:[^"\\]|\\.)*)"', said)
    message = re.sub(r"\\(.)", r"\1", messages[-1]) if messages else said.strip()[-500:] or "no message"
    remedy = next((text for pattern, text in _REMEDIES if re.search(pattern, message)), None)
    return f"{message}: {remedy}" if remedy else message


def _run(verb: str, prefix: str, arguments: t.Sequence[str], reference: str, access: Access, timeout: int) -> bytes:
    """What skopeo answers. `prefix` is that of its options about the source.

    :raises SkopeoError: it has failed, or came to no end within `timeout` seconds.
    :raises ToolError: it is not installed.
    """
    argv = [require_tool("skopeo")]
    argv += [] if any(map(os.path.exists, _POLICIES)) else ["--insecure-policy"]  # this host has no rules of its own
    argv += [verb, f"--{prefix}tls-verify={'true' if access.tls_verify else 'false'}"]
    environment = {"PATH": SEARCH_PATH, "LC_ALL": "C", "HOME": "/root"}
    environment.update({name: os.environ[name] for name in _PASSED if name in os.environ})
    with _authfile(access) as authfile, _certificates(access) as certificates:
        argv += [f"--{prefix}authfile", f"/proc/self/fd/{authfile}"] if authfile is not None else []
        argv += [f"--{prefix}cert-dir", certificates] if certificates is not None else []
        try:
            done = subprocess.run(
                [*argv, *arguments], stdin=subprocess.DEVNULL, capture_output=True, env=environment, cwd="/",
                timeout=timeout, pass_fds=[] if authfile is None else [authfile], preexec_fn=_die_with_parent, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired as error:
            raise SkopeoError(
                f"source.registry: {reference}: skopeo {verb}: no end after {timeout} s: is the registry up, and can this host reach it?"
            ) from error
    if done.returncode != 0:
        said = _explain(done.stderr.decode(errors="replace"))
        raise SkopeoError(f"source.registry: {reference}: skopeo {verb} failed: {said}")
    return done.stdout


def inspect(reference: str, access: Access) -> bytes:
    """The manifest or index of a reference, byte by byte as the registry has it. Reads only.

    :raises SkopeoError: the registry can't be reached, or refused.
    """
    return _run("inspect", "", ["--raw", f"docker://{reference}"], reference, access, _ASKING)


def inspect_config(reference: str, access: Access) -> bytes:
    """The configuration of an image, byte by byte as the registry has it. Reads only.

    :raises SkopeoError: the registry can't be reached, or refused.
    """
    return _run("inspect", "", ["--config", "--raw", f"docker://{reference}"], reference, access, _ASKING)


def copy(reference: str, access: Access, folder: str) -> None:
    """Copy an image into a new directory: `manifest.json`, and blobs by the hexadecimal part of their digest. Nothing is converted.

    :raises SkopeoError: the registry can't be reached, or refused, or the disk is full.
    """
    _run("copy", "src-", ["-q", f"docker://{reference}", f"dir:{folder}"], reference, access, _COPYING)
