# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What rootfs_prepare does on the controller: send archives whose images a host lacks, and tell how it goes.

It runs around the module of the same name. A task whose sources are all on the host costs nothing more than the module.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
import typing as t

from ansible import constants
from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.plugins.action import ActionBase

from ..module_utils import _paths
from ..plugin_utils import _archives
from ..plugin_utils._archives import Local, Place

_MODULE = "daemonless.isolation.rootfs_prepare"

_ASK = (
    f"uname -m; for image in {_paths.IMAGES}/sha256-*; do"
    ' if [ -s "$image/image.json" ] && [ -d "$image/rootfs" ]; then echo "$image"; fi; done'
)


class ActionModule(ActionBase):
    """The action of the module rootfs_prepare."""

    _supports_async = True
    _work = "root filesystems"
    _patience = 5.0
    """Seconds after which a task says that it is still at work."""

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Send what has to be sent, run the module, tell what it did."""
        super().run(tmp, task_vars)
        del tmp
        variables = task_vars or {}
        self._host = str(variables.get("inventory_hostname", "host"))
        arguments = _archives.plain_copy(self._task.args)
        wanted = _archives.places(arguments)
        if self._task.async_val:
            if wanted:
                raise AnsibleActionFail(
                    "remote_src: false can't be combined with async: what is sent has to stay until it is unpacked; copy the"
                    " archive to the host first, or leave async out"
                )
            return self._execute_module(_MODULE, arguments, task_vars=variables, wrap_async=True)  # type: ignore[no-any-return]
        try:
            if wanted:
                self._provide(wanted)
            with self._patient():
                answer = self._execute_module(_MODULE, arguments, task_vars=variables)
        finally:
            self._remove_tmp_path(self._connection._shell.tmpdir)
        for line in _archives.progress(answer.get("results")):
            self._tell(line)
        return answer  # type: ignore[no-any-return]

    def _tell(self, line: str) -> None:
        if not self._task.no_log:
            self._display.display(f"{self._host}: {line}")

    @contextlib.contextmanager
    def _patient(self) -> t.Iterator[None]:
        """Say that the module is still at work, if it is after a while."""
        timer = threading.Timer(
            self._patience, self._tell, (f"{self._work}: still at work after {self._patience:g} s",)
        )
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _find(self, place: Place) -> Local:
        """What an element wants of the controller."""
        source = place.source
        if place.kind == "directory" and source.get("revision"):
            raise AnsibleActionFail(
                "source.directory.revision: of a directory on the controller, every content is an image of its own: leave"
                " revision out"
            )
        if place.kind == "tar" and source.get("url"):
            raise AnsibleActionFail("source.tar: give either path or url")
        given = str(source["path"])
        try:
            path = self._find_needle("files", os.path.expanduser(given))
        except AnsibleError as error:
            raise AnsibleActionFail(
                f"source.{place.kind}.path: {given}: not found on the controller: {error}"
            ) from error
        return Local(place.kind, given, path, source.get("reference"), source.get("checksum"))

    def _ask(self) -> tuple[str, set[str]]:
        """The host's architecture, and the digests of its images."""
        answer = self._low_level_execute_command(f"/bin/sh -c '{_ASK}'")
        if answer["rc"] != 0:
            raise AnsibleActionFail(f"the host can't be asked which images it has: {answer['stderr']}")
        lines = [line.strip() for line in answer["stdout"].splitlines() if line.strip()]
        images = {os.path.basename(line).replace("-", ":", 1) for line in lines if line.startswith(_paths.IMAGES)}
        return next((line for line in lines if not line.startswith("/")), ""), images

    def _provide(self, wanted: t.Sequence[Place], send: bool = True) -> None:
        """Let every element name an archive on the host, which is sent unless its image is there; without `send` none is."""
        found = [self._find(place) for place in wanted]
        machine, there = self._ask()
        digests = {local: _archives.digest_of(local, machine) for local in dict.fromkeys(found)}
        sent: dict[str, str] = {}
        for place, local in zip(wanted, found):
            digest = digests[local]
            if send and digest not in sent and not self._task.check_mode and (digest not in there or place.verify):
                sent[digest] = self._send(local, digest)
        for place, local in zip(wanted, found):
            place.element["source"] = _archives.replacement(local, digests[local], sent.get(digests[local]))
            place.element["remote_src"] = True

    def _send(self, local: Local, digest: str) -> str:
        """Send an archive to the host; return where it is."""
        shell = self._connection._shell
        if shell.tmpdir is None:
            self._make_tmp_path()
        target = shell.join_path(shell.tmpdir, f"{digest.replace(':', '-')}.tar")
        if not os.path.isdir(local.path):
            self._transfer(local, local.path, target)
        else:
            with tempfile.NamedTemporaryFile(dir=constants.DEFAULT_LOCAL_TMP) as stream:
                try:
                    _archives.pack(local, t.cast("t.IO[bytes]", stream))
                except Exception as error:
                    raise AnsibleActionFail(f"source.{local.kind}: {local.given}: can't be packed: {error}") from error
                stream.flush()
                self._transfer(local, stream.name, target)
        self._fixup_perms2((shell.tmpdir, target))
        return str(target)

    def _transfer(self, local: Local, path: str, target: str) -> None:
        self._tell(f"sending {local.given}: {_archives.megabytes(os.path.getsize(path))}")
        self._transfer_file(path, target)
