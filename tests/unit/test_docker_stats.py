"""What an engine tells of a container's use, as our value, by answers as engines of cgroup v2 and v1 send them."""

import copy
from typing import Any

from agent.adapters.docker.stats import stats_of
from agent.core.container_stats import ContainerStats, StatsReading, cpu_percent

V2: dict[str, Any] = {
    "read": "2026-11-27T03:00:00.1Z",
    "cpu_stats": {"cpu_usage": {"total_usage": 2_500_000_000}, "online_cpus": 2},
    "memory_stats": {"usage": 1000, "limit": 4000, "stats": {"inactive_file": 300, "anon": 5}},
    "pids_stats": {"current": 4, "limit": 100},
    "networks": {"eth0": {"rx_bytes": 10, "tx_bytes": 20}, "eth1": {"rx_bytes": 1, "tx_bytes": 2}},
    "blkio_stats": {
        "io_service_bytes_recursive": [
            {"major": 8, "minor": 0, "op": "read", "value": 7},
            {"major": 8, "minor": 0, "op": "write", "value": 9},
            {"major": 8, "minor": 16, "op": "read", "value": 1},
        ]
    },
}
# A stopped one, as the engine tells of it.
STOPPED: dict[str, Any] = {
    "read": "0001-01-01T00:00:00Z",
    "cpu_stats": {"cpu_usage": {"total_usage": 0}},
    "memory_stats": {},
    "pids_stats": {},
    "blkio_stats": {"io_service_bytes_recursive": None},
}


def but(**changes: object) -> dict[str, Any]:
    return {**copy.deepcopy(V2), **changes}


def test_a_reading_has_each_figure_of_all_networks_and_devices() -> None:
    assert stats_of(V2) == ContainerStats(2.5, 700, 4000, 4, 11, 22, 8, 9)


def test_cgroups_of_version_1_name_it_otherwise() -> None:
    memory = {"usage": 1000, "limit": 4000, "stats": {"total_inactive_file": 100}}
    blocks = {"io_service_bytes_recursive": [{"op": "Read", "value": 3}, {"op": "Total", "value": 99}]}
    told = stats_of(but(memory_stats=memory, blkio_stats=blocks))
    assert told is not None
    assert (told.memory_bytes, told.read_bytes, told.written_bytes) == (900, 3, None)


def test_a_container_without_network_has_no_bytes_of_one() -> None:
    told = stats_of({key: value for key, value in V2.items() if key != "networks"})
    assert told is not None
    assert (told.received_bytes, told.sent_bytes) == (None, None)


def test_of_a_stopped_container_nothing_is_told_rather_than_zeros() -> None:
    assert stats_of(STOPPED) is None


def test_processor_time_is_told_between_two_readings_that_both_have_it() -> None:
    first, second = StatsReading(10, ContainerStats(5.0)), StatsReading(12, ContainerStats(8.0))
    assert cpu_percent(first, second) == 150
    for before in (
        None,
        StatsReading(10, None),
        StatsReading(10, ContainerStats()),
        StatsReading(12, ContainerStats(5.0)),
    ):
        assert cpu_percent(before, second) is None
    assert cpu_percent(second, StatsReading(13, ContainerStats(1.0))) is None
