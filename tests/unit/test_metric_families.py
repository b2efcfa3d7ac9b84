"""What /metrics tells: values in, families out, and their text read back by the library's own parser."""

import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from agent.api.metrics.families import Family, counter, gauges
from agent.api.metrics.of_gpus import GpusSeen, gpu_families, sample_families
from agent.api.metrics.of_host import agent_families, api_families, disk_families, health_family
from agent.api.metrics.of_jobs import job_families, port_family
from agent.api.metrics.of_work import (
    CordsSeen,
    NotificationsSeen,
    SchedulesSeen,
    UploadsSeen,
    cord_families,
    notification_families,
    schedule_families,
    upload_families,
)
from agent.api.metrics.text import write_text
from agent.api.traffic import BOUNDS, Traffic
from agent.core.disk_space import DiskSpace, Where
from agent.core.gpu_findings import GpuState
from agent.core.gpu_record import GpuHealth
from agent.core.gpu_usage import GpuSample
from agent.core.gpus import Gpu
from agent.core.job_counts import RETRIED, JobCounts
from agent.core.ports import PortRange
from agent.core.upload import FileState, JournalFile
from agent.errors import Phase
from agent.jobs.cords import HostState
from agent.jobs.health import Check, CheckState
from agent.jobs.schedules.firing import Tally
from agent.jobs.uploads.tally import SentTally

ROOT = Path(__file__).parents[2]
Read = dict[tuple[str, tuple[tuple[str, str], ...]], float]

ONE, TWO = Gpu("GPU-1", "L40S", 48 << 30), Gpu("GPU-2", "L40S", 48 << 30)
COUNTS = JobCounts(
    {(Phase.QUEUED, "night"): 2, (Phase.QUEUED, None): 3, (Phase.RUNNING, "default"): 1},
    {"gpus": 4, "": 1},
    kept=7,
    totals={("failed", "exit_nonzero"): 5, ("succeeded", ""): 6, (RETRIED, ""): 8},
)
CHECKS = (
    Check("engine", CheckState.OK, 0.0, "fine", ""),
    Check("gpus", CheckState.WARN, 0.0, "one is ill", "look", "process 4711 of bob"),
    Check("store", CheckState.FAIL, 0.0, "full", "free it"),
)
SAMPLE = GpuSample(62.5, 1 << 30, 250.0, 71.0, frozenset(), 1e6)


def everything() -> list[Family]:
    """Each family once, with something in it."""
    traffic = Traffic()
    traffic.note("GET", "/v1/jobs/{id}", 200, 0.01)
    gpus = GpusSeen((ONE, TWO), {}, frozenset(), frozenset())
    return [
        *agent_families("1.2.3", 1_700_000_000.5),
        health_family(CHECKS),
        *disk_families({Where.OUTPUTS: DiskSpace(1, 5 << 30, 1000), Where.LAYER: DiskSpace(2, 6 << 30)}),
        *gpu_families(gpus),
        *sample_families((ONE, TWO), {"GPU-1": SAMPLE}),
        *upload_families(UploadsSeen(1, 2, SentTally(3, 4, 5, 6))),
        *notification_families(NotificationsSeen(3, 2, 1)),
        *cord_families(CordsSeen({HostState.WARM: 2}, 3, {"cord_busy": 4}, 1.5)),
        *schedule_families(SchedulesSeen(5, 1, 2.5, Tally(1, 2, 3, 4))),
        *api_families(traffic, 9, {"stream": 1}),
        *job_families(COUNTS, {"default", "night"}),
        port_family(PortRange(20_000, 20_009), 3, 2),
    ]


def read(families: Iterable[Family]) -> Read:
    parsed = text_string_to_metric_families(write_text(families).decode())
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in parsed
        for sample in family.samples
    }


def value(families: Iterable[Family], name: str, **labels: str) -> float | None:
    return read(families).get((f"gpu_agent_{name}", tuple(sorted(labels.items()))))


# the text


def test_every_family_is_read_back_with_its_help_and_its_type() -> None:
    families = everything()
    parsed = list(text_string_to_metric_families(write_text(families).decode()))
    assert [family.type for family in parsed] == [family.kind.value for family in families]
    assert [family.documentation for family in parsed] == [family.about for family in families]
    assert all(family.samples for family in parsed)


def test_names_follow_the_conventions_of_prometheus() -> None:
    names = [family.name for family in everything()]
    assert len(set(names)) == len(names)
    for family in everything():
        assert re.fullmatch(r"gpu_agent_[a-z][a-z_]*[a-z]", family.name)
        assert family.name.endswith("_total") == (family.kind.value == "counter"), family.name
        # Base units alone: https://prometheus.io/docs/practices/naming/#base-units
        assert not re.search(r"milli|micro|minutes?$|percent|_mib|_gib|_kb|_ms", family.name), family.name
        assert family.about.endswith("."), family.name


def test_the_operators_page_has_every_family_and_no_other() -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    table = page.split("## Metrics", 1)[1].split("\n## ", 1)[0]
    assert set(re.findall(r"^\| `(gpu_agent_\w+)`", table, re.MULTILINE)) == {f.name for f in everything()}


@given(model=st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
def test_a_label_is_read_back_as_it_was_whatever_is_in_it(model: str) -> None:
    text = write_text([gauges("x", "Words.", ("model",), {(model,): 1.0})]).decode()
    lines = [line for line in text.split("\n") if line and not line.startswith("#")]
    assert len(lines) == 1  # no line of an attacker's own
    ((sample,),) = (family.samples for family in text_string_to_metric_families(text))
    assert (sample.labels, sample.value) == ({"model": model}, 1.0)


def test_the_library_is_not_there_before_the_first_scrape() -> None:
    code = "import sys, agent.daemon.serve; print([name for name in sys.modules if 'prometheus' in name or name == 'agent.api.metrics.families'])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)
    assert done.stdout == "[]\n"


# jobs


def test_jobs_are_told_by_phase_and_by_queues_of_the_config_and_all_other_queues_as_one() -> None:
    families = job_families(COUNTS, {"default", "night"})
    assert value(families, "jobs", phase="queued", queue="night") == 2
    assert value(families, "jobs", phase="queued", queue="other") == 3
    assert value(families, "jobs", phase="running", queue="night") == 0
    assert value(families, "jobs_kept") == 7


def test_what_jobs_wait_for_has_a_zero_where_none_waits_and_a_word_where_none_has_looked() -> None:
    families = job_families(COUNTS, {"default"})
    assert value(families, "jobs_waiting", waiting_for="gpus") == 4
    assert value(families, "jobs_waiting", waiting_for="grant") == 1
    assert value(families, "jobs_waiting", waiting_for="image") == 0


def test_ends_are_told_by_outcome_and_reason_and_retries_are_no_ends() -> None:
    families = job_families(COUNTS, {"default"})
    ends = {key: n for key, n in read(families).items() if key[0] == "gpu_agent_jobs_finished_total"}
    assert ends == {
        ("gpu_agent_jobs_finished_total", (("outcome", "failed"), ("reason", "exit_nonzero"))): 5,
        ("gpu_agent_jobs_finished_total", (("outcome", "succeeded"), ("reason", "none"))): 6,
    }
    assert value(families, "job_retries_total") == 8


def test_the_first_job_that_succeeds_is_seen_to_come_after_none() -> None:
    families = job_families(JobCounts(), {"default"})
    assert value(families, "jobs_finished_total", outcome="succeeded", reason="none") == 0


def test_ports_add_up_to_the_range_and_none_is_less_than_none() -> None:
    assert value([port_family(PortRange(1, 10), 3, 2)], "ports", state="free") == 5
    # A range that was made smaller while ports of it are held.
    assert value([port_family(PortRange(1, 2), 3, 0)], "ports", state="free") == 0


# GPUs


def test_a_gpu_is_in_one_state_and_one_that_nobody_has_judged_is_in_none_of_the_drivers() -> None:
    healths = {"GPU-1": GpuHealth("GPU-1", GpuState.QUARANTINED)}
    families = gpu_families(GpusSeen((ONE, TWO), healths, {"GPU-1"}, {"GPU-2"}))
    first = {"uuid": "GPU-1", "index": "0", "model": "L40S"}
    second = {"uuid": "GPU-2", "index": "1", "model": "L40S"}
    assert value(families, "gpus", state="quarantined") == 1
    assert value(families, "gpus", state="unknown") == 1
    assert value(families, "gpus", state="ok") == 0
    assert [value(families, "gpu_state", **first, state=state) for state in ("quarantined", "ok")] == [1, 0]
    assert value(families, "gpu_state", **second, state="unknown") == 1
    assert [value(families, "gpu_leasable", **labels) for labels in (first, second)] == [0, 1]
    assert [value(families, "gpu_leased", **labels) for labels in (first, second)] == [0, 1]
    assert value(families, "gpu_memory_size_bytes", **first) == 48 << 30


def test_whether_a_gpu_is_leased_is_not_told_where_the_database_does_not_say() -> None:
    families = gpu_families(GpusSeen((ONE,), {}, frozenset(), None))
    assert not any(name == "gpu_agent_gpu_leased" for name, _ in read(families))


def test_figures_are_in_base_units_and_what_a_card_does_not_tell_is_missing() -> None:
    families = sample_families((ONE, TWO), {"GPU-1": SAMPLE, "GPU-2": GpuSample(used_bytes=5)})
    first = {"uuid": "GPU-1", "index": "0", "model": "L40S"}
    second = {"uuid": "GPU-2", "index": "1", "model": "L40S"}
    assert value(families, "gpu_utilization_ratio", **first) == 0.625
    assert value(families, "gpu_energy_joules_total", **first) == 1e6
    assert value(families, "gpu_memory_used_bytes", **second) == 5
    assert value(families, "gpu_power_watts", **second) is None


def test_a_gpu_that_was_not_asked_lately_has_no_figures() -> None:
    assert read(sample_families((ONE, TWO), {"GPU-1": None})) == {}


# the host


def test_each_check_is_in_one_state() -> None:
    told = read([health_family(CHECKS)])
    ok = {
        check.name: value([health_family(CHECKS)], "health_check", check=check.name, state="ok")
        for check in CHECKS
    }
    assert ok == {"engine": 1, "gpus": 0, "store": 0}
    assert sum(told.values()) == len(CHECKS)
    assert value([health_family(CHECKS)], "health_check", check="gpus", state="warn") == 1


def test_a_check_tells_nothing_of_what_it_saw() -> None:
    text = write_text([health_family(CHECKS)]).decode()
    assert "4711" not in text
    assert "ill" not in text


def test_disks_are_told_as_the_guard_saw_them() -> None:
    families = disk_families({Where.OUTPUTS: DiskSpace(1, 500, 7), Where.LAYER: DiskSpace(2, 600)})
    assert value(families, "disk_free_bytes", disk="state") == 500
    assert value(families, "disk_free_inodes", disk="state") == 7
    assert value(families, "disk_free_bytes", disk="engine") == 600
    assert value(families, "disk_free_inodes", disk="engine") is None
    assert read(disk_families({})) == {}


# requests


def test_a_path_or_a_method_of_a_clients_own_names_no_series() -> None:
    traffic = Traffic()
    for number in range(50):
        traffic.note(f"BREW{number}", None, 404, 0.001)
    families = api_families(traffic, 0, {})
    ends = {"method": "other", "endpoint": "unmatched", "status": "4xx"}
    assert value(families, "api_requests_total", **ends) == 50
    assert "BREW" not in write_text(families).decode()


def test_a_duration_is_in_the_bucket_that_bounds_it_and_in_all_above() -> None:
    traffic = Traffic()
    for seconds in (BOUNDS[0], 0.3, 99.0):
        traffic.note("GET", "/v1/gpus", 200, seconds)
    families = api_families(traffic, 0, {})
    name, labels = "api_request_duration_seconds", {"method": "GET", "endpoint": "/v1/gpus"}
    bounds = ("0.005", "0.1", "0.5", "10.0", "+Inf")
    assert [value(families, f"{name}_bucket", **labels, le=le) for le in bounds] == [1, 1, 2, 2, 3]
    assert value(families, f"{name}_count", **labels) == 3
    assert value(families, f"{name}_sum", **labels) == pytest.approx(99.305)


@pytest.mark.parametrize("status", [401, 404, 429])
def test_what_the_caller_got_wrong_is_counted_and_not_timed(status: int) -> None:
    traffic = Traffic()
    traffic.note("GET", "/v1/gpus", status, 8.0)
    assert traffic.answers == {("GET", "/v1/gpus", "4xx"): 1}
    assert traffic.times == {}


def test_who_has_gone_is_counted_and_not_timed() -> None:
    traffic = Traffic()
    traffic.note("GET", "/v1/gpus", None, 60.0)
    assert traffic.answers == {("GET", "/v1/gpus", "none"): 1}
    assert traffic.times == {}


# counters


def journal(size: int, state: FileState) -> JournalFile:
    return JournalFile("a", state, size, 0, 0o644, 1, 0.0)


ACTS = st.one_of(
    st.tuples(
        st.just("request"),
        st.sampled_from(["GET", "POST"]),
        st.sampled_from([200, 404, 503]),
        st.floats(0, 20),
    ),
    st.tuples(st.just("file"), st.integers(0, 1 << 40), st.sampled_from(list(FileState))),
    st.tuples(st.just("call"), st.sampled_from(["answered", "cord_busy"]), st.floats(0, 60)),
)


@given(acts=st.lists(ACTS, max_size=20))
def test_no_counter_ever_goes_back(acts: list[tuple[object, ...]]) -> None:
    traffic, sent, cords = Traffic(), SentTally(), CordsSeen(ends={})
    before: Read = {}
    for act in acts:
        match act:
            case ("request", str(method), int(status), float(seconds)):
                traffic.note(method, "/v1/gpus", status, seconds)
            case ("file", int(size), FileState() as state):
                sent.count(journal(size, state))
            case ("call", str(end), float(seconds)):
                ends = {**cords.ends, end: cords.ends.get(end, 0) + 1}
                cords = CordsSeen(ends=ends, seconds=cords.seconds + seconds)
        families = [
            *upload_families(UploadsSeen(0, 0, sent)),
            *cord_families(cords),
            *api_families(traffic, 0, {}),
        ]
        now = read(family for family in families if family.kind.value != "gauge")
        assert all(now[key] >= seen for key, seen in before.items())
        before = now


def test_a_counter_without_labels_is_one_sample() -> None:
    assert read([counter("x_total", "Words.", 3)]) == {("gpu_agent_x_total", ()): 3}
