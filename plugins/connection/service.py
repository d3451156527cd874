# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tasks inside a service, over whatever connection the play has to the service's host."""

from __future__ import annotations

DOCUMENTATION = r"""
name: service
short_description: Run tasks inside an isolated service
version_added: 0.1.0
author: daemonless.isolation contributors (@daemonless)
description:
  - Runs commands and copies files inside a service of M(daemonless.isolation.namespaced_service), on this host or over ssh on another one.
  - What runs there is in the service's namespaces and control groups, under its limits, its device policy and its system call filter, with its user and
    capabilities. It ends with the service.
  - Files are read and written by processes inside, so that a symbolic link inside leads nowhere outside.
  - Modules need Python inside. Without it, M(ansible.builtin.raw) works, and copying as it is done by plugins of the controller.
  - On the host, the task is root, by the user of the connection or by O(host_become).
notes:
  - Modules are copied below C(remote_tmp) (by default C(~/.ansible/tmp)), which the service's user must be able to write to. With
    C(ansible_pipelining=true) most modules need no file there.
  - "C(become) inside works only for a service that has programs for it and may change its user; the default C(no_new_privs) refuses that. Use O(service_user)
    instead."
  - Passwords for O(host_become) are not asked for.
options:
  service:
    description:
      - The instance, or a service of which one instance runs.
    type: str
    vars:
      - name: inventory_hostname
      - name: ansible_isolation_service
  service_user:
    description:
      - Numbers of the user and the group inside, as V(1000:1000). By default those of the service itself. Capabilities stay those of the service.
    type: str
    vars:
      - name: ansible_isolation_user
  shell:
    description:
      - The shell inside that commands are given to.
    type: str
    default: /bin/sh
    vars:
      - name: ansible_isolation_shell
  host_connection:
    description:
      - How the host is reached.
    type: str
    choices: [ssh, local]
    default: ssh
    vars:
      - name: ansible_isolation_connection
  host_become:
    description:
      - Whether commands on the host are run by O(host_become_command), since the user of the connection is not root.
    type: bool
    default: false
    vars:
      - name: ansible_isolation_become
  host_become_command:
    description:
      - What makes a command on the host run as root, without asking.
    type: str
    default: sudo -n
    vars:
      - name: ansible_isolation_become_command
  host:
    description:
      - The service's host, for ssh.
    type: str
    vars:
      - name: inventory_hostname
      - name: ansible_host
      - name: ansible_ssh_host
      - name: ansible_isolation_host
  port:
    description:
      - The host's port, for ssh.
    type: int
    vars:
      - name: ansible_port
      - name: ansible_ssh_port
  remote_user:
    description:
      - The user on the host, for ssh.
    type: str
    vars:
      - name: ansible_user
      - name: ansible_ssh_user
    cli:
      - name: user
        option: --user
    keyword:
      - name: remote_user
  password:
    description:
      - The password of that user, for ssh with C(sshpass).
    type: str
    vars:
      - name: ansible_password
      - name: ansible_ssh_pass
      - name: ansible_ssh_password
  private_key_file:
    description:
      - The file with the private key, for ssh.
    type: str
    vars:
      - name: ansible_private_key_file
      - name: ansible_ssh_private_key_file
    cli:
      - name: private_key_file
        option: --private-key
  ssh_args:
    description:
      - Arguments for ssh instead of Ansible's own.
    type: str
    vars:
      - name: ansible_ssh_args
  ssh_common_args:
    description:
      - More arguments for ssh.
    type: str
    vars:
      - name: ansible_ssh_common_args
  ssh_extra_args:
    description:
      - Still more arguments for ssh.
    type: str
    vars:
      - name: ansible_ssh_extra_args
  ssh_executable:
    description:
      - The ssh program.
    type: str
    vars:
      - name: ansible_ssh_executable
  host_key_checking:
    description:
      - Whether ssh refuses a host whose key is not known.
    type: bool
    vars:
      - name: ansible_host_key_checking
      - name: ansible_ssh_host_key_checking
  reconnection_retries:
    description:
      - How often ssh tries again to connect.
    type: int
    vars:
      - name: ansible_ssh_retries
  timeout:
    description:
      - How many seconds ssh tries to connect.
    type: int
    vars:
      - name: ansible_ssh_timeout
"""

import os
import shlex
import typing as t

from ansible.errors import AnsibleConnectionFailure, AnsibleError, AnsibleFileNotFound
from ansible.plugins.connection import ConnectionBase
from ansible.plugins.loader import connection_loader
from ansible.utils.display import Display

from ..plugin_utils import _entering

display = Display()

FOR_SSH = (
    "host", "port", "remote_user", "password", "private_key_file", "ssh_args", "ssh_common_args", "ssh_extra_args",
    "ssh_executable", "host_key_checking", "reconnection_retries", "timeout",
)  # fmt: skip
"""Options that are handed on to the plugin ssh, which has them by the same names. What is not set here is ssh's own matter."""


class Connection(ConnectionBase):
    """A way into a service."""

    transport = "daemonless.isolation.service"
    has_pipelining = True
    has_tty = False

    _host: t.Any = None

    def _connect(self) -> Connection:
        """Have a connection to the host; what it opens, it opens with the first command."""
        if self._host is None:
            kind = self.get_option("host_connection")
            self._host = connection_loader.get(kind, self._play_context, os.devnull)
            given = {name: self.get_option(name) for name in FOR_SSH} if kind == "ssh" else {}
            self._host.set_options(direct={name: value for name, value in given.items() if value is not None})
            self._connected = True
        return self

    def _inside(self, script: str, data: bytes | None = None) -> tuple[int, bytes, bytes]:
        """Run shell code inside.

        :raises AnsibleConnectionFailure: the service can't be entered.
        """
        self._connect()
        service = self.get_option("service")
        if not service:
            raise AnsibleConnectionFailure("which service is meant? set ansible_isolation_service")
        shell = self.get_option("shell")
        line = _entering.command_line(
            service,
            [shell, "-c", script],
            user=self.get_option("service_user"),
            become=shlex.split(self.get_option("host_become_command")) if self.get_option("host_become") else [],
        )
        display.vvv(f"ISOLATION {service}: {script}", host=self.get_option("host"))
        status, output, errors = self._host.exec_command(line, in_data=data, sudoable=False)
        trouble = _entering.trouble(service, shell, status, bytes(errors).decode(errors="replace"))
        if trouble is not None:
            raise AnsibleConnectionFailure(trouble)
        return status, output, errors

    def exec_command(self, cmd: str, in_data: bytes | None = None, sudoable: bool = True) -> tuple[int, bytes, bytes]:
        """Run a command inside; it is shell code."""
        super().exec_command(cmd, in_data=in_data, sudoable=sudoable)
        return self._inside(cmd, in_data)

    def put_file(self, in_path: str, out_path: str) -> None:
        """Write a file of the controller to the service, from the inside.

        :raises AnsibleFileNotFound: there is no such file on the controller.
        :raises AnsibleError: it can't be written inside.
        """
        super().put_file(in_path, out_path)
        if not os.path.isfile(in_path):
            raise AnsibleFileNotFound(f"{in_path}: no such file on the controller")
        with open(in_path, "rb") as stream:
            number = 0
            while True:
                block = stream.read(_entering.BLOCK)
                if not block and number:
                    return
                script = _entering.write(out_path, number, empty=not block)
                status, _output, errors = self._inside(script, block or None)
                if status != 0:
                    raise AnsibleError(self._said(f"{in_path} can't be written to {out_path}", errors))
                number += 1

    def fetch_file(self, in_path: str, out_path: str) -> None:
        """Read a file of the service to the controller, from the inside.

        :raises AnsibleError: it can't be read inside.
        """
        super().fetch_file(in_path, out_path)
        with open(out_path, "wb") as stream:
            number = 0
            while True:
                status, block, errors = self._inside(_entering.read(in_path, number))
                if status != 0:
                    raise AnsibleError(self._said(f"{in_path} can't be read", errors))
                stream.write(block)
                if len(block) < _entering.BLOCK:
                    return
                number += 1

    def _said(self, what: str, errors: bytes) -> str:
        return (
            f"service {self.get_option('service')}: {what}: {errors.decode(errors='replace').strip() or 'no message'}"
        )

    def reset(self) -> None:
        """Connect to the host anew."""
        if self._host is not None and hasattr(self._host, "reset"):
            self._host.reset()

    def close(self) -> None:
        """End the connection to the host."""
        if self._host is not None:
            self._host.close()
            self._host = None
        self._connected = False
