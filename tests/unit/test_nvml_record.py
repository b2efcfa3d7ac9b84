"""The record of GPUs on disk, and how long one that hung is left alone."""

import json
from dataclasses import replace
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from agent.adapters.nvml.hung import Hung
from agent.adapters.nvml.record import NOTHING_KNOWN, Known, Record, read_record, write_record
from agent.core.gpus import Gpu
from agent.core.topology import LinkClass, Links

FULL = Record(
    (
        Known(Gpu("GPU-1", "NVIDIA H100", 80, "00000000:1b:00.0", 0), "GPU-1", 3),
        Known(Gpu("MIG-1", "NVIDIA H100", 10, "00000000:2b:00.0", None, "1g.10gb", "GPU-2"), "GPU-2", None),
    ),
    Links({frozenset(("GPU-1", "GPU-2")): LinkClass.NVLINK}),
    {"GPU-1": 4096},
    {"GPU-1": frozenset({0, 3})},
)


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    write_record(tmp_path / "record", NOTHING_KNOWN)
    write_record(tmp_path / "record", FULL)
    assert read_record(tmp_path / "record") == FULL
    assert [path.name for path in tmp_path.iterdir()] == ["record"]


def test_no_record_is_nothing_known(tmp_path: Path) -> None:
    assert read_record(tmp_path / "record") == NOTHING_KNOWN


def test_a_record_from_before_instances_named_their_gpu_is_read_with_it(tmp_path: Path) -> None:
    write_record(tmp_path / "record", FULL)
    values = json.loads((tmp_path / "record").read_text())
    for known in values["known"]:
        del known["gpu"]["whole"]
    (tmp_path / "record").write_text(json.dumps(values))
    assert read_record(tmp_path / "record") == FULL


def test_a_record_of_an_agent_that_kept_no_nvlinks_is_read(tmp_path: Path) -> None:
    path = tmp_path / "record"
    write_record(path, FULL)
    values = json.loads(path.read_text())
    del values["nvlinks_up"]
    path.write_text(json.dumps(values))
    assert read_record(path) == replace(FULL, nvlinks_up={})


def test_a_record_of_another_form_is_nothing_known(tmp_path: Path) -> None:
    (tmp_path / "record").write_text('{"form": 2}')
    assert read_record(tmp_path / "record") == NOTHING_KNOWN


def test_a_gpu_that_hangs_again_is_left_alone_for_longer_until_it_answers() -> None:
    hung = Hung()
    hung.add(3, now=0)
    assert (hung.at(59), hung.at(61)) == ([3], [])
    hung.add(3, now=100)
    assert (hung.at(219), hung.at(221)) == ([3], [])
    hung.answered({3})
    hung.add(3, now=300)
    assert (hung.at(359), hung.at(361)) == ([3], [])


@given(times=st.integers(1, 200))
def test_however_often_it_hung_it_is_tried_once_an_hour(times: int) -> None:
    hung = Hung()
    for _ in range(times):
        hung.add(0, now=0)
    assert hung.at(3601) == []
