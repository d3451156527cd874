#!/usr/bin/python

# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: rootfs_prepare
short_description: Prepare the root filesystem of an isolated service
version_added: 0.1.0
author: daemonless.isolation contributors (@daemonless)
description:
  - Fetches or makes an image once for each content digest, unpacks it in a confined process, and shares it between all services of the host.
  - Gives each instance an overlay over that image, mounted at C(/var/lib/isolation/instances/<name>/rootfs). The image's files are
    shown with their owners shifted into the service's own range of ids by an idmapped mount. Nothing is copied, and nothing is chowned.
  - What is compared is what the kernel has, by mountinfo and C(stat). A root filesystem that was unmounted or covered is mounted again.
  - At boot a short helper, C(/usr/local/libexec/isolation/rootfs), mounts it again. A systemd unit calls it, or the run script of the service under runit.
notes:
  - Needs Linux 5.19, and a file system that supports idmapped mounts under C(/var/lib/isolation) (ext4, xfs, btrfs; tmpfs since Linux 6.3).
  - "An image is unpacked with owners, modes, times, links, C(user.*) extended attributes and file capabilities. All mounts of it are C(nosuid) and
    C(nodev), so that set-user-ID bits and capabilities of files have no effect. Devices and named pipes under C(/dev) are left out; elsewhere they are
    refused, as are absolute names, names with C(..), names below a symbolic link, links to what the archive does not hold, and owners above 65535."
  - The directories C(/dev), C(/etc), C(/proc), C(/run), C(/sys) and the files C(/etc/hosts), C(/etc/hostname) and C(/etc/resolv.conf) are made real entries of
    the instance's own layer where the image has something else, so that what is mounted on them can't be led elsewhere.
options:
  name:
    description:
      - Name of the root filesystem, which is the name of the instance of a service.
      - Lower-case letters, digits and inner dashes, at most 48 characters. Can't be combined with O(aggregate).
    type: str
  service:
    description:
      - The service that this is an instance of. Its instances share one range of ids. Defaults to O(name). Later changes are refused.
    type: str
  source:
    description:
      - Where the image comes from, exactly one of its suboptions. Needed with O(state=present).
      - "A later change that leads to another digest replaces the root filesystem: its own layer begins empty. It is refused while a process uses it."
    type: dict
    suboptions:
      tar:
        description:
          - A tar archive, plain or compressed by gzip, xz, bzip2 or zstd (which takes the host's C(zstd)). The digest is the sha256 of the archive.
        type: dict
        suboptions:
          path:
            description: Absolute path of the archive on the host. Exclusive with O(source.tar.url).
            type: path
          url:
            description: URL of the archive (http, https or ftp). Fetched only if the image of O(source.tar.checksum) is not there.
            type: str
          checksum:
            description:
              - C(sha256:) and 64 hexadecimal digits. Compared before the archive is opened. Needed with O(source.tar.url).
              - With it, an archive whose image is there is not read at all. Without it, the archive is read whenever its size, times or inode have changed.
            type: str
          _origin:
            description: Set by the action plugin with O(remote_src=false), what O(source.tar.path) was on the controller. Not for use in tasks.
            type: str
      oci_layout:
        description:
          - An image of an OCI image layout on the host, a directory or a tar archive of one (plain, or compressed like O(source.tar)).
          - The digest is that of the image's manifest. An index of several platforms means the image for this host.
            An image for another architecture is refused.
        type: dict
        suboptions:
          path:
            description: Absolute path of the directory or the archive on the host.
            type: path
          reference:
            description:
              - The image's name in the layout's index (C(org.opencontainers.image.ref.name)), or its digest. Needed if the layout has several images.
              - With a digest whose image is there, the layout is not read at all.
            type: str
          _origin:
            description: Set by the action plugin with O(remote_src=false), what O(source.oci_layout.path) was on the controller. Not for use in tasks.
            type: str
          _digest:
            description: Set by the action plugin with O(remote_src=false), the digest that it has found on the controller. Not for use in tasks.
            type: str
      docker_archive:
        description:
          - An image of an archive on the host that C(docker save) or C(podman save) has written, plain, or compressed like O(source.tar).
          - The digest is that of the image's configuration, which C(docker images) shows as its ID.
        type: dict
        suboptions:
          path:
            description: Absolute path of the archive on the host.
            type: path
          reference:
            description:
              - A tag of the image, such as V(app:1), or its ID as C(sha256:) and 64 digits. Needed if the archive has several images.
              - With an ID whose image is there, the archive is not read at all.
            type: str
          _origin:
            description: Set by the action plugin with O(remote_src=false), what O(source.docker_archive.path) was on the controller. Not for use in tasks.
            type: str
          _digest:
            description: Set by the action plugin with O(remote_src=false), the digest that it has found on the controller. Not for use in tasks.
            type: str
      registry:
        description:
          - An image of a registry, copied by C(skopeo), which must be installed on the host. The digest is that of the image's manifest.
            An index of several platforms means the image for this host.
          - C(skopeo) honours what the host has set up in C(/etc/containers), such as mirrors, certificates and rules for signatures.
        type: dict
        suboptions:
          image:
            description:
              - The image with its registry, C(host[:port]/name[:tag][@sha256:…]). Without tag and digest, V(latest) is meant. A digest wins over a tag.
              - With a digest the registry is never asked if the image is there. When it is asked for a tag, is said by O(pull).
            type: str
          tls_verify:
            description: Whether the registry must speak TLS, with a certificate that is trusted. V(false) allows plain HTTP, too.
            type: bool
            default: true
          ca_path:
            description: A file on the host with the certificate (PEM) of the authority to trust, in addition to the host's own.
            type: path
          username:
            description: User of the registry. Without it, the host's own login (C(skopeo login) of root) is used, if there is one.
            type: str
          password:
            description:
              - Password of the user. It reaches C(skopeo) by a file in memory, and is in no command line, record, diff or result.
            type: str
          revision:
            description:
              - Any text. After it has changed, the registry is asked again what a tag means, whatever O(pull) says. In the data of a role that
                makes another release, so that services follow a tag when they are told to.
            type: str
      directory:
        description:
          - A directory of the host, which is copied. Its digest is made of names, kinds, modes, owners, sizes, modification times and link targets.
        type: dict
        suboptions:
          path:
            description: Absolute path of the directory on the host.
            type: path
          revision:
            description: Any text. Another one makes another image.
            type: str
      debian:
        description:
          - A Debian release, made by C(mmdebstrap), which must be installed on the host. Its digest is made of these options and the host's architecture.
        type: dict
        suboptions:
          suite:
            description: Name of the release, such as V(bookworm).
            type: str
          variant:
            description: Which packages beside O(source.debian.include), see mmdebstrap(1).
            type: str
            default: minbase
            choices: [essential, apt, minbase, buildd, important, standard]
          include:
            description: Packages to install.
            type: list
            elements: str
          mirror:
            description:
              - URL of a Debian mirror. By default the host's own sources for that release, if it is a Debian host and has them,
                else Debian's public mirror with its updates and security archives.
            type: str
          revision:
            description: Any text. Another one makes the image anew, with today's packages.
            type: str
  pull:
    description:
      - When a registry is asked which image a tag of O(source.registry) means.
      - V(missing) asks only if the host has no image that came from the same reference; of several, the last one is meant.
        What this root filesystem has had from there, it keeps.
      - V(always) asks in every run, in check mode as well, which only reads.
    type: str
    choices: [missing, always]
    default: missing
  mode:
    description:
      - V(overlay) keeps what the service writes in its own layer on disk.
      - V(read_only) lets it write nothing.
      - V(ephemeral) keeps what it writes in memory, up to O(size), until it is unmounted.
      - A later change mounts it again, and is refused while a process uses it.
    type: str
    choices: [overlay, read_only, ephemeral]
    default: overlay
  size:
    description: How much a service may write with O(mode=ephemeral), such as V(64M), which is the default. Rounded up to 64 KiB.
    type: str
  id_base:
    description:
      - The first of the 65536 user and group ids of the host that the service's ids 0 to 65535 are.
      - By default the service's own range, which is assigned once by a hash of its name and kept in a record. Later changes are refused.
    type: int
  files:
    description:
      - Files and directories to lay into the root filesystem. Missing parents are made (mode 0755). Links in a path are followed inside the root filesystem.
      - Laid in only while no process uses the root filesystem. A file that is no longer given is removed, and the image's own shows again.
      - Compared with what is there, or, while a process uses the root filesystem, with what was laid in last.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Absolute path inside the root filesystem.
        type: str
      state:
        description: Whether it is a file or a directory.
        type: str
        default: file
        choices: [file, directory]
      content:
        description: The file's content, in UTF-8. Never shown in the diff.
        type: str
      mode:
        description: Octal mode, in quotes. Defaults to V(0644) for a file and V(0755) for a directory.
        type: str
      owner:
        description: User id inside the service.
        type: int
        default: 0
      group:
        description: Group id inside the service.
        type: int
        default: 0
      sensitive:
        description:
          - Keep the content's digest out of the diff. To keep the content out of Ansible's own output and log, set C(no_log) on the task,
            or use the secrets of M(daemonless.isolation.namespaced_service).
        type: bool
        default: false
  max_size:
    description: How large all files of an image may be together. Considered when it is fetched and unpacked.
    type: str
    default: 16G
  max_entries:
    description: How many entries an image may have. Considered when it is unpacked.
    type: int
    default: 1000000
  force:
    description: With O(state=absent), remove a root filesystem that processes use. They keep what they have open until they end.
    type: bool
    default: false
  prune_images:
    description:
      - Remove the images that no root filesystem refers to, and which are a layer of no mount in any mount namespace of the host. By default they stay,
        so that the next deployment does not fetch them again.
      - Root filesystems and ranges of ids that killed runs had only begun to make go, too.
    type: bool
    default: false
  keep:
    description:
      - With O(state=present), how many other root filesystems of the same service stay, the newest first, by when their records were written.
        Older ones are removed after this one is there.
      - Those that processes use, that a M(daemonless.isolation.namespaced_service) names, or that the task names, are not counted and never removed.
      - By default all stay.
    type: int
  verify:
    description:
      - V(stat) looks at the image's description, the mount and its owners, which takes milliseconds.
      - V(full) reads the whole image, and compares it with the list of its content that was made when it was unpacked. A damaged image, or one from before
        there were such lists, is unpacked again and mounted again wherever it is mounted. That is refused while a process uses it.
    type: str
    choices: [stat, full]
    default: stat
  remote_src:
    description:
      - Whether the C(path) of O(source) is on the host.
      - If V(false), it is on the controller, absolute or found as for M(ansible.builtin.copy). The host is asked which images it has, and an archive is sent
        only if its image is missing (or with O(verify=full)). A O(source.directory) is packed as a tar archive. In check mode nothing is sent.
      - Can't be combined with C(async).
    type: bool
    default: true
  state:
    description: Whether the root filesystem is there. V(absent) unmounts it and removes its own layer; images stay, see O(prune_images).
    type: str
    choices: [present, absent]
    default: present
extends_documentation_fragment:
  - daemonless.isolation.common
seealso:
  - module: daemonless.isolation.namespaced_service
  - module: daemonless.isolation.host_info
"""

EXAMPLES = r"""
- name: A root filesystem from an archive that is on the host
  daemonless.isolation.rootfs_prepare:
    name: web
    source:
      tar:
        path: /srv/web.tar.zst
        checksum: sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae
    files:
      - path: /etc/web.conf
        content: |
          listen = 3000
        mode: "0640"
        group: 1000

- name: A minimal Debian with Python, for a service that writes nothing to disk
  daemonless.isolation.rootfs_prepare:
    name: api-3fa91c2
    service: api
    source:
      debian:
        suite: bookworm
        include: [python3-minimal]
    mode: ephemeral
    size: 64M

- name: From a private registry, asked in every run what the tag means
  daemonless.isolation.rootfs_prepare:
    name: shop-3fa91c2
    source:
      registry:
        image: registry.example.com:5000/shop/web:stable
        ca_path: /etc/ssl/example-ca.pem
        username: deploy
        password: "{{ registry_password }}"
    pull: always

- name: From an archive that docker save has written
  daemonless.isolation.rootfs_prepare:
    name: shop-3fa91c2
    source:
      docker_archive:
        path: /srv/shop.tar.gz
        reference: shop/web:stable

- name: Many at once, from one directory of the host
  daemonless.isolation.rootfs_prepare:
    source:
      directory:
        path: /srv/build/root
    mode: read_only
    aggregate:
      - name: worker-a
      - name: worker-b

- name: An archive of the controller, sent to the hosts that don't have its image; two older releases stay
  daemonless.isolation.rootfs_prepare:
    name: shop-5c1e9aa
    service: shop
    source:
      tar:
        path: shop.tar.gz
    remote_src: false
    keep: 2

- name: Remove one, and the images that nothing uses any more
  daemonless.isolation.rootfs_prepare:
    name: web
    state: absent
    prune_images: true
"""

RETURN = r"""
rootfs:
  description: The root filesystem, if the task named one by O(name).
  returned: when O(name) is given
  type: dict
  sample: &sample
    name: web
    service: web
    path: /var/lib/isolation/instances/web/rootfs
    digest: sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae
    image: /var/lib/isolation/images/sha256-2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae
    size: 145203211
    fetched: 52428800
    entries: 7312
    cached: false
    seconds: 3.2
    id_base: 1048576
    mode: overlay
    files: [/etc/web.conf]
  contains:
    name:
      description: Its name.
      type: str
      returned: always
      sample: web
    state:
      description: V(absent).
      type: str
      returned: with O(state=absent)
      sample: absent
    service:
      description: The service that it is an instance of.
      type: str
      returned: with O(state=present)
      sample: web
    files:
      description: The paths of O(files).
      type: list
      elements: str
      returned: with O(state=present)
      sample: [/etc/web.conf]
    path:
      description: Where it is mounted.
      type: str
      returned: with O(state=present)
      sample: /var/lib/isolation/instances/web/rootfs
    digest:
      description: The digest of its image.
      type: str
      returned: with O(state=present)
      sample: sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae
    image:
      description: The directory of its image.
      type: str
      returned: with O(state=present)
      sample: /var/lib/isolation/images/sha256-2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae
    size:
      description: Bytes of all files of the image together. Null in check mode if the image is not there yet.
      type: int
      returned: with O(state=present)
      sample: 145203211
    fetched:
      description: Bytes of the archive that it was unpacked from. Null in check mode if the image is not there yet.
      type: int
      returned: with O(state=present)
      sample: 52428800
    entries:
      description: How many entries the archive had. Null in check mode if the image is not there yet.
      type: int
      returned: with O(state=present)
      sample: 7312
    seconds:
      description: How long it took to fetch and unpack the image. Null if it was there before.
      type: float
      returned: with O(state=present)
      sample: 3.2
    cached:
      description: Whether the image was there before.
      type: bool
      returned: with O(state=present)
      sample: false
    id_base:
      description: The id of the host that is the service's id 0.
      type: int
      returned: with O(state=present)
      sample: 1048576
    mode:
      description: V(overlay), V(read_only) or V(ephemeral).
      type: str
      returned: with O(state=present)
      sample: overlay
results:
  description: One entry for each element, in the order in which they were given.
  returned: always
  type: list
  elements: dict
  sample:
    - name: web
      changed: true
      failed: false
      rootfs: *sample
  contains:
    name:
      description: The name of the element.
      type: str
      returned: always
      sample: web
    changed:
      description: Whether it was changed, or would be in check mode.
      type: bool
      returned: always
      sample: true
    failed:
      description: Whether the host refused it.
      type: bool
      returned: always
      sample: false
    msg:
      description: What the host answered.
      type: str
      returned: when it failed
      sample: "source.tar: /srv/web.tar.zst: entry 'dev/../../etc/passwd': its name contains .."
    predicted:
      description: Set in check mode when the image is not there yet, so that it could not be looked into.
      type: bool
      returned: when the image is not there
      sample: true
    rootfs:
      description: The same as RV(rootfs).
      type: dict
      returned: always
      sample: *sample
"""

from ..module_utils._zipped import compile_once


def main() -> None:
    """Be the module."""
    compile_once()
    from ..module_utils._rootfs.layer import RootfsLayer
    from ..module_utils._runner import run_module

    run_module(RootfsLayer())


if __name__ == "__main__":
    main()
