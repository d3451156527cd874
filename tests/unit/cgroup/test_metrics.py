# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Usage, peaks, pressure, throttling and kills: files of both versions in, one set of words out."""

from __future__ import annotations

from ansible_collections.daemonless.isolation.plugins.module_utils._cgroup import metrics

NODES = {"254:0": "/dev/vda"}


def test_v2() -> None:
    found = metrics.read_v2(
        {
            "memory.current": "5",
            "memory.swap.current": "7",
            "memory.peak": "9",
            "memory.events": "low 0\noom 2\noom_kill 1\noom_group_kill 0",
            "memory.pressure": "some avg10=0.12 avg60=0.00 avg300=1.50 total=42\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=7",
            "pids.current": "2",
            "pids.peak": "4",
            "cpu.stat": "usage_usec 90\nuser_usec 30\nnr_periods 10\nnr_throttled 3\nthrottled_usec 4",
            "cpu.pressure": "some avg10=0.00 avg60=0.00 avg300=0.00 total=0",
            "io.stat": "254:0 rbytes=4096 wbytes=8192 rios=1 wios=2 dbytes=0 dios=0\n7:0 \n8:16 rbytes=0 wbytes=0 rios=0 wios=0",
        },
        NODES,
    )
    assert found == {
        "usage": {
            "memory_current": 5,
            "swap_current": 7,
            "pids_current": 2,
            "cpu_usage_usec": 90,
            "io": [{"device": "/dev/vda", "rbytes": 4096, "wbytes": 8192, "rios": 1, "wios": 2}],
        },
        "peak": {"memory": 9, "pids": 4},
        "pressure": {
            "cpu": {"some": {"avg10": 0.0, "avg60": 0.0, "avg300": 0.0, "total_usec": 0}},
            "memory": {
                "some": {"avg10": 0.12, "avg60": 0.0, "avg300": 1.5, "total_usec": 42},
                "full": {"avg10": 0.0, "avg60": 0.0, "avg300": 0.0, "total_usec": 7},
            },
        },
        "throttling": {"nr_periods": 10, "nr_throttled": 3, "throttled_usec": 4},
        "oom_kills": 1,
    }


def test_v1() -> None:
    found = metrics.read_v1(
        {
            "memory.usage_in_bytes": "5",
            "memory.memsw.usage_in_bytes": "12",
            "memory.max_usage_in_bytes": "9",
            "memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 1",
            "pids.current": "2",
            "cpuacct.usage": "9000",
            "cpu.stat": "nr_periods 10\nnr_throttled 3\nthrottled_time 4000\nnr_bursts 0",
            "blkio.throttle.io_service_bytes_recursive": "254:0 Read 4096\n254:0 Write 8192\n254:0 Total 12288\nTotal 12288",
            "blkio.throttle.io_serviced_recursive": "254:0 Read 1\n254:0 Write 2\n254:0 Total 3\nTotal 3",
        },
        NODES,
    )
    assert found == {
        "usage": {
            "memory_current": 5,
            "swap_current": 7,
            "pids_current": 2,
            "cpu_usage_usec": 9,
            "io": [{"device": "/dev/vda", "rbytes": 4096, "wbytes": 8192, "rios": 1, "wios": 2}],
        },
        "peak": {"memory": 9},
        "pressure": None,
        "throttling": {"nr_periods": 10, "nr_throttled": 3, "throttled_usec": 4},
        "oom_kills": 1,
    }


def test_a_kernel_that_tells_little() -> None:
    for read in (metrics.read_v1, metrics.read_v2):
        assert read({}, {}) == metrics.nothing()
        assert (
            read({"memory.oom_control": "", "memory.events": "", "cpu.stat": "usage_usec 1"}, {})["throttling"] is None
        )
