# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Running services as hosts."""

from __future__ import annotations

DOCUMENTATION = r"""
name: service
short_description: Isolated services as hosts
version_added: 0.1.0
author: daemonless.isolation contributors (@daemonless)
description:
  - Makes a host of each running instance of M(daemonless.isolation.namespaced_service), for plays that work inside by the connection plugin
    P(daemonless.isolation.service#connection).
  - The hosts that are asked come from inventory sources before this one, so that this one has to come after them. They are asked at the same time, by the
    connection plugin that each of them has.
  - "An instance C(web-3fa91c2) on the host C(alpha) is the host C(web-3fa91c2.alpha). Its groups are C(isolation_services), C(service_web), C(on_alpha) and
    C(project_default), with underscores where a group's name can't have another character."
  - The file's name ends in C(isolation.yml) or C(isolation.yaml).
options:
  plugin:
    description: Says that the file is this plugin's.
    type: str
    required: true
    choices: [daemonless.isolation.service]
  hosts:
    description:
      - Hosts and groups to ask, of those in sources before this one.
    type: list
    elements: str
    default: [isolation]
  projects:
    description:
      - Only services of these projects. Without it, all are taken.
    type: list
    elements: str
    default: []
  stopped:
    description:
      - Whether instances that don't run are taken, too.
    type: bool
    default: false
  strict_hosts:
    description:
      - Whether a host that can't be asked is an error. Otherwise there is a warning, and its services are missing.
    type: bool
    default: false
  forks:
    description:
      - How many hosts are asked at the same time.
    type: int
    default: 20
extends_documentation_fragment:
  - constructed
seealso:
  - module: daemonless.isolation.host_info
  - plugin: daemonless.isolation.service
    plugin_type: connection
"""

EXAMPLES = r"""
# services.isolation.yml, used as: ansible-playbook -i hosts.yml -i services.isolation.yml backup.yml
plugin: daemonless.isolation.service
hosts: [isolation]
projects: [default]
# Variables of an instance are isolation_name, isolation_service, isolation_project, isolation_addresses, isolation_slice and isolation_host.
keyed_groups:
  - key: isolation_slice
    prefix: slice
"""

import concurrent.futures
import json
import os
import typing as t

from ansible.errors import AnsibleParserError
from ansible.inventory.group import to_safe_group_name
from ansible.inventory.helpers import get_group_vars
from ansible.playbook.play_context import PlayContext
from ansible.plugins.inventory import BaseInventoryPlugin, Constructable
from ansible.plugins.loader import connection_loader
from ansible.template import Templar
from ansible.utils.vars import combine_vars
from ansible.vars.plugins import get_vars_from_inventory_sources

from ..plugin_utils import _entering


class InventoryModule(BaseInventoryPlugin, Constructable):
    """An inventory of services."""

    NAME = "daemonless.isolation.service"

    def verify_file(self, path: str) -> bool:
        """Whether a file may be this plugin's."""
        return super().verify_file(path) and path.endswith(("isolation.yml", "isolation.yaml"))

    def parse(self, inventory: t.Any, loader: t.Any, path: str, cache: bool = True) -> None:
        """Ask the hosts, and add what they tell.

        :raises AnsibleParserError: nothing is to be asked, or a host can't be asked and that is an error.
        """
        super().parse(inventory, loader, path, cache)
        self._read_config_data(path)
        names = self._asked()
        with concurrent.futures.ThreadPoolExecutor(max(1, self.get_option("forks"))) as pool:
            answers = list(pool.map(self._ask, names))
        for name, answer in zip(names, answers):
            if isinstance(answer, str):
                if self.get_option("strict_hosts"):
                    raise AnsibleParserError(f"{path}: {name}: {answer}")
                self.display.warning(f"{path}: {name} can't be asked for its services: {answer}")
                continue
            for found in answer:
                self._add(name, found)

    def _asked(self) -> list[str]:
        names: dict[str, None] = {}
        for wanted in self.get_option("hosts"):
            if wanted in self.inventory.groups:
                names.update({host.name: None for host in self.inventory.groups[wanted].get_hosts()})
            elif wanted in self.inventory.hosts:
                names[wanted] = None
        if not names:
            raise AnsibleParserError(
                f"hosts: none of {', '.join(self.get_option('hosts'))} is a host or group of the inventory sources before this one:"
                " name a source that has them first (-i hosts.yml -i services.isolation.yml)"
            )
        return list(names)

    def _variables(self, name: str) -> dict[str, t.Any]:
        """What the host's own connection needs, templated."""
        host = self.inventory.hosts[name]
        sources = self.inventory.processed_sources
        variables = get_group_vars(host.get_groups())
        for entities in (host.get_groups(), [host]):
            variables = combine_vars(variables, get_vars_from_inventory_sources(self.loader, sources, entities, "all"))
        variables = combine_vars(variables, host.get_vars())
        templar = Templar(loader=self.loader, variables={**variables, "inventory_hostname": name})
        given = {key: value for key, value in variables.items() if key.startswith("ansible_")}
        return {"inventory_hostname": name, **{key: templar.template(value) for key, value in given.items()}}

    def _ask(self, name: str) -> list[dict[str, t.Any]] | str:
        """What a host tells, or why it does not."""
        try:
            variables = self._variables(name)
            kind = variables.get("ansible_connection", "ssh")
            connection = connection_loader.get(kind, PlayContext(), os.devnull)
            connection.set_options(var_options=variables)
            status, output, errors = connection.exec_command(_entering.listing(variables), sudoable=False)
            connection.close()
        except Exception as error:  # noqa: BLE001 - a plugin may raise what it likes; other hosts are asked all the same
            return str(error) or type(error).__name__
        said = bytes(errors).decode(errors="replace").strip()
        if status in (126, 127):
            return []  # without the helper there has never been a service
        if status != 0:
            return said or f"status {status}"
        try:
            return list(json.loads(output))
        except ValueError:
            return f"an answer that is no JSON: {bytes(output)[:80]!r}"

    def _add(self, host: str, found: dict[str, t.Any]) -> None:
        """Add an instance, with its variables and groups."""
        projects = self.get_option("projects")
        if (projects and found["project"] not in projects) or (found["pid"] is None and not self.get_option("stopped")):
            return
        name = f"{found['name']}.{host}"
        self.inventory.add_host(name)
        variables = _entering.variables(host, found, self._variables(host))
        for key, value in variables.items():
            self.inventory.set_variable(name, key, value)
        for group in ("isolation_services", f"service_{found['service']}", f"on_{host}", f"project_{found['project']}"):
            self.inventory.add_child(self.inventory.add_group(to_safe_group_name(group, force=True, silent=True)), name)
        strict = self.get_option("strict")
        self._set_composite_vars(self.get_option("compose"), variables, name, strict=strict)
        self._add_host_to_composed_groups(self.get_option("groups"), variables, name, strict=strict)
        self._add_host_to_keyed_groups(self.get_option("keyed_groups"), variables, name, strict=strict)
