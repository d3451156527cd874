#!/usr/bin/python

# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: namespaced_service
short_description: Run a service in namespaces of its own
version_added: 0.1.0
author: daemonless.isolation contributors (@daemonless)
description:
  - Runs a command as a long-lived service in pid, mount, network, uts, ipc, cgroup, user and time namespaces of its own, by an OCI runtime (crun, or runc),
    under the host's own supervisor. That is systemd, or runit where systemd is not the init. Nothing of this collection stays resident.
  - The service sees its own processes, its own root filesystem, its own network interfaces and nothing else. Root inside is an unprivileged user outside.
    It has no capabilities and can't get any, makes only the system calls of an allow-list, and reads and writes nothing of the kernel's settings.
  - What is compared is what the kernel and the supervisor have. The record tells what was asked for, and artifacts (C(config.json), the unit or the
    run script) are compared with what they ought to be. A bundle that was edited by hand is written again, and the service restarted.
notes:
  - "The last line of a diff tells what all of it does to a running service: C(effect: live), or C(effect: restart)."
  - "A change restarts the service, but for changes of O(health), O(restart), O(reload_signal), O(reload_command), O(after), O(requires), O(stop_signal),
    O(stop_timeout), O(gate), O(runtime_policy), O(beside), O(held) and
    O(replaces), which don't touch a running one. What a new value of a secret does is told by O(secrets[].on_change)."
  - Under systemd the service's own init is the unit's main process, in the unit's control group. Under runit, C(runsv), C(svlogd) and the runtime
    stay beside it.
  - Logs are in the journal (see O(standard_output)), or in C(/var/log/isolation/<name>/current) under runit.
  - "Its network namespace belongs to its user namespace. An OCI hook, C(/usr/local/libexec/isolation/network), joins it with its bridges. Each address is a /32
    (or /128) with an on-link gateway, so that all flows between services go through the host's routing."
  - "Services of one project that share a bridge find each other by name: O(service) and O(networks[].aliases) are in C(/etc/hosts). A name means
    the service address, if M(daemonless.isolation.nat_portmap) has one for an owner of that name, else the address of the instance that is
    started at boot. The files of running services are renewed in place by the run that changes something, without a restart."
  - 32-bit programs do not run under the default O(seccomp) profile.
options:
  name:
    description:
      - Name of the instance. Lower-case letters, digits and inner dashes, at most 48 characters. Can't be combined with O(aggregate).
    type: str
  service:
    description:
      - The service that this is an instance of. Its instances share one range of ids. Defaults to O(name). Later changes are refused.
    type: str
  rootfs:
    description:
      - The root filesystem, by its name with M(daemonless.isolation.rootfs_prepare), or as an absolute path of the host.
      - A directory given by its path must have C(/dev), C(/proc), C(/sys) as real directories, and C(/etc/hosts), C(/etc/hostname),
        C(/etc/resolv.conf) as real files.
        Its owners are not shifted.
      - Needed unless O(state=absent).
    type: str
  command:
    description:
      - The program and its arguments. It is looked for in the root filesystem, by the C(PATH) of O(environment) if it has no slash. One that is not there is
        refused before anything is changed.
      - Needed unless O(state=absent).
    type: list
    elements: str
  args:
    description:
      - More arguments, after those of O(command).
    type: list
    elements: str
    default: []
  environment:
    description:
      - Environment variables. Nothing is taken from the host's environment. C(PATH) has a common default.
      - Values stand in the record, in C(config.json), in the diff and in C(/proc/PID/environ), and every process that the service starts inherits them, so that
        this is no place for secrets; see O(secrets). One that is given in O(secret_values), too, is refused, and a name such as C(DB_PASSWORD) with
        a value that is not a path is refused; see O(allow_secrets_in_environment).
    type: dict
    default: {}
  env_files:
    description:
      - Absolute paths of files with more environment variables. They are read on the host, when this module runs. O(environment) wins over them, a later file
        over an earlier one. One that can't be read is refused before anything is changed.
      - "They are written as for C(docker run --env-file): a line is C(NAME=VALUE), blank lines and those that begin with C(#) are passed over. The value is all
        that comes after the C(=), as it is: quotes are part of it, backslashes mean nothing, and a value has no second line. A name alone is refused.
        Files for systemd whose values are in quotes mean something else here."
      - Values stand in C(config.json), which root alone can read, not in the record and the diff. What looks like a secret is refused, as in O(environment).
      - Changed variables restart the service when this module runs next, and no sooner. Changed comments don't.
    type: list
    elements: str
    default: []
  user:
    description:
      - "The user inside, and its group, as V(uid:gid), as names of the root filesystem's C(/etc/passwd) and C(/etc/group), or a user alone, which
        takes its group there."
      - V(0:0) is root inside, which is an unprivileged user outside and has no capabilities.
    type: str
    default: "0:0"
  groups:
    description:
      - Supplementary groups, as numbers or as names of the root filesystem's C(/etc/group). A change restarts the service.
    type: list
    elements: str
    default: []
  umask:
    description:
      - File mode creation mask, such as V(0027). By default it is 0022. A change restarts the service.
    type: str
  oom_score_adj:
    description:
      - From 0 to 1000, how gladly the kernel ends it when memory runs out. By default that of its supervisor. A change restarts the service.
    type: int
  allow_secrets_in_environment:
    description:
      - Whether O(environment) and O(env_files) may hold what looks like a secret, that is a variable whose name ends in C(PASSWORD), C(PASSPHRASE), C(SECRET),
        C(TOKEN), C(CREDENTIALS), C(API_KEY), C(ACCESS_KEY) or C(PRIVATE_KEY) and whose value is no path, or a value that begins as a private key or a
        token of a common service does. Such a variable is refused otherwise. Nothing is changed by this option itself.
    type: bool
    default: false
  workdir:
    description:
      - The working directory inside. One that is not there is refused before anything is changed, and so is one below C(/proc), also by a link.
    type: str
    default: /
  timezone:
    description:
      - Its time zone, by a name of the IANA database such as V(Europe/Vienna). The host's file of that zone is mounted on its C(/etc/localtime), and the name
        on its C(/etc/timezone), if it has one. By default nothing is mounted. A change restarts the service.
      - The host must have the zone, in C(/usr/share/zoneinfo) (package tzdata), at each start of the service as well. A newer file of the host is in force from
        the next start on. C(TZ) in O(environment) wins over it.
      - An C(/etc/localtime) that is a link, as in images of Debian, is refused, since its mount would hide the file that it leads to, which is the one of
        another zone. Lay an empty file in its place by O(daemonless.isolation.rootfs_prepare#module:files). The role does so.
    type: str
  hostname:
    description:
      - The host name inside. Defaults to O(service).
    type: str
  init:
    description:
      - Whether a small init is process 1, which hands signals on and reaps processes that nobody waits for. The host's static C(catatonit) or
        C(tini) is mounted at C(/dev/init).
      - Without it, the command is process 1, and the kernel drops signals that it does not handle.
      - Defaults to V(true) where the pid namespace is its own. Elsewhere it can't be process 1, and V(true) is refused.
    type: bool
  namespaces:
    description:
      - Which namespaces are its own. Each is V(private), V(host), or V(service:NAME), which is that of another instance of the same project, or of the
        instance of the service NAME that runs. The mount namespace is always its own.
      - What is joined must be of one service, and O(namespaces.user) must be joined with it, since a namespace is of use only in the user namespace
        that owns it. The range of ids is the other one's then, so that O(rootfs) must be prepared for that service.
      - "The other one must run, and come earlier in the same task if it is new. A service that has joined another is killed when that one ends, and started
        again by its supervisor, which waits for the other one. Restarts by O(restart.policy=no) are not made."
      - A change restarts the service.
    type: dict
    suboptions:
      pid:
        description:
          - With V(host) it sees all processes of the host. It can still end its own only. Refused without systemd, as nothing would end processes
            that outlive the first one.
        type: str
      network:
        description:
          - With V(host) it has the host's interfaces, ports and abstract sockets, and no capability over them. With anything but V(private), O(networks)
            and O(sysctls) that begin with C(net.) are refused. It is asked whether it is well at 127.0.0.1, or at the address of the service joined.
        type: str
      uts:
        description: Its host name. With anything but V(private), O(hostname) is refused.
        type: str
      ipc:
        description:
          - System V IPC and POSIX message queues. With V(host), C(/dev/mqueue) is not there. C(/dev/shm) is its own in any case.
        type: str
      cgroup:
        description: With V(host), C(/proc/self/cgroup) shows the host's paths. What is mounted is its own control group, read-only, in any case.
        type: str
      user:
        description: V(private) or V(service:NAME). V(host) is refused, since root inside would be root outside.
        type: str
      time:
        description:
          - The clocks that count from boot. They are not shifted, since crun can't do so in a user namespace. Where Linux before 5.6 or runc before 1.2
            have none, it is the host's.
          - Defaults to that of O(namespaces.pid) if that one is joined.
        type: str
  slice:
    description:
      - The slice of M(daemonless.isolation.cgroup_slice) whose limits hold for it. It must be there, or be promised by O(expect).
      - Without it, a service is limited to 1024 processes, and to nothing else, also if a slice has its name.
    type: str
  id_base:
    description:
      - First of the 65536 ids of the host that the ids 0 to 65535 inside stand for. By default the range of O(service), which is chosen once and recorded.
    type: int
  networks:
    description:
      - The bridges that it is joined with, in order, as C(eth0), C(eth1) and so on. The first one gives the default route, unless
        O(networks[].default_route) says otherwise; the subnets of the others are reached by them. Without any (an empty list) it has its own loopback only.
    type: list
    elements: dict
    default: []
    suboptions:
      bridge:
        description: Name of a bridge. It must be there, or be promised by O(expect).
        type: str
      address:
        description:
          - V(auto), or addresses without a prefix, at most one of each family. They must lie in a subnet of the bridge.
          - An address that is not given is chosen once, kept in the record, and the same from then on, in every family in which the bridge has an address.
        type: list
        elements: str
        default: [auto]
      aliases:
        description:
          - More names by which the other services of the project on this bridge reach it, beside that of O(service). They are in
            their C(/etc/hosts), which running ones see at once. A name of another service comes before an alias.
          - A change of them alone is live.
        type: list
        elements: str
        default: []
      mac:
        description:
          - The MAC address of its interface. By default one that follows from the names of instance and bridge, and stays the same.
          - One that stands for a group of machines, or that another instance or the bridge has, is refused.
        type: str
      mtu:
        description:
          - The largest packet that it sends there, in bytes. By default the bridge's, which is also the most. For IPv6 at least 1280.
        type: int
      default_route:
        description:
          - Whether the default route may lead over this network. The first one of those that may has it, for each family.
        type: bool
        default: true
      routes:
        description:
          - More networks that are reached over this one.
        type: list
        elements: dict
        default: []
        suboptions:
          to:
            description: A network, such as V(192.0.2.0/24).
            type: str
          via:
            description:
              - The router, an address in a subnet of the bridge. By default the bridge itself, that is the host's routing.
              - A machine behind a port of the bridge, or with the bridge's option C(l2) another service. Without C(l2), services reach each other by the
                host's routing only, so that another service is refused here; give the bridge a route by it.
            type: str
  mounts:
    description:
      - Files and directories of the host, and named volumes, that it sees. All of them are mounted C(nosuid) and C(nodev).
      - Owners of a bind mount are not shifted. Those of a volume are the service's own, whatever its range of ids.
      - A change restarts the service.
    type: list
    elements: dict
    default: []
    suboptions:
      type:
        description:
          - V(bind) is a file or directory of the host.
          - V(volume) is a directory that is kept under C(/var/lib/isolation/volumes) and outlives the service, its releases and its range of ids. It is stored
            with the ids that the service has inside, and mounted with its ids mapped to the service's range. That takes Linux 5.12, and a file system there
            that supports idmapped mounts.
        type: str
        choices: [bind, volume]
        default: bind
      source:
        description:
          - With O(mounts[].type=bind), an absolute path on the host, which must be there. A symbolic link on the way is followed if root alone can change
            it, which takes that it and all directories above it belong to root, and that nobody else can write to these. Any other is refused here, and again
            before each start.
          - With O(mounts[].type=volume), the name of a volume. It is made, empty, if the host has none of that name, with the owner, group and mode that
            the directory O(mounts[].target) has in the root filesystem. Where there is no such directory, it belongs to root inside and has mode 0755.
            Files of the image are not copied into it. One that belongs to another project is refused.
        type: str
      target:
        description:
          - Absolute path inside. Not on or below C(/proc), C(/sys) and C(/dev).
          - It is made if it is not there. Where that can't be, in a read-only root filesystem or below a mount with O(mounts[].read_only), one that is
            missing is refused.
        type: str
      read_only:
        description: Whether it can't be written to.
        type: bool
        default: false
      exec:
        description: Whether programs in it can be run. For a single file of the host, V(false) takes O(mounts[].read_only).
        type: bool
        default: true
      propagation:
        description:
          - Whether a running service sees what the host mounts below a directory later. V(private), it does not; V(rslave), it does. What the service
            mounts does not appear on the host in any case, so that V(shared) is refused.
          - What is mounted later has the flags that it has on the host. Neither O(mounts[].read_only) nor C(nosuid) and C(nodev) hold for it.
          - V(rslave) takes a source on a shared mount, as most are where systemd is the init.
        type: str
        default: private
  tmpfs:
    description:
      - File systems in memory, mounted C(nosuid) and C(nodev). What is written there counts as the service's memory.
    type: list
    elements: dict
    default: []
    suboptions:
      target:
        description: Absolute path inside.
        type: str
      size:
        description: The most that it can hold, such as V(64M).
        type: str
        default: 64M
      mode:
        description: Octal mode of its root directory.
        type: str
        default: "1777"
  devices:
    description:
      - Character and block devices of the host whose nodes it has in its C(/dev). By default it has C(null), C(zero), C(full), C(random), C(urandom), C(tty)
        and terminals of its own, and no other device can be opened, whatever nodes the root filesystem has.
      - "The owner of a node is not shifted: inside it is nobody, and what the service may do is told by the node's mode, as for any user of the host.
        Capabilities don't help. A warning tells of a mode that keeps the service out: let a udev rule give the device another mode, or the ids that the
        service has on the host as its owner or group."
      - Under runit, the device's numbers are those that it has when the module runs; systemd looks for them at each start.
      - A change restarts the service.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Absolute path of the device on the host. Links are followed. What is no device, the host's memory, and a node on a file system that is
          mounted C(nodev) are refused.
        type: str
      target:
        description: Absolute path inside, below C(/dev). Defaults to O(devices[].path).
        type: str
      permissions:
        description: What the device control group allows, any of V(r) (read), V(w) (write) and V(m) (make nodes, which no service with a user namespace of
          its own can do in any case).
        type: str
        default: rw
  secrets:
    description:
      - Secrets that it reads as files in C(/run/secrets), which is in memory and read-only. Their values are given in O(secret_values). They stand in no
        record, bundle, unit, command line, environment, diff, log or result.
      - A secret whose value the task does not give keeps the one that the instance has. If it has none, the task fails before anything is changed.
      - A change restarts the service, but for changes of O(secrets[].on_change) and O(secrets[].persist), which are made live.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the secret. Letters, digits, C(_), C(.) and C(-), at most 64.
        type: str
      target:
        description: Name of the file in C(/run/secrets). Defaults to O(secrets[].name). Files elsewhere are refused, since they could not be
          replaced in a running service.
        type: str
      user:
        description: The user inside that the file belongs to, by number or name. Defaults to O(user).
        type: str
      group:
        description: Its group. Defaults to that of O(secrets[].user), or of O(user).
        type: str
      mode:
        description: Octal mode of the file, for reading only.
        type: str
        default: "0400"
      on_change:
        description: What a new value does to a running service. V(restart) restarts it. V(reload) replaces the file and sends O(reload_signal) or
          executes O(reload_command), of which one must be given then. V(none) only replaces the file, at once and as a whole, for a service that
          reads it again by itself.
        type: str
        choices: [restart, reload, none]
        default: restart
      persist:
        description:
          - Whether the value is kept on the host, so that the service starts after a boot without Ansible. Where systemd 250 or newer is the init, it is
            encrypted by C(systemd-creds) with a key of this host, or its TPM. Elsewhere it is a plain file that only root can read, and a warning says so.
          - Without it, the value is in memory only, and after a boot the service is not started until this module gives it the value again.
        type: bool
        default: true
      encoding:
        description: How the value is written in O(secret_values). V(base64) is for values that are not text.
        type: str
        choices: [text, base64]
        default: text
  secret_values:
    description:
      - The values of O(secrets), by name, for all elements of the task; it stands beside O(aggregate). A name is C(secret), C(service/secret) or
        C(instance/secret); of several, the closest is taken.
      - A value for which no service of the task has a secret is refused. So is one of fewer than 8 characters or of fewer than 4 different ones, since Ansible
        blanks out each value in everything that a task says, and one that stands in another option.
      - Values are taken as they are, without a newline at the end.
    type: dict
  capabilities:
    description:
      - Capabilities that the process has, in all five sets, with or without the prefix C(CAP_). They hold in the service's own namespaces only.
    type: list
    elements: str
    default: []
  seccomp:
    description:
      - V(default) is this collection's allow-list of system calls. Namespaces, mounts, keyrings, bpf, io_uring, userfaultfd, tracing and perf are
        not on it, and sockets
        are of the families unix, inet, inet6, netlink and packet only. What is not listed fails with C(EPERM).
      - V(unconfined) is no filter. A path is a profile of the host in the form of the OCI runtime specification.
    type: str
    default: default
  masked_paths:
    description:
      - Absolute paths inside that it sees nothing of, beside C(/proc/kcore), C(/proc/keys), C(/sys/firmware) and others that are always masked. A file is
        empty, a directory has nothing in it, and neither can be written to. Links are followed inside the root filesystem.
      - What is not there when it starts is passed over; a warning tells so where that can be seen before. What would hide the program, the working
        directory, a mount or a device of the service is refused, and so are C(/) and C(/proc) as a whole.
      - A change restarts the service.
    type: list
    elements: str
    default: []
  readonly_paths:
    description:
      - Absolute paths inside that can't be written to, beside C(/proc/sys), C(/proc/sysrq-trigger) and others that never can be. What is mounted below one of
        them is not changed.
      - What is not there when it starts is passed over, as with O(masked_paths). C(/) and C(/proc) as a whole are refused; a root filesystem is
        read-only by O(daemonless.isolation.rootfs_prepare#module:mode).
      - A change restarts the service.
    type: list
    elements: str
    default: []
  apparmor_profile:
    description:
      - The AppArmor profile that confines it, by its name, or V(unconfined). By default it has that of its runtime, which is none on most hosts.
      - Refused before anything is changed where the host's kernel has AppArmor off, or has no such profile loaded. It must be loaded at each start, so
        keep its file in C(/etc/apparmor.d). Commands that are executed in the service are confined by it, too.
      - A change restarts the service.
    type: str
  selinux_label:
    description:
      - The SELinux context of its processes, such as V(system_u:system_r:container_t:s0:c1,c2). By default the policy decides.
      - Refused before anything is changed where the host's kernel has SELinux off; one that the policy does not know fails at the start. The policy must
        allow the transition under no_new_privs, as container-selinux does for C(container_t). Contexts of files and volumes are not changed.
      - A change restarts the service.
    type: str
  rlimits:
    description:
      - Resource limits by name, as V(soft:hard) or one number for both, with or without the prefix C(RLIMIT_). V(unlimited) is allowed.
    type: dict
    default: {}
  sysctls:
    description:
      - Kernel settings of its own namespaces, whose names begin with C(net.), C(fs.mqueue.), C(kernel.msg), C(kernel.shm), C(kernel.sem) or
        C(kernel.domainname).
      - C(net.ipv4.ip_unprivileged_port_start=0) and a C(net.ipv4.ping_group_range) of all groups are set unless given here.
    type: dict
    default: {}
  dns:
    description:
      - Its C(/etc/resolv.conf).
    type: dict
    suboptions:
      nameservers:
        description:
          - Addresses of name servers. Defaults to those of the host that are not on a loopback address, as they are when the service is made or
            restarted by O(state=restarted).
        type: list
        elements: str
      search:
        description: Domains in which short names are looked for.
        type: list
        elements: str
        default: []
      options:
        description: Options of the resolver, such as V(ndots:2).
        type: list
        elements: str
        default: []
  extra_hosts:
    description:
      - Addresses by host name, for its C(/etc/hosts).
    type: dict
    default: {}
  after:
    description:
      - Services or instances of the same project that its starts come after, by a play and at boot alike. Each start waits until one of each runs,
        for at most 30 seconds, and then goes on without. The elements of a task are started in this order.
      - What is to be well first is not waited for but in the task that starts it, see O(gate).
    type: list
    elements: str
    default: []
  requires:
    description:
      - As O(after), but a start without the other one fails, and is tried again as after a crash. One that runs is left running when the other ends.
    type: list
    elements: str
    default: []
  reload_signal:
    description:
      - The signal that asks it to read its configuration again, such as V(SIGHUP). Its init hands it on. A program that does not handle the
        signal is ended by it.
      - It is sent by O(state=reloaded), and by C(systemctl reload) or C(sv hup).
    type: str
  reload_command:
    description:
      - Instead of O(reload_signal), a program and its arguments that have it read its configuration again, such as V([nginx, -s, reload]). No shell is
        in between.
      - It is executed in the service, with its user, environment, working directory, rights and limits. If it ends with another status than 0, or not within
        O(gate.deadline), the task fails with what it has said. What has not ended then is killed.
      - It is executed by O(state=reloaded), for secrets with O(secrets[].on_change=reload), and by C(systemctl reload) or C(sv hup), which
        leave its output to the service's log.
      - Refused where O(namespaces.pid) is not V(private).
    type: list
    elements: str
    default: []
  stop_signal:
    description:
      - The signal that asks it to end.
    type: str
    default: SIGTERM
  stop_timeout:
    description:
      - How long it has to end before it is killed.
    type: str
    default: 10s
  standard_output:
    description:
      - What its standard output and standard error are under systemd. Its log is in the journal in both cases, and found by its unit.
      - V(direct) is a socket of the journal, with no process beside the service. A program that opens C(/dev/stdout) or C(/dev/stderr) by name
        fails there with C(ENXIO), as no socket can be opened so. Writing to the descriptors that it has works.
      - V(pipe) is a pipe, which any user inside can open by name for writing. systemd holds it, and from the first line on one C(cat) reads it, in a unit
        of its own.
      - Under runit it is a pipe in any case.
      - A change restarts the service.
    type: str
    choices: [direct, pipe]
    default: direct
  restart:
    description:
      - What happens when it has ended by itself.
    type: dict
    suboptions:
      policy:
        description:
          - V(always), V(on-failure), that is with a status other than 0 or by a signal, or V(no). It is started at boot in any case.
          - With V(on-failure) on a host without systemd, the runtime stays beside the service to read its status.
        type: str
        choices: [always, on-failure, "no"]
        default: always
      delay:
        description: How long to wait before the first restart. Each further one takes twice as long, until a run has lasted for ten seconds, or for
          the last delay if that is longer.
        type: str
        default: 100ms
      max_delay:
        description: The longest delay. It never gives up.
        type: str
        default: 1m
  health:
    description:
      - How to ask whether it is well, from the host by its first address, or by a command in it. It is asked while a start is waited for
        (see O(gate)).
      - Exactly one of O(health.http), O(health.tcp) and O(health.exec) is needed.
    type: dict
    suboptions:
      http:
        description: A GET request that is answered by a status of 200 to 399.
        type: dict
        suboptions:
          port:
            description: The port.
            type: int
          path:
            description: The path.
            type: str
            default: /
      tcp:
        description: A connection that is accepted.
        type: dict
        suboptions:
          port:
            description: The port.
            type: int
      exec:
        description:
          - A command that ends with status 0. It runs in the service, with its user, environment, working directory, rights and limits. What has
            not ended in time is killed.
          - Status 125 means that nothing could be executed.
          - A service without networks can be asked, too.
        type: dict
        suboptions:
          command:
            description: The program and its arguments. No shell is in between.
            type: list
            elements: str
      interval:
        description: Time between two checks. Without O(health.on_failure) it is that of the start, V(500ms) if not given. With it, it is that of
          the periodic check, V(10s) if not given and at least V(1s); a start then asks at least every V(500ms).
        type: str
      timeout:
        description: How long one check may take.
        type: str
        default: 2s
      retries:
        description: How many checks in a row must fail, once it was well, for the start to have failed before the deadline; and for the
          periodic check to act.
        type: int
        default: 3
      start_period:
        description: For how long after each start failures do not count for the periodic check, until it was well once. Only with
          O(health.on_failure); V(30s) if not given.
        type: str
      on_failure:
        description:
          - What to do when the periodic check has failed O(health.retries) times in a row. Without it, there is no periodic check.
          - V(restart) restarts it, also with O(restart.policy=no), after the delay of O(restart), which grows as long as no run of it becomes well;
            V(stop) stops it until the next task or boot; V(none) only tells, in M(daemonless.isolation.host_info) and in the host's log.
          - One timer of the host asks all services (under runit, one process that sleeps). A service that is stopped, or waits for its next start, is
            left alone. What a task that still runs has started is that task's matter.
        type: str
        choices: [restart, stop, none]
  gate:
    description:
      - What a start must reach. Otherwise the task fails, with the last lines of the log. A service that has ended three times fails at once.
    type: dict
    suboptions:
      min_healthy_time:
        description: For how long it must have been well without a break. The time until its first check succeeds does not count.
        type: str
        default: 500ms
      deadline:
        description: How long that may take.
        type: str
        default: 1m
      auto_revert:
        description:
          - Whether the instance that O(replaces) names runs again if it is not reached, or, with O(beside), the new one is stopped.
          - V(false) leaves the new one as it is, so that one can look into it. With O(beside) the other one serves on. With O(replaces) nobody serves.
        type: bool
        default: true
  drain:
    description:
      - Before it is told to stop, it is waited until nobody is connected with it. That is, until no TCP connection from outside is left on the ports that it
        listens on, which the kernel tells. Only with O(state=stopped) and O(state=absent). Meant for an instance whose ports have been moved
        to another one, since new connections are not kept off.
      - A connection that is kept alive without being used is waited for, too, as nobody can tell whether something will come. A connection within
        the service is not. Nor is UDP, which knows no end of a conversation, and SCTP.
      - "Elements of a task are waited for at the same time, unless O(on_error=stop). The host is locked meanwhile: other tasks there
        wait for O(lock_timeout)."
      - Refused where O(namespaces.network) is not V(private), since connections of others can't be told from its own there.
      - Nothing is changed by this option itself. By default, nothing is waited for.
    type: dict
    suboptions:
      timeout:
        description: The longest wait. What is connected then is cut off.
        type: str
        default: 30s
  keep_running:
    description:
      - How long an instance runs on after it has been stopped, until the host ends it, so that it serves again at once if it is started within that time. It
        is not started at boot any more. Only with O(state=stopped), and not beside O(drain). Meant for an instance whose ports have been moved to another one.
      - The host waits by itself, by a timer of systemd or a process that sleeps, and no task has to come back. To stop the instance again without this option
        ends it at once. To start it has it run for good.
      - It must be at least V(1s). With V(0s), the instance is ended at once.
      - Nothing is changed by this option itself.
    type: str
    default: 0s
  purge_volumes:
    description:
      - Named volumes to remove with all that is in them. Refused as long as an instance uses one that this task does not remove, and if one belongs to another
        project. One that is not there is no error.
      - Only with O(state=absent). The instance named may be gone already.
    type: list
    elements: str
    default: []
  replaces:
    description:
      - Another instance of O(service). It is stopped, this one is started and waited for, and then this one is started at boot and the other is not.
      - If this one can't be started or is not well in time, it is stopped, the other one is started again, and the task fails. All of it happens in
        this one call, and until the
        new one is well, a reboot brings back the old one.
      - One that is not there, or does not run, is passed over.
    type: str
  beside:
    description:
      - Another instance of O(service), which serves until this one takes over. This one is started beside it and waited for. Once it is well, it is
        started at boot, too, and siblings know both by the name of O(service). Have ports lead to it then, and stop the other one.
      - If it can't be started or is not well in time, it is stopped again, and the task fails. The other one is not touched.
      - A change of it alone is live.
    type: str
  held:
    description:
      - A mark on an instance that is not to be deployed again, such as one that a rollback has left. It is recorded and told, and changes nothing else.
      - A change is live. Without it an instance with O(command) and O(rootfs) is not held, and one that is named alone stays as it is.
    type: bool
  runtime:
    description:
      - The OCI runtime. By default C(crun) if it is installed, else C(runc). The choice is recorded.
      - V(runc) is refused under systemd, since it makes control groups beside those of systemd.
    type: str
    choices: [crun, runc]
  runtime_policy:
    description:
      - What to do about a runtime that is older than crun 1.25.1, runc 1.2.8 or runc 1.3.3, all of which have known ways out of a container.
        V(warn), or V(strict), which refuses.
      - Distributions mend older versions without changing the number, so that a warning is no proof.
    type: str
    choices: [warn, strict]
    default: warn
  state:
    description:
      - V(started) runs it, now and at boot. V(stopped) does neither, and keeps its address and files. V(restarted) starts it anew each time.
      - V(reloaded) sends O(reload_signal), or executes O(reload_command), each time, in one that runs. One that does not is started, and one that
        must be restarted for another change is restarted instead.
      - V(present) writes all that it needs, and leaves a running one running (unless it must be restarted) and a stopped one stopped.
      - V(absent) stops it and removes all of it, its logs and its address included. Its root filesystem and its slice stay.
      - With V(present), V(started), V(stopped) and V(restarted) an instance that is there can be named alone, without O(rootfs) and O(command). It is
        left, started or stopped as it is, and all options but O(gate), O(drain), O(keep_running), O(replaces), O(beside) and
        O(held) are as they were asked for last.
    type: str
    choices: [present, started, stopped, restarted, reloaded, absent]
    default: started
  expect:
    description:
      - What earlier tasks of the same play make, for check mode on a host where it is not there yet. Each is a list of results of the module concerned.
    type: dict
    default: {}
    suboptions:
      bridges:
        description: Results of M(daemonless.isolation.bridge).
        type: list
        elements: dict
        default: []
      rootfs:
        description: Results of M(daemonless.isolation.rootfs_prepare).
        type: list
        elements: dict
        default: []
      services:
        description: Results of this module, for instances that are joined (see O(namespaces)).
        type: list
        elements: dict
        default: []
      slices:
        description: Results of M(daemonless.isolation.cgroup_slice).
        type: list
        elements: dict
        default: []
extends_documentation_fragment:
  - daemonless.isolation.common
seealso:
  - module: daemonless.isolation.bridge
  - module: daemonless.isolation.cgroup_slice
  - module: daemonless.isolation.rootfs_prepare
  - module: daemonless.isolation.nat_portmap
  - module: daemonless.isolation.host_info
  - name: OCI runtime specification
    description: What a bundle's config.json means.
    link: https://github.com/opencontainers/runtime-spec/blob/main/spec.md
"""

EXAMPLES = r"""
- name: Run a web server
  daemonless.isolation.namespaced_service:
    name: web
    rootfs: web
    command: [/usr/bin/python3, -m, http.server, "3000"]
    user: "1000:1000"
    workdir: /srv
    slice: web
    networks:
      - bridge: iso0
    tmpfs:
      - target: /tmp
        size: 16M
    health:
      http:
        port: 3000
        path: /
  register: web

- name: Show where it answers
  ansible.builtin.debug:
    msg: "http://{{ web.service.addresses[0].ipv4 }}:3000/"

- name: Replace one release by another, and return to the old one if the new one is not well
  daemonless.isolation.namespaced_service:
    name: web-3fa91c2
    service: web
    rootfs: web-3fa91c2
    slice: web/3fa91c2
    command: [/usr/bin/python3, /srv/app.py]
    networks:
      - bridge: iso0
        address: 10.88.0.17
    health:
      http:
        port: 3000
        path: /healthz
    gate:
      min_healthy_time: 10s
      deadline: 2m
    replaces: web-88c0d1e

- name: Stop an instance as it is, and keep it
  daemonless.isolation.namespaced_service:
    name: web-88c0d1e
    state: stopped

- name: Run many at once, with what they have in common beside them
  daemonless.isolation.namespaced_service:
    aggregate:
      - name: blue
        rootfs: blue
      - name: green
        rootfs: green
        environment:
          COLOUR: green
    command: [/usr/bin/python3, -m, http.server, "3000"]
    networks:
      - bridge: iso0

- name: Keep data in a named volume, which the next release gets, too
  daemonless.isolation.namespaced_service:
    name: db-1
    service: db
    rootfs: db-1
    command: [/usr/bin/python3, /srv/db.py]
    user: "1000:1000"
    mounts:
      - type: volume
        source: db-data
        target: /var/lib/db

- name: Give a service secrets, as files in /run/secrets
  daemonless.isolation.namespaced_service:
    name: api
    rootfs: api
    command: [/usr/bin/python3, /srv/api.py]
    user: "1000:1000"
    secrets:
      - name: db_password
      - name: tls.key
        on_change: none
    secret_values:
      db_password: "{{ lookup('ansible.builtin.password', '/dev/null', length=24) }}"
      tls.key: "{{ lookup('ansible.builtin.password', '/dev/null', length=24) }}"

- name: Run a second service in the network of the first, which it reaches at 127.0.0.1
  daemonless.isolation.namespaced_service:
    name: exporter
    rootfs: exporter # prepared with service set to web
    command: [/usr/bin/python3, /srv/exporter.py]
    namespaces:
      user: service:web
      network: service:web

- name: Be found as mail, too, over a second network that has a router of its own
  daemonless.isolation.namespaced_service:
    name: post
    rootfs: post
    command: [/usr/sbin/postd, --foreground]
    networks:
      - bridge: iso0
        aliases: [mail]
      - bridge: iso1
        mac: "02:00:00:00:00:25"
        mtu: 1400
        routes:
          - to: 192.0.2.0/24
            via: 10.89.0.254
    reload_signal: SIGHUP

- name: Have it read its configuration again
  daemonless.isolation.namespaced_service:
    name: post
    rootfs: post
    command: [/usr/sbin/postd, --foreground]
    networks:
      - bridge: iso0
        aliases: [mail]
      - bridge: iso1
        mac: "02:00:00:00:00:25"
        mtu: 1400
        routes:
          - to: 192.0.2.0/24
            via: 10.89.0.254
    reload_signal: SIGHUP
    state: reloaded

- name: Stop the old instance, once its ports lead to the new one and its last connection has ended
  daemonless.isolation.namespaced_service:
    name: web-88c0d1e
    service: web
    rootfs: web-88c0d1e
    slice: web/88c0d1e
    command: [/usr/bin/python3, /srv/app.py]
    networks:
      - bridge: iso0
    drain:
      timeout: 1m
    state: stopped

- name: Remove a service
  daemonless.isolation.namespaced_service:
    name: web
    state: absent

- name: Remove a service, and what it has kept
  daemonless.isolation.namespaced_service:
    name: db-1
    state: absent
    purge_volumes: [db-data]
"""

RETURN = r"""
service:
  description:
    - The instance, as the kernel and its supervisor have it. With O(state=absent), its name and state only.
  returned: success, without O(aggregate)
  type: dict
  contains:
    name:
      description: The instance.
      type: str
      returned: success
      sample: web-3fa91c2
    service:
      description: The service that it is an instance of.
      type: str
      returned: success
      sample: web
    project:
      description: The project that owns it.
      type: str
      returned: success
      sample: default
    release:
      description: The rest of its name after the service's.
      type: str
      returned: when it is named so
      sample: 3fa91c2
    state:
      description: V(started) if its first process runs, V(failing) if its supervisor keeps starting it, else V(stopped).
      type: str
      returned: success
      sample: started
    pid:
      description: Its first process, as the host numbers it.
      type: int
      returned: when it runs
      sample: 4711
    uptime:
      description: For how many seconds that has run.
      type: float
      returned: when it runs
      sample: 12.5
    stops_in:
      description: In how many seconds the host ends it (see O(keep_running)). V(null) if it runs for good.
      type: float
      returned: unless it is absent
      sample: 540.2
    addresses:
      description: Its networks, with the host's end of each link.
      type: list
      elements: dict
      returned: success
      sample: [{bridge: iso0, interface: isof1e2d3c4b5a6, mac: "02:42:5e:10:20:30", ipv4: 10.88.0.17, ipv6: "fd88::1f2e:3d4c:5b6a:7988"}]
    unit:
      description: Its systemd unit, or its service directory under runit.
      type: str
      returned: success
      sample: isolation-web\x2d3fa91c2.service
    supervisor:
      description: V(systemd) or V(runit).
      type: str
      returned: success
      sample: systemd
    cgroup:
      description: Its control group, as a path below the root of the hierarchy.
      type: str
      returned: when it runs
      sample: /isolation/web/3fa91c2/web-3fa91c2
    namespaces:
      description: Its namespaces by kind, as their inode numbers.
      type: dict
      returned: when it runs
      sample: {cgroup: 4026532829, ipc: 4026532758, mnt: 4026532756, net: 4026532760, pid: 4026532759, time: 4026532761, user: 4026532755, uts: 4026532757}
    id_base:
      description: First id of its range.
      type: int
      returned: success
      sample: 1724448768
    runtime:
      description: The OCI runtime that starts it.
      type: str
      returned: success
      sample: crun
    rootfs:
      description: Its root filesystem, by name or path.
      type: str
      returned: success
      sample: web-3fa91c2
    slice:
      description: Its slice.
      type: str
      returned: when it has one
      sample: web/3fa91c2
    command:
      description: Its command.
      type: list
      elements: str
      returned: success
      sample: [/usr/bin/python3, /srv/app.py]
    health:
      description: How it is asked whether it is well. With O(health.on_failure) also what the periodic check knows; C(status) is C(starting),
        C(healthy) or C(unhealthy), and V(null) where it does not run; C(since) when it is so; C(failures) in a row; C(restarts) by the check since
        the boot; the C(last) five answers; and the last C(action).
      type: dict
      returned: when it is
      sample: {kind: http, port: 3000, path: /healthz, interval: 0.5, timeout: 2.0, retries: 3, command: []}
    secrets:
      description: Its secrets, whether the file is in place, and how the value is kept across boots, C(encrypted) or C(plain). Not their values.
      type: list
      elements: dict
      returned: success
      sample: [{name: db_password, present: true, kept: encrypted}]
    drained:
      description: How its connections were waited for (see O(drain)), for how many C(seconds), V(null) in check mode, and how many were
        C(remaining) when it was told to stop, or are there now in check mode.
      type: dict
      returned: when it was stopped with O(drain)
      sample: {seconds: 2.4, remaining: 0}
    updated:
      description: When its record was last written, in seconds since 1970.
      type: float
      returned: success
      sample: 1795466128.2
results:
  description:
    - One entry for each element, in their order, with C(name), C(changed), C(failed), C(service), and C(msg) where it failed. C(predicted) is set where check
      mode could not look into a root filesystem that is only promised.
  returned: always
  type: list
  elements: dict
  sample: [{name: web, changed: true, failed: false, service: {name: web, state: started, pid: 4711}}]
"""

from ..module_utils._zipped import compile_once


def main() -> None:
    """Be the module."""
    compile_once()
    from ..module_utils._runner import run_module
    from ..module_utils._service.layer import ServiceLayer

    run_module(ServiceLayer())


if __name__ == "__main__":
    main()
