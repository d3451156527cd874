#!/usr/bin/python

# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: nat_portmap
short_description: Publish ports of isolated services on the host
version_added: 0.1.0
author: daemonless.isolation contributors (@daemonless)
description:
  - Leads ports of the host to services, by destination translation in the nftables table C(inet isolation_nat). No process stands between, and none is started.
  - Published ports are elements of maps. The number of rules does not depend on them, and neither does the cost of a connection.
  - All changes of a task, for all its owners, are one nftables transaction. A port that gets another target is swapped in it, so that no connection
    is refused in between, and established TCP connections stay where they are. Tracked UDP connections of changed ports are forgotten, so that clients
    which go on sending follow.
  - A published port can be reached from other machines, from the host by its own addresses and by 127.0.0.1, and from services by the host's
    addresses. The service sees the client's own address, except for clients at 127.0.0.1 and for itself.
  - Packets from or to 127.0.0.0/8 and ::1 that do not come from the loopback interface are dropped as soon as the table is there. So what is published
    on 127.0.0.1 stays on this host.
  - What a change of each option does to a running host is the same for all of them, it is live. Established TCP connections go on with the target and the
    permission that they have, new ones get the new ones. UDP has no connections. Clients whose target is gone, or who are no longer allowed,
    follow with their next packet. Others stay with their target.
  - C(/etc/isolation/nat.nft) holds the whole table. It is written before the transaction, and brings the table back at boot.
notes:
  - Host ports are exclusive, as for bind(2). A port of every address can't be published on one address again, neither by the same owner nor by another.
  - From 127.0.0.1 a service is reached through a bridge of M(daemonless.isolation.bridge), which sets C(route_localnet) on its link.
    For other links set it yourself.
  - C([::1]) can't be published by address translation, since the kernel sends nothing from it out of a link.
  - Where bridged packets go through the host's firewall (C(bridge-nf-call-iptables) is 1), a service reaches its own published port only if its bridge port has
    the flag C(hairpin).
  - O(mappings[].allow_from) and O(mappings[].deny_from) are for clients that come over a link, services on this host among them. The host's own processes
    are not judged.
  - It warns of what drops packets to services although they are published. That is a chain at the hook forward with the policy drop, of Docker or ufw,
    in nftables or in the older iptables, whose table does not accept what comes from and goes to our bridges, and C(StrictForwardPorts=yes) of firewalld.
    It changes neither.
  - A service address is led to its service from the host itself and from services on our bridges, not from outside.
requirements:
  - Linux 5.10
  - nftables 1.0.6
  - pyroute2 0.7
options:
  name:
    description:
      - The owner of the mappings, usually the name of the service. Lower-case letters, digits and inner dashes, at most 48 characters.
      - The mappings that are given here are all that this owner has. Others of its are removed.
    type: str
  mappings:
    description: What is published.
    type: list
    elements: dict
    default: []
    suboptions:
      host_address:
        description:
          - Address of the host at which the port is published.
          - Defaults to every address of the family of O(mappings[].address), those that come later included.
          - V(127.0.0.1) keeps it on this host.
        type: str
      host_port:
        description: Port of the host, or a range such as V(9000-9009).
        type: str
        required: true
      protocol:
        description: The protocol.
        type: str
        choices: [tcp, udp, sctp]
        default: tcp
      address:
        description: Address of the service, IPv4 or IPv6. Either this or O(mappings[].backends) is required.
        type: str
      port:
        description:
          - Port of the service, or a range that is as long as that of O(mappings[].host_port). Defaults to the same numbers.
          - A range that keeps its numbers is one element of a map, another one an element for each port.
        type: str
      backends:
        description:
          - Several targets of one family for a single port of the host, in place of O(mappings[].address) and O(mappings[].port). Each new
            connection gets the next one.
          - A change of the set leaves established TCP connections where they are, and UDP clients of targets that stay, too.
          - Whether a target answers is not looked after. Take out those that do not.
        type: list
        elements: dict
        suboptions:
          address:
            description: Address of the target.
            type: str
            required: true
          port:
            description: Port of the target. Defaults to O(mappings[].host_port).
            type: int
      allow_from:
        description:
          - Networks of clients that may connect, such as V(10.0.0.0/8) or V(192.0.2.9), of the family of the target. Everybody if it is not given.
          - It holds even if the host's own firewall is open, since that does not see forwarded packets in its chain input.
          - An empty list is refused.
        type: list
        elements: str
      deny_from:
        description: Networks of clients that may not connect. They win over O(mappings[].allow_from).
        type: list
        elements: str
  service_addresses:
    description: Stable addresses that are led, at every port, to the instance of a service that serves at present.
    type: list
    elements: dict
    default: []
    suboptions:
      address:
        description: The stable address. It must be nobody's. One that the host or an instance has is refused.
        type: str
        required: true
      to:
        description: The address of the serving instance, of the same family.
        type: str
        required: true
  verify:
    description:
      - What must answer after the change. It is asked from this host, again and again until it answers or O(verify.timeout) is over.
      - If it does not, the earlier ports are brought back in one transaction, for all owners of the task, and the task fails.
      - It is asked only if the task changes something. Give O(verify.http) or O(verify.tcp).
    type: dict
    suboptions:
      http:
        description: An answer by HTTP.
        type: dict
        suboptions:
          url:
            description: The URL, such as V(http://127.0.0.1:80/health). Redirections are not followed.
            type: str
            required: true
          status:
            description: The status that is wanted. Defaults to any from 200 to 399.
            type: int
      tcp:
        description: A connection that is accepted.
        type: dict
        suboptions:
          address:
            description: Address to connect to.
            type: str
            required: true
          port:
            description: Port to connect to.
            type: int
            required: true
      timeout:
        description: How long to wait for the answer, such as V(5s) or V(500ms), at most ten minutes. Other changing runs wait meanwhile.
        type: str
        default: 5s
  confirm_timeout:
    description:
      - Take what this task changes back after that time, such as V(1m), unless it is confirmed. It is confirmed by applying the same mappings
        without this option, which reports a change of C(confirmed). Whoever dies after a change, or has cut its own way to the host by it, can't do so.
      - The host takes it back by itself, in one transaction. A transient timer of systemd waits for it, or a process that sleeps until then where there is
        no systemd. A host that is started before the change is confirmed has the earlier ports from the start.
      - Changes of other owners meanwhile stay. Those that want a port which would be led back are refused.
      - Owners whose change is not confirmed have C(unconfirmed) in the result, and in M(daemonless.isolation.host_info).
      - Tracked UDP connections go on with the target that they have when a change is taken back.
      - If the task changes nothing, it has no effect. From 1s to 24h.
    type: str
  state:
    description: Whether the owner publishes anything. V(absent) removes all its mappings, and the table with the last owner.
    type: str
    choices: [present, absent]
    default: present
extends_documentation_fragment:
  - daemonless.isolation.common
seealso:
  - module: daemonless.isolation.bridge
  - module: daemonless.isolation.namespaced_service
  - name: nft(8)
    description: Maps and address translation.
    link: https://www.netfilter.org/projects/nftables/manpage.html
"""

EXAMPLES = r"""
- name: Publish a web server at port 80 of every address, and its console on this host only
  daemonless.isolation.nat_portmap:
    name: web
    mappings:
      - {host_port: 80, address: 10.88.0.17, port: 3000}
      - {host_port: 80, address: "fd88::17", port: 3000}
      - {host_address: 127.0.0.1, host_port: 9000, address: 10.88.0.17}

- name: Ranges, and a stable address for siblings
  daemonless.isolation.nat_portmap:
    name: voice
    mappings:
      - {host_port: "10000-10099", protocol: udp, address: 10.88.0.18}
    service_addresses:
      - {address: 10.88.255.7, to: 10.88.0.18}

- name: A console for the office only, but not for its guests
  daemonless.isolation.nat_portmap:
    name: console
    mappings:
      - {host_port: 9000, address: 10.88.0.17, allow_from: [192.0.2.0/24], deny_from: [192.0.2.128/25]}

- name: One port, three targets; the earlier ones come back if nobody answers
  daemonless.isolation.nat_portmap:
    name: api
    mappings:
      - host_port: 8080
        backends:
          - {address: 10.88.0.20, port: 3000}
          - {address: 10.88.0.21, port: 3000}
          - {address: 10.88.0.22, port: 3000}
    verify:
      http: {url: "http://127.0.0.1:8080/health", status: 200}
      timeout: 10s

- name: Lead a port elsewhere, but only if this host can still be reached afterwards
  daemonless.isolation.nat_portmap:
    name: web
    mappings: [{host_port: 80, address: 10.88.0.19, port: 3000}]
    confirm_timeout: 1m

- name: Keep it
  daemonless.isolation.nat_portmap:
    name: web
    mappings: [{host_port: 80, address: 10.88.0.19, port: 3000}]

- name: Many owners in one transaction
  daemonless.isolation.nat_portmap:
    aggregate:
      - name: web
        mappings: [{host_port: 80, address: 10.88.0.19, port: 3000}]
      - name: voice
        state: absent
"""

RETURN = r"""
portmap:
  description: What the owner publishes. With O(aggregate) see RV(results) instead.
  returned: when O(aggregate) is not given
  type: dict
  sample: &portmap
    name: web
    mappings:
      - {host_address: null, host_port: 80, protocol: tcp, address: 10.88.0.17, port: 3000}
      - {host_address: 127.0.0.1, host_port: 9000-9009, protocol: udp, address: 10.88.0.17, port: 9000-9009}
    service_addresses:
      - {address: 10.88.255.7, to: 10.88.0.17}
    exposed:
      - {host_address: null, host_port: 80, protocol: tcp, address: 10.88.0.17, port: 3000}
    omitted: 0
    unconfirmed: false
  contains:
    name:
      description: The owner.
      type: str
    mappings:
      description:
        - What is published. A C(host_address) of V(null) is every address of the family. C(allow_from) and C(deny_from) are there if they were given,
          merged and sorted.
        - With several C(backends) there is no C(address) and no C(port).
        - At most 100 are shown. M(daemonless.isolation.host_info) tells all of them.
      type: list
      elements: dict
    service_addresses:
      description: Stable addresses and where they lead.
      type: list
      elements: dict
    exposed:
      description: Those of the shown mappings that other machines can reach.
      type: list
      elements: dict
    omitted:
      description: How many mappings are not shown.
      type: int
    unconfirmed:
      description: Whether a change of it is taken back unless it is confirmed (O(confirm_timeout)).
      type: bool
    state:
      description: V(absent) when the owner publishes nothing. Then there are only the name and C(unconfirmed) beside it.
      type: str
results:
  description: One entry for each element, in their order.
  returned: always
  type: list
  elements: dict
  sample:
    - name: web
      changed: true
      failed: false
      portmap: *portmap
"""

from ..module_utils._zipped import compile_once


def main() -> None:
    """Be the module."""
    compile_once()
    from ..module_utils._portmap.layer import PortmapLayer
    from ..module_utils._runner import run_module

    run_module(PortmapLayer())


if __name__ == "__main__":
    main()
