# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Limits in the words of v1, of v2 and of systemd: what is written is read back as the same values."""

from __future__ import annotations

import subprocess
import typing as t

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.daemonless.isolation.plugins.module_utils._cgroup import boot, unit, v1, v2
from ansible_collections.daemonless.isolation.plugins.module_utils._cgroup.limits import (
    LIMITS,
    MAX,
    DiskLatency,
    DiskLimit,
    PageLimit,
    Value,
)
from ansible_collections.daemonless.isolation.plugins.module_utils._host.systemd import slice_cgroup, slice_unit

DISKS = {"/dev/vda": "254:0", "/dev/sdb": "8:16"}
NODES = {number: node for node, number in DISKS.items()}
PARENT = {"cpuset.cpus": "0-7", "cpuset.mems": "0-1"}

SIZES = st.integers(0, 1 << 30).map(lambda pages: pages * 4096) | st.just(MAX)
RATES = st.none() | st.integers(1, 1 << 40)
DISK = st.builds(DiskLimit, st.just("?"), RATES, RATES, RATES, RATES).filter(lambda disk: any(disk.rates().values()))
STRATEGIES: dict[str, st.SearchStrategy[t.Any]] = {
    "cpu_weight": st.integers(1, 10_000),
    "cpu_max": st.just(MAX)
    | st.tuples(st.integers(100, 100_000), st.sampled_from([100_000, 10_000, 1_000_000])).map(
        lambda pair: f"{pair[0] * pair[1] // 10_000}/{pair[1]}"
    ),
    "cpuset_cpus": st.sampled_from([MAX, "0", "1-2", "0,3-5"]),
    "cpuset_mems": st.sampled_from([MAX, "0", "1"]),
    "memory_max": SIZES,
    "memory_high": SIZES,
    "memory_low": SIZES,
    "memory_min": SIZES,
    "memory_swap_max": SIZES,
    "memory_zswap_max": SIZES,
    "pids_max": st.integers(1, 4_194_304) | st.just(MAX),
    "io_weight": st.integers(1, 10_000),
    "io_max": st.dictionaries(st.sampled_from(sorted(DISKS)), DISK).map(
        lambda disks: tuple(DiskLimit(node, **disks[node].rates()) for node in sorted(disks))
    ),
    "io_latency": st.dictionaries(st.sampled_from(sorted(DISKS)), st.integers(1, 10_000_000)).map(
        lambda targets: tuple(DiskLatency(node, targets[node]) for node in sorted(targets))
    ),
    "hugetlb_max": st.dictionaries(st.sampled_from(["1GB", "2MB"]), st.integers(0, 1 << 10)).map(
        lambda pages: tuple(PageLimit(size, pages[size] << 30) for size in sorted(pages))
    ),
}
VALUES = st.fixed_dictionaries(STRATEGIES)


class Kernel:
    """Interface files of one group, as the kernel would answer after writes."""

    def __init__(self, version: int) -> None:
        self.version = version
        self.files: dict[str, str] = {
            "cpu.weight": "100", "cpu.max": "max 100000", "cpuset.cpus": "", "cpuset.mems": "", "memory.max": "max",
            "memory.high": "max", "memory.low": "0", "memory.min": "0", "memory.swap.max": "max", "pids.max": "max",
            "io.weight": "default 100", "io.max": "", "memory.zswap.max": "max", "io.latency": "",
            "hugetlb.2MB.max": "max", "hugetlb.1GB.max": "max",
        }  # fmt: skip
        if version == 1:
            unlimited = str((1 << 63) - 4096)
            self.files = {
                "cpu.shares": "1024", "cpu.cfs_quota_us": "-1", "cpu.cfs_period_us": "100000", "cpuset.cpus": "0-7",
                "cpuset.mems": "0-1", "memory.limit_in_bytes": unlimited, "memory.memsw.limit_in_bytes": unlimited,
                "pids.max": "max", "blkio.bfq.weight": "100", **dict.fromkeys(v1.FILES["io_max"], ""),
                "hugetlb.2MB.limit_in_bytes": unlimited, "hugetlb.1GB.limit_in_bytes": unlimited,
            }  # fmt: skip

    def write(self, file: str, text: str) -> None:
        assert file in self.files, file
        if file == "cpu.max":
            quota, *period = text.split()
            self.files[file] = f"{quota} {period[0] if period else self.files[file].split()[1]}"
        elif file in ("io.max", "io.latency") or file.startswith("blkio.throttle"):
            self._write_disk(file, text)
        elif text == "-1" and file.startswith(("memory", "hugetlb")):
            self.files[file] = str((1 << 63) - 4096)
        else:
            self.files[file] = text.strip()
        if self.version == 1:
            assert int(self.files["memory.memsw.limit_in_bytes"]) >= int(self.files["memory.limit_in_bytes"]), "EINVAL"

    def _write_disk(self, file: str, text: str) -> None:
        number, rest = text.split(" ", 1)
        lines = dict(line.split(" ", 1) for line in self.files[file].splitlines())
        old = dict(pair.split("=") for pair in lines.pop(number, "").split() if "=" in pair)
        merged = {**old, **dict(pair.split("=") for pair in rest.split() if "=" in pair)}
        if file in ("io.max", "io.latency") and any(value != "max" for value in merged.values()):
            lines[number] = " ".join(f"{rate}={value}" for rate, value in merged.items())
        elif file not in ("io.max", "io.latency") and rest != "0":
            lines[number] = rest
        self.files[file] = "\n".join(f"{number} {rest}" for number, rest in lines.items())


@given(VALUES, VALUES)
def test_v2_reads_back_what_it_has_written(first: dict[str, Value], second: dict[str, Value]) -> None:
    kernel = Kernel(2)
    now = {option: limit.default for option, limit in LIMITS.items()}
    for wanted in (first, second):
        for option, value in wanted.items():
            if value != now[option]:
                for file, text in v2.encode(option, value, now[option], PARENT, DISKS):
                    kernel.write(file, text)
        now = {option: t.cast(Value, v2.decode(option, kernel.files, PARENT, NODES)) for option in LIMITS}
        assert now == wanted


@given(VALUES, VALUES)
def test_v1_reads_back_what_it_has_written_and_never_has_swap_below_memory(
    first: dict[str, Value], second: dict[str, Value]
) -> None:
    kernel = Kernel(1)
    now = {option: limit.default for option, limit in LIMITS.items()}
    for wanted in (first, second):
        wanted = {option: value for option, value in wanted.items() if v1.refusal(option, value, wanted, ()) is None}
        for option in set(wanted) - set(v1.FILES):
            del wanted[option]
        wanted.setdefault("memory_swap_max", MAX)
        memory = [wanted["memory_max"], wanted["memory_swap_max"]] != [now["memory_max"], now["memory_swap_max"]]
        for option, value in wanted.items():
            if value != now[option] and not option.startswith("memory"):
                for file, text in v1.encode(option, value, now[option], PARENT, DISKS):
                    kernel.write(file, text)
        if memory:
            for file, text in v1.encode_memory(wanted["memory_max"], wanted["memory_swap_max"], now, ()):
                kernel.write(file, text)
        seen = {option: v1.decode(option, kernel.files, PARENT, NODES) for option in wanted}
        assert seen == wanted
        now = {**now, **wanted}


@pytest.mark.parametrize(
    ("option", "value", "limits", "word"),
    [
        ("memory_high", 4096, {}, "slow"),
        ("memory_low", 4096, {}, "soft limit"),
        ("memory_min", 4096, {}, "protection"),
        ("memory_zswap_max", 4096, {}, "compressed swap"),
        ("io_latency", (DiskLatency("/dev/vda", 5),), {}, "latency"),
        ("memory_swap_max", 0, {}, "memory_max must be set"),
        ("io_weight", 1001, {}, "1000"),
    ],
)
def test_v1_says_why_it_can_not(option: str, value: Value, limits: dict[str, Value], word: str) -> None:
    assert word in str(v1.refusal(option, value, limits, ()))
    assert v1.refusal(option, LIMITS[option].default, limits, ()) is None


def test_files_that_the_kernel_lacks_are_named() -> None:
    assert "memory.memsw.limit_in_bytes" in str(v1.refusal("memory_swap_max", 0, {}, ("memory.memsw.limit_in_bytes",)))
    assert "io.weight" in str(v2.refusal("io_weight", 5, {}, ("io.weight",)))


@given(VALUES)
def test_units_are_read_back_as_the_same_limits(values: dict[str, Value]) -> None:
    values.pop("hugetlb_max")
    expected = {option: value for option, value in values.items() if value != LIMITS[option].default}
    assert unit.parse(unit.render("web", values)) == expected
    assert unit.parse(unit.render("web", {}, ["/dev/vda"], ["/dev/vda"])) == {}


def test_a_unit() -> None:
    values: dict[str, Value] = {
        "cpu_weight": 300,
        "cpu_max": "12500/100000",
        "cpuset_cpus": "0",
        "memory_max": 67108864,
        "memory_low": MAX,
        "memory_swap_max": 0,
        "pids_max": 64,
        "memory_zswap_max": 4096,
        "io_max": (DiskLimit("/dev/vda", wbps=1048576, riops=5),),
        "io_latency": (DiskLatency("/dev/vda", 25_000),),
    }
    assert unit.render("web/3fa91c2", values, ["/dev/sdb"], ["/dev/sdc"]).splitlines() == [
        "# Managed by daemonless.isolation: change it by the module cgroup_slice",
        "[Unit]",
        "Description=Isolation slice web/3fa91c2",
        "",
        "[Slice]",
        "MemoryAccounting=yes",
        "TasksAccounting=yes",
        "IOAccounting=yes",
        "CPUWeight=300",
        "CPUQuota=12.50%",
        "AllowedCPUs=0",
        "MemoryMax=67108864",
        "MemoryLow=infinity",
        "MemorySwapMax=0",
        "MemoryZSwapMax=4096",
        "TasksMax=64",
        "IOWriteBandwidthMax=/dev/vda 1048576",
        "IOReadIOPSMax=/dev/vda 5",
        "IODeviceLatencyTargetSec=/dev/vda 25000us",
        "IOReadBandwidthMax=/dev/sdb infinity",
        "IOWriteBandwidthMax=/dev/sdb infinity",
        "IOReadIOPSMax=/dev/sdb infinity",
        "IOWriteIOPSMax=/dev/sdb infinity",
        "IODeviceLatencyTargetSec=/dev/sdc infinity",
    ]


def test_what_a_systemd_can_not() -> None:
    assert "hundredths" in str(unit.refusal("cpu_max", "33333/270001", 252))
    assert "242" in str(unit.refusal("cpu_max", "3000/200000", 241))
    assert unit.refusal("cpu_max", "30000/100000", 241) is None
    assert "244" in str(unit.refusal("cpuset_cpus", "0", 243))
    assert unit.refusal("cpuset_cpus", MAX, 243) is None
    assert "253" in str(unit.refusal("memory_zswap_max", 4096, 252))
    assert unit.refusal("memory_zswap_max", 4096, 253) is None
    assert "huge pages" in str(unit.refusal("hugetlb_max", (PageLimit("2MB", 0),), 257))
    assert [unit.serves(option, 257) for option in ("memory_zswap_max", "hugetlb_max")] == [True, False]


def test_units_of_names_that_begin_alike_do_not_nest() -> None:
    assert slice_unit("web/3fa91c2") == "isolation-web-3fa91c2.slice"
    assert slice_unit("web-api/x") == r"isolation-web\x2dapi-x.slice"
    assert slice_cgroup("a/b") == "isolation.slice/isolation-a.slice/isolation-a-b.slice"
    assert slice_cgroup("a-b") == r"isolation.slice/isolation-a\x2db.slice"


def test_boot_files_of_parents_sort_first() -> None:
    assert boot.path("web").endswith("/30-cgroup-web.sh")
    names = ["web", "web/3fa91c2", "web/3fa91c2/x"]
    assert sorted(boot.path(name) for name in names) == [boot.path(name) for name in names]


def test_a_boot_file_does_what_it_says(tmp_path: t.Any) -> None:
    root = tmp_path / "my group"
    root.mkdir()
    group = boot.Group(
        str(root), "isolation/web", ("cpu", "pids"), False, (("pids.max", "64"), ("cpu.max", "5000 100000"))
    )
    script = boot.render("web", [group])
    for _again in range(2):
        subprocess.run(["sh", "-e"], input=script, text=True, check=True)
    assert (root / "isolation/web/pids.max").read_text() == "64"
    assert (root / "isolation/web/cpu.max").read_text() == "5000 100000"
    assert (root / "cgroup.subtree_control").read_text() == "+cpu +pids\n"
    assert (root / "isolation/cgroup.subtree_control").read_text() == "+cpu +pids\n"
    assert not (root / "isolation/web/cgroup.subtree_control").exists()


def test_disks_are_looked_up_by_name_at_boot() -> None:
    group = boot.Group("/x", "isolation/web", writes=(("io.max", "/dev/cciss/c0d0 rbps=1"),))
    assert "printf %s \"$(cat '/sys/class/block/cciss!c0d0/dev') rbps=1\" > /x/isolation/web/io.max" in boot.render(
        "web", [group]
    )
