"""The live tables: in 80 columns whatever is in them, and a figure that is not known is no zero."""

from io import StringIO
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console, RenderableType

from agent.cli.show.meters import meter
from agent.cli.show.top import gpus_now, stats_view, top_view

GIB = 2**30
NOW = 1_900_000_000.0
SAMPLE = {"utilisation": 80, "memory_used": 20 * GIB, "power": 300.4, "temperature": 61, "slowdowns": []}
NOTHING = dict.fromkeys(SAMPLE)
GPU: dict[str, Any] = {
    "uuid": "GPU-8a2c3b7e-5d1f-4e6a-9c0b-1f2e3d4c5b6a",
    "model": "NVIDIA H100 80GB HBM3",
    "mig": None,
    "memory": 80 * GIB,
    "state": "ok",
    "leased": True,
    "job": "0190aaaa-bbbb-7000-8000-000000000001",
    "sample": SAMPLE,
}
STATS: dict[str, Any] = {
    "job": "0190aaaa-bbbb-7000-8000-000000000001",
    "attempt": 2,
    "at": "2030-03-17T17:46:40.000Z",
    "started_at": "2030-03-17T17:45:40.000Z",
    "container": {
        "cpu_percent": 150.0,
        "cpu_seconds": 90.0,
        "memory": GIB,
        "memory_limit": 2 * GIB,
        "pids": 3,
        "network_received": 1024,
        "network_sent": 2048,
        "disk_read": 4096,
        "disk_written": 0,
    },
    "gpus": [{"uuid": GPU["uuid"], **SAMPLE}],
    "gpu_usage": None,
}


def lines(what: RenderableType, width: int = 80) -> list[str]:
    """Drawn on a console that is wider than asked for, so that what is too wide shows."""
    file = StringIO()
    Console(file=file, width=width + 60, highlight=False, markup=False, emoji=False).print(what)
    return [line.rstrip() for line in file.getvalue().splitlines()]


def seen(*gpus: dict[str, Any], condition: str | None = None) -> dict[str, Any]:
    return {"gpus": {"items": list(gpus), "condition": condition}, "jobs": {"items": []}}


def test_each_gpu_is_one_line_with_bars_in_80_columns() -> None:
    shown = lines(top_view(seen(GPU, {**GPU, "job": None, "leased": False}), NOW, 80))
    assert shown[0].split() == ["#", "BUSY", "MEMORY", "POWER", "TEMP", "STATE", "JOB"]
    assert shown[1].split() == ["0", "█████▋░", "80%", "█▊░░░░░", "20.0", "GiB", "300", "W", "61", "°C", "leased", "0190aaaa-bbbb"]  # fmt: skip
    assert shown[2].split()[-2:] == ["free", "-"]
    assert shown[-1] == "no job runs"


def test_a_wide_terminal_shows_the_model_too() -> None:
    shown = lines(top_view(seen(GPU), NOW, 140), 140)
    assert "H100 80GB H…" in shown[1]
    assert max(map(len, shown)) <= 140


def test_what_is_not_known_is_a_dash_and_no_zero() -> None:
    for sample in (NOTHING, None):
        row = lines(top_view(seen({**GPU, "sample": sample}), NOW, 80))[1]
        assert row.split() == ["0", "-", "-", "-", "-", "leased", "0190aaaa-bbbb"]


def test_a_gpu_that_is_slowed_down_says_why_below_the_table() -> None:
    shown = lines(top_view(seen({**GPU, "sample": {**SAMPLE, "slowdowns": ["power brake"]}}), NOW, 80))
    assert shown[2] == " 0  slowed down: power brake"


def test_a_host_without_gpus_says_why() -> None:
    assert lines(top_view(seen(condition="no\ndriver"), NOW, 80))[0] == "no GPUs: no\\ndriver"


WILD = st.fixed_dictionaries(
    {
        "utilisation": st.none() | st.integers(0, 100),
        "memory_used": st.none() | st.integers(0, 2**50),
        "power": st.none() | st.floats(0, 9999),
        "temperature": st.none() | st.integers(-40, 140),
        "slowdowns": st.just([]),
    }
)


@given(
    WILD,
    st.text(max_size=60),
    st.sampled_from(["ok", "quarantined", "resetting", None]),
    st.integers(80, 200),
)
def test_no_line_is_wider_than_the_terminal(sample: Any, model: str, state: str | None, width: int) -> None:  # noqa: ANN401 - a document
    gpu = {**GPU, "sample": sample, "model": model, "state": state}
    assert max(map(len, lines(gpus_now([gpu] * 2, width), width))) <= width


@pytest.mark.parametrize(
    ("share", "bar"),
    [
        (0, "░░░░"),
        (1, "████"),
        (0.5, "██░░"),
        (0.03, "▏░░░"),
        (0.6, "██▍░"),
        (7, "████"),
        (-1, "░░░░"),
        (None, "    "),
    ],
)
def test_a_bar_is_as_full_as_the_share_and_never_longer(share: float | None, bar: str) -> None:
    assert meter(share, 4).plain == bar


def test_a_job_is_shown_with_all_that_it_uses() -> None:
    usage = {"gpu_seconds": 60.0, "peak_memory": 30 * GIB, "utilisation": 70.0, "utilisation_seconds": 60.0, "energy": 18_000.0, "energy_seconds": 60.0, "slowdown_seconds": 0.0, "gpus": []}  # fmt: skip
    shown = lines(stats_view({**STATS, "gpu_usage": usage}, NOW, 80))
    told = "\n".join(shown)
    assert max(map(len, shown)) <= 80
    for words in ("attempt 2", "1m", "1.50 busy, 1m in all", "1.0 GiB of 2.0 GiB", "1.0 KiB received, 2.0 KiB sent", "4.0 KiB read, 0 B written", "300 W", "61 °C", "30.0 GiB at most", "5 Wh"):  # fmt: skip
        assert words in told


def test_a_job_whose_container_tells_nothing_says_so() -> None:
    told = "\n".join(lines(stats_view({**STATS, "container": None, "gpus": []}, NOW, 80)))
    assert "the engine does not answer" in told
    nothing = dict.fromkeys(STATS["container"])
    assert "busy" not in "\n".join(lines(stats_view({**STATS, "container": nothing, "gpus": []}, NOW, 80)))
