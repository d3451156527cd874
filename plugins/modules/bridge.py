#!/usr/bin/python

# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: bridge
short_description: Manage a network bridge for isolated services
version_added: 0.1.0
author: daemonless.isolation contributors (@daemonless)
description:
  - Makes a Linux bridge that joins the interfaces of services with the host's network, and changes it in place.
    It is never torn down while services are attached.
  - Keeps one nftables table, C(inet isolation_bridge), for all bridges. It closes the way to services from outside before connection
    tracking, keeps bridges apart, keeps services off the host's own ports and the cloud's metadata address, refuses forged source addresses, and
    masquerades what leaves. A second one, C(bridge isolation_bridge), keeps services apart at layer 2 and lets each send from its own
    MAC and IP addresses only, without forged ARP and without router or foreign neighbor advertisements. Both are replaced as a whole, in one
    transaction, and only if nftables lists something else than what is asked for.
  - Keeps NetworkManager, systemd-networkd and udev off the bridges, their ports and services' links, by a drop-in file for each that the host has,
    such as C(/etc/systemd/network/05-isolation.network). They are written, and the daemons told, before the first link is made.
  - Adds routing rules (priorities 101 to 104) that drop what is for services and was not let through by the table, so that nothing opens
    while the ruleset is flushed.
  - Switches forwarding on where it is off, remembers the values from before, and gives them back with the last bridge.
  - Writes C(/etc/isolation/bridge.nft), C(/etc/isolation/bridge.d/) and C(/etc/isolation/boot.d/10-bridge.sh), which bring everything back at boot,
    by the unit C(isolation-network.service) under systemd, else by C(/usr/local/libexec/isolation/boot).
  - Includes C(/etc/isolation/nft.d/*.nft), which belong to the administrator. They fill the chains C(admin-prerouting) (before connection
    tracking), C(admin-input) and C(admin-forward) of the table C(inet isolation_bridge), whose rules come before ours. A file that nft refuses
    fails the task before anything is changed.
notes:
  - All changes are live. Services that are attached keep their interfaces, their connections and their addresses.
  - The first address of each family is the gateway of the services.
  - Other firewalls of the host still apply. A base chain whose policy drops forwarded packets, such as Docker's or ufw's, is named in a warning.
  - Our bridges carry the link group V(6910831), by which other rules can name all of them.
  - Where forwarding is switched on for IPv6, an uplink whose default route comes from router advertisements first gets C(accept_ra=2).
    Otherwise the kernel would drop that route at once.
requirements:
  - Linux 5.10
  - nftables 1.0.6
  - iproute2
  - pyroute2 0.7
options:
  name:
    description:
      - Name of the bridge. Lower-case letters, digits and inner dashes, at most 15 characters.
      - A link of this name that this module has not made is refused.
    type: str
  addresses:
    description:
      - Addresses of the host on the bridge with their prefixes, IPv4 and IPv6. Other addresses on the bridge are removed.
      - A range that overlaps a route or an address of the host, or another bridge, is refused.
    type: list
    elements: str
    default: []
  mode:
    description:
      - V(nat) lets services out with the host's address.
      - V(routed) lets them out with their own; the network around must know the way back.
      - V(internal) lets them reach only each other, published ports, and what O(service_to_host) names.
      - In every mode, only published ports and O(trusted_interfaces) lead in.
    type: str
    choices: [nat, routed, internal]
    default: nat
  ipv6_mode:
    description: The same for IPv6. Defaults to O(mode).
    type: str
    choices: [nat, routed, internal]
  mtu:
    description: Largest packet in bytes. Defaults to that of the link with the default route, else 1500.
    type: int
  mac:
    description: MAC address of the bridge. Defaults to one that is derived from the host's machine-id and the bridge's name.
    type: str
  stp:
    description: Whether to run the spanning tree protocol. Of use only with O(ports).
    type: bool
    default: false
  forward_delay:
    description: How long a port listens and learns before it forwards, with O(stp=true). Between V(2s) and V(30s).
    type: str
    default: 15s
  ageing_time:
    description: How long the bridge remembers where a MAC address is.
    type: str
    default: 5m
  vlan_filtering:
    description: Whether the bridge tells VLANs apart (IEEE 802.1Q), to be configured with C(bridge vlan). Live.
    type: bool
    default: false
  trusted_interfaces:
    description: Links of the host, such as a VPN, from which services can be reached directly at every port.
    type: list
    elements: str
    default: []
  allow_bridges:
    description:
      - Other bridges of this collection whose services and this bridge's services may reach each other at every port.
      - It is enough if one of the two names the other.
      - Published ports can be reached from every bridge. Service addresses can't, as they lead to every port.
    type: list
    elements: str
    default: []
  masquerade_source:
    description:
      - Fixed addresses, at most one of each family, which packets of services have outside. Live.
      - By default that of the link by which they leave.
    type: list
    elements: str
    default: []
  siblings:
    description:
      - Whether services of this bridge reach each other, at their own and at their service addresses. Live.
      - With V(deny), what is published can still be reached at the host's addresses, and O(sibling_pairs) names exceptions.
      - They never reach each other at layer 2, unless O(l2=true); what they send each other goes through the host.
    type: str
    choices: [allow, deny]
    default: allow
  sibling_pairs:
    description: Which services may open connections to which others, with O(siblings=deny). Live; flows that are open go on.
    type: list
    elements: dict
    default: []
    suboptions:
      from:
        description: An address or a range of addresses of the bridge's subnets or O(routes).
        type: str
        required: true
      to:
        description: The same, of whom can be reached.
        type: str
        required: true
  l2:
    description:
      - Whether services of this bridge are in one broadcast domain, for protocols that need it. What each may send as source stays checked.
      - Live for the bridge. A service has its siblings on the link from its next start on.
    type: bool
    default: false
  forward_between_others:
    description:
      - If forwarding is switched on for bridges, what to do with packets between links that the host had then. Live.
      - With V(drop) the host does not become a router between its networks. Links that come later, such as those of a VPN, are not concerned.
      - V(accept) on one bridge holds for the host.
      - With the last bridge forwarding is switched off again, unless bridges or tunnels of others have come; a warning names them.
    type: str
    choices: [drop, accept]
    default: drop
  mark_bit:
    description:
      - The bit of packets' marks, V(0) to V(31), that routing rules look at. It is set by or, and others' bits stay. Live.
      - Give another one if V(12) has a meaning on this host already.
    type: int
    default: 12
  service_to_host:
    description:
      - What services may reach on the host itself, at any of its addresses, such as V(udp/53), V(tcp/8000-8010), V(icmp) or V(icmpv6).
      - By default nothing but answers, neighbor discovery and published ports.
    type: list
    elements: str
    default: []
  ports:
    description:
      - Links of the host that become ports of the bridge. Addresses on them stay where they are, and are of no more use.
      - The kernel gives a bridge 1023 ports, those of services included; more are refused.
      - With ports, source addresses that come from the bridge are not checked, since a network lies behind them.
    type: list
    elements: str
    default: []
  routes:
    description:
      - Networks that the host reaches by a gateway on the bridge, such as a service that is a VPN's end or a router behind a link of O(ports).
        Live.
      - They are treated as the bridge's subnets are. The host, siblings (by O(siblings); O(sibling_pairs) may name these networks) and allowed
        bridges reach them; from elsewhere nothing but O(trusted_interfaces) leads in, also while the ruleset is flushed. What they open to the
        outside goes by O(mode), to the host by O(service_to_host).
      - They may be sources of packets from the gateway's own link, and of no other service's. A service that runs when its address becomes
        a gateway's sends for them once M(daemonless.isolation.namespaced_service) is applied again, which is live.
      - Routes have protocol 105. Those of others are never touched; a network that overlaps a route or an address of the host, a bridge, or
        another of these networks is refused.
    type: list
    elements: dict
    default: []
    suboptions:
      to:
        description: A network, or an address. Not the default route.
        type: str
        required: true
      via:
        description: The gateway's address, which lies in a subnet of the bridge, and is not the bridge's own.
        type: str
        required: true
  force:
    description: With O(state=absent), remove the bridge even if links of services are attached to it.
    type: bool
    default: false
  state:
    description: Whether the bridge is there. V(absent) removes everything that was made for it.
    type: str
    choices: [present, absent]
    default: present
extends_documentation_fragment:
  - daemonless.isolation.common
seealso:
  - module: daemonless.isolation.namespaced_service
  - module: daemonless.isolation.nat_portmap
  - name: ip-link(8)
    description: Types and attributes of links.
    link: https://man7.org/linux/man-pages/man8/ip-link.8.html
"""

EXAMPLES = r"""
- name: A bridge whose services reach the outside with the host's address
  daemonless.isolation.bridge:
    name: iso0
    addresses: [10.88.0.1/24, "fd88::1/64"]

- name: A bridge without a way out, whose services may ask the host's DNS server
  daemonless.isolation.bridge:
    name: iso1
    addresses: [10.89.0.1/24]
    mode: internal
    service_to_host: [udp/53, tcp/53]
    allow_bridges: [iso0]

- name: A bridge whose services do not see each other, but for one way
  daemonless.isolation.bridge:
    name: iso2
    addresses: [10.90.0.1/24]
    siblings: deny
    sibling_pairs:
      - {from: 10.90.0.17, to: 10.90.0.18}

- name: A bridge with networks behind one of its services
  daemonless.isolation.bridge:
    name: iso3
    addresses: [10.91.0.1/24, "fd91::1/64"]
    routes:
      - {to: 192.0.2.0/24, via: 10.91.0.17}
      - {to: "2001:db8:9::/48", via: "fd91::17"}

- name: Several in one task
  daemonless.isolation.bridge:
    mtu: 1400
    aggregate:
      - name: iso0
        addresses: [10.88.0.1/24, "fd88::1/64"]
      - name: iso1
        addresses: [10.89.0.1/24]
        mode: internal

- name: Remove it
  daemonless.isolation.bridge:
    name: iso0
    state: absent
"""

RETURN = r"""
bridge:
  description: The bridge as the kernel has it; in check mode, as it would be. With O(aggregate) see RV(results) instead.
  returned: when O(aggregate) is not given
  type: dict
  sample: &bridge
    name: iso0
    addresses: [10.88.0.1/24, "fd88::1/64"]
    mac: "02:7e:2b:1c:90:54"
    mtu: 1500
    mode: nat
    ipv6_mode: nat
    l2: false
    ports: [isof19b87410222]
  contains:
    name:
      description: Its name.
      type: str
    addresses:
      description: Its addresses with their prefixes, in the order in which they were asked for.
      type: list
      elements: str
    mac:
      description: Its MAC address.
      type: str
    mtu:
      description: Its largest packet.
      type: int
    mode:
      description: How its services reach the outside.
      type: str
    ipv6_mode:
      description: The same for IPv6.
      type: str
    l2:
      description: Whether services are in one broadcast domain.
      type: bool
    ports:
      description: All links that are attached to it, those of services included.
      type: list
      elements: str
    state:
      description: V(absent) when the bridge is gone. Then there is only the name beside it.
      type: str
results:
  description: One entry for each element, in their order.
  returned: always
  type: list
  elements: dict
  sample:
    - name: iso0
      changed: true
      failed: false
      bridge: *bridge
"""

from ..module_utils._zipped import compile_once


def main() -> None:
    """Be the module."""
    compile_once()
    from ..module_utils._bridge.layer import BridgeLayer
    from ..module_utils._runner import run_module

    run_module(BridgeLayer())


if __name__ == "__main__":
    main()
