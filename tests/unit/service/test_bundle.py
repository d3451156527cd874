# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The bundle: what a service is given, and what it is never given."""

from __future__ import annotations

import json
import typing as t

import pytest

from ansible_collections.daemonless.isolation.plugins.module_utils._service import bundle, seccomp
from ansible_collections.daemonless.isolation.plugins.module_utils._service.bundle import Attachment, Facts
from ansible_collections.daemonless.isolation.plugins.module_utils._service.options import OPTIONS
from ansible_collections.daemonless.isolation.plugins.module_utils._service.parse import parse
from ansible_collections.daemonless.isolation.plugins.module_utils._service.spec import ServiceSpec

NETWORK = Attachment("iso0", "iso012345678901", "02:00:00:00:00:02", "10.88.0.5", "fd88::5", "10.88.0.1", "fd88::1")
OTHER = Attachment("iso1", "iso112345678901", "02:00:00:00:00:03", "10.89.0.5", None, "10.89.0.1", None)


def spec(**given: t.Any) -> ServiceSpec:
    defaults = {name: rule.get("default") for name, rule in OPTIONS.items()}
    return parse(
        {**defaults, "name": "web-1", "service": "web", "rootfs": "web-1", "command": ["/bin/app", "-v"], **given}
    )


def facts(**given: t.Any) -> Facts:
    kept: dict[str, t.Any] = {
        "directory": "/var/lib/isolation/instances/web-1",
        "root": "/var/lib/isolation/instances/web-1/rootfs",
        "read_only": False,
        "id_base": 1 << 20,
        "uid": 1000,
        "gid": 1001,
        "machine": "x86_64",
        "hook": "/usr/local/libexec/isolation/network",
        "init": "/usr/bin/catatonit",
        "cgroup": "isolation/web/1/web-1",
    }
    return Facts(**{**kept, **given})


def config(given: ServiceSpec | None = None, **parts: t.Any) -> dict[str, t.Any]:
    return bundle.config(given or spec(), facts(**parts))


def test_every_service_is_locked_in() -> None:
    made = config()
    kinds = {item["type"] for item in made["linux"]["namespaces"]}
    assert kinds == {"pid", "mount", "network", "uts", "ipc", "cgroup", "user"}
    assert not any("path" in item for item in made["linux"]["namespaces"]), "none is joined"
    assert made["linux"]["uidMappings"] == [{"containerID": 0, "hostID": 1 << 20, "size": 65536}]
    assert made["linux"]["gidMappings"] == made["linux"]["uidMappings"]
    process = made["process"]
    assert process["noNewPrivileges"] is True
    assert process["terminal"] is False
    assert process["capabilities"] == {
        name: [] for name in ("bounding", "effective", "inheritable", "permitted", "ambient")
    }
    assert "oomScoreAdj" not in process
    assert made["linux"]["seccomp"]["defaultAction"] == "SCMP_ACT_ERRNO"
    assert {"/proc/kcore", "/proc/keys", "/proc/interrupts", "/sys/firmware"} <= set(made["linux"]["maskedPaths"])
    assert {"/proc/sys", "/proc/sysrq-trigger"} <= set(made["linux"]["readonlyPaths"])
    assert made["linux"]["resources"]["devices"] == [{"allow": False, "access": "rwm"}]


def test_all_mounts_are_nosuid_and_no_device_but_the_standard_ones_is_there() -> None:
    for mount in config(spec(mounts=[{"source": "/srv", "target": "/srv", "read_only": True, "exec": False}]))[
        "mounts"
    ]:
        assert "nosuid" in mount["options"], mount
        if mount["type"] == "bind":
            assert {"nodev"} <= set(mount["options"])
        if mount["destination"] in (
            "/sys",
            "/sys/fs/cgroup",
            "/etc/hosts",
            "/etc/hostname",
            "/etc/resolv.conf",
            "/dev/init",
        ):
            assert "ro" in mount["options"]
    bind = config(spec(mounts=[{"source": "/srv", "target": "/srv", "read_only": True, "exec": False}]))["mounts"][-1]
    assert {"ro", "rro", "noexec", "rnoexec", "rnosuid", "rnodev"} <= set(bind["options"])


def test_a_mount_below_another_comes_after_it() -> None:
    asked = spec(
        mounts=[
            {"source": "/a", "target": "/data/in/side", "read_only": False, "exec": True},
            {"source": "/b", "target": "/data", "read_only": False, "exec": True},
        ],
        tmpfs=[{"target": "/data/in", "size": "1M", "mode": "1777"}],
    )
    assert [mount["destination"] for mount in config(asked)["mounts"][-3:]] == ["/data", "/data/in", "/data/in/side"]


def test_the_command_is_the_init_s_child() -> None:
    assert config()["process"]["args"] == ["/dev/init", "--", "/bin/app", "-v"]
    bare = config(spec(init=False), init=None)
    assert bare["process"]["args"] == ["/bin/app", "-v"]
    assert not any(mount["destination"] == "/dev/init" for mount in bare["mounts"])


def test_a_supervisor_that_makes_control_groups_is_left_to_it() -> None:
    made = config(cgroup=None)["linux"]
    assert "cgroupsPath" not in made
    assert "resources" not in made


def test_a_service_without_a_slice_has_a_limit_of_processes() -> None:
    assert config()["linux"]["resources"]["pids"] == {"limit": bundle.DEFAULT_PIDS}
    assert "pids" not in config(spec(slice="web"))["linux"]["resources"]


def test_the_network_s_batch() -> None:
    assert bundle.network_batch((NETWORK, OTHER)) == (
        "link set lo up\n"
        "address add 10.88.0.5/32 dev eth0\n"
        "address add fd88::5/128 dev eth0 nodad\n"
        "link set eth0 up\n"
        "route add 10.88.0.1/32 dev eth0\n"
        "route add default via 10.88.0.1 dev eth0\n"
        "route add fd88::1/128 dev eth0\n"
        "route add default via fd88::1 dev eth0\n"
        "address add 10.89.0.5/32 dev eth1\n"
        "link set eth1 up\n"
        "route add 10.89.0.1/32 dev eth1\n"
    )
    assert bundle.network_lines((NETWORK, OTHER)).splitlines()[1] == "iso1 iso112345678901 eth1 02:00:00:00:00:03 apart"


def test_files_of_the_bundle() -> None:
    asked = spec(
        dns={"nameservers": None, "search": ["example.org"], "options": []},
        extra_hosts={"db": "10.0.0.9"},
        hostname="inner",
    )
    made = bundle.files(asked, facts(attachments=(NETWORK,), nameservers=("192.0.2.53",)))
    by_name = {path.rpartition("/")[2]: content for path, content in made.items()}
    assert set(by_name) == {"config.json", "resolv.conf", "hosts", "hostname", "network", "network.ip"}
    assert by_name["config.json"][1] == 0o600
    assert json.loads(by_name["config.json"][0])["hooks"]["createRuntime"][0]["args"][1] == facts().directory
    assert by_name["resolv.conf"][0] == "nameserver 192.0.2.53\nsearch example.org\n"
    assert by_name["hosts"][0].splitlines()[2:] == ["10.88.0.5 inner", "fd88::5 inner", "10.0.0.9 db"]
    assert "network" not in {path.rpartition("/")[2] for path in bundle.files(spec(), facts())}


_FORBIDDEN = """
mount umount umount2 unshare setns pivot_root chroot bpf keyctl add_key request_key userfaultfd io_uring_setup io_uring_enter
io_uring_register perf_event_open ptrace process_vm_readv process_vm_writev kcmp open_by_handle_at name_to_handle_at init_module
finit_module delete_module kexec_load kexec_file_load reboot swapon swapoff settimeofday clock_settime stime adjtimex clock_adjtime
acct quotactl quotactl_fd fsopen fsconfig fsmount fspick move_mount open_tree open_tree_attr mount_setattr sethostname setdomainname
iopl ioperm modify_ldt syslog vhangup lookup_dcookie fanotify_init fanotify_mark pidfd_getfd socketcall uselib nfsservctl
"""
FORBIDDEN = frozenset(_FORBIDDEN.split())


def test_the_allow_list_has_no_way_out() -> None:
    assert not FORBIDDEN & set(seccomp.ALLOWED)
    assert not {"clone", "clone3", "socket", "personality"} & set(seccomp.ALLOWED), "these depend on their arguments"


@pytest.mark.parametrize("machine", ["x86_64", "aarch64", "s390x"])
def test_calls_that_depend_on_their_arguments(machine: str) -> None:
    rules = seccomp.profile(machine)["syscalls"]
    by_name: dict[str, list[dict[str, t.Any]]] = {}
    for rule in rules:
        for name in rule["names"]:
            by_name.setdefault(name, []).append(rule)
    families = {rule["args"][0]["value"] for rule in by_name["socket"]}
    assert families == {1, 2, 10, 16, 17}
    assert all(rule["args"][0]["op"] == "SCMP_CMP_EQ" for rule in by_name["socket"]), (
        "a comparison by size could be tricked"
    )
    (clone,) = by_name["clone"]
    assert clone["args"] == [
        {"index": 1 if machine == "s390x" else 0, "value": 0x7E020000, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}
    ]
    (clone3,) = by_name["clone3"]
    assert (clone3["action"], clone3["errnoRet"]) == ("SCMP_ACT_ERRNO", 38)
    assert all(rule["args"][0]["value"] & 0x0040000 == 0 for rule in by_name["personality"][:-1]), (
        "no ADDR_NO_RANDOMIZE"
    )


def test_only_one_kind_of_system_calls() -> None:
    assert seccomp.profile("x86_64")["architectures"] == ["SCMP_ARCH_X86_64"]


def test_profiles() -> None:
    assert "seccomp" not in config(spec(seccomp="unconfined"))["linux"]
    own = {"defaultAction": "SCMP_ACT_KILL"}
    assert config(spec(seccomp="/etc/p.json"), profile=own)["linux"]["seccomp"] == own
    traced = seccomp.profile("x86_64", ["CAP_SYS_PTRACE"])["syscalls"][0]["names"]
    assert "ptrace" in traced
    assert "mount" not in traced


def test_no_mount_of_the_hosts_is_its_peer() -> None:
    """What is bound from the host is private, unless it is asked for that mounts come from there."""
    given = spec(
        namespaces={"pid": "host"}, mounts=[{"source": "/srv", "target": "/srv", "read_only": False, "exec": True}]
    )
    bound = {
        item["destination"]: {"private", "rprivate"} & set(item["options"])
        for item in config(given)["mounts"]
        if {"bind", "rbind"} & set(item["options"])
    }
    assert bound.pop("/proc") == {"rprivate"}
    assert set(bound) >= {"/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/dev/init", "/srv"}
    assert all(flags == {"private"} for flags in bound.values())


def test_single_files_have_no_flags_that_are_set_by_mount_setattr() -> None:
    wanted = [{"source": "/srv/one", "target": "/one", "read_only": True, "exec": False}]
    shown = [
        [
            mount["options"]
            for mount in config(spec(mounts=wanted), files=files)["mounts"]
            if mount["destination"] == "/one"
        ]
        for files in (frozenset(["/srv/one"]), frozenset())
    ]
    assert shown[0] == [["bind", "nosuid", "nodev", "ro", "noexec", "private"]]
    assert set(shown[1][0]) - set(shown[0][0]) == {"rnosuid", "rnodev", "rro", "rnoexec"}
