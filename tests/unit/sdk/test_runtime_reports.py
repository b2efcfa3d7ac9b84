"""Progress, metrics and statuses on their way: merged while one report is under way, and bounded."""

import json
from collections.abc import Mapping
from math import inf
from typing import Any

from chutes._runtime.answer import Answer
from chutes._runtime.reports import Reports


class Host:
    """Answers when told."""

    def __init__(self) -> None:
        self.sent: list[Mapping[str, Any]] = []
        self.answers: list[Answer] = []
        self.complaints: list[str] = []
        self.pokes = 0
        self.reports = Reports(self.send, self.poke, self.complaints.append)

    def send(self, name: str, fields: Mapping[str, Any]) -> Answer:
        assert name == "report"
        self.sent.append(fields)
        self.answers.append(Answer())
        return self.answers[-1]

    def poke(self) -> None:
        self.pokes += 1

    @property
    def points(self) -> list[list[Any]]:
        return [point[:2] for report in self.sent for point in report["metrics"]]


def test_the_first_news_are_sent_at_once() -> None:
    host = Host()
    host.reports.keep_progress(1, "one")
    assert host.pokes == 1
    assert host.reports.tick(now=inf) == inf
    assert host.sent == [
        {"seq": 1, "progress": {"percent": 1, "message": "one"}, "metrics": [], "statuses": {}}
    ]


def test_what_comes_while_a_report_is_under_way_is_merged_into_the_next() -> None:
    host = Host()
    host.reports.keep_status("task", "begun")
    host.reports.tick(now=inf)
    for percent in (1, 2, 3):
        host.reports.keep_progress(percent, None)
        host.reports.keep_metric("loss", percent)
        host.reports.keep_status("task", str(percent))
        host.reports.tick(now=inf)
    assert len(host.sent) == 1
    host.answers[0].give(None)
    host.reports.tick(now=inf)
    second = host.sent[1]
    assert (second["seq"], second["progress"]["percent"], second["statuses"]) == (2, 3, {"task": "3"})
    assert host.points == [["loss", 1], ["loss", 2], ["loss", 3]]


def test_a_tenth_of_a_second_lies_between_two_reports() -> None:
    host = Host()
    host.reports.keep_metric("a", 1)
    host.reports.tick(now=inf)
    host.answers[0].give(None)
    host.reports.keep_metric("a", 2)
    due = host.reports.tick(now=0.0)
    assert due < inf
    assert len(host.sent) == 1
    host.reports.tick(now=due)
    assert len(host.sent) == 2


def test_nothing_new_is_nothing_sent() -> None:
    host = Host()
    assert host.reports.tick(now=inf) == inf
    host.reports.flush()
    assert host.sent == []


def test_the_last_report_waits_for_none() -> None:
    host = Host()
    host.reports.keep_metric("a", 1)
    host.reports.flush()
    host.reports.keep_metric("a", 2)
    host.reports.flush()
    assert [report["seq"] for report in host.sent] == [1, 2]


def test_metrics_beyond_what_is_kept_are_left_out_with_one_complaint() -> None:
    host = Host()
    for number in range(50_000):
        host.reports.keep_metric("x" * 200, number)
    host.reports.flush()
    assert host.points == [["x" * 200, number] for number in range(len(host.points))]
    assert 1_000 < len(host.points) < 5_000
    assert len(host.complaints) == 1


def test_tasks_beyond_a_hundred_are_left_out_and_known_ones_are_not() -> None:
    host = Host()
    for number in range(200):
        host.reports.keep_status(str(number), "begun")
    host.reports.keep_status("0", "done")
    host.reports.flush()
    assert host.sent[0]["statuses"] == {"0": "done"} | {str(number): "begun" for number in range(1, 100)}
    assert len(host.complaints) == 1


def test_statuses_of_the_largest_size_fit_into_what_the_host_takes() -> None:
    host = Host()
    for number in range(100):
        for _ in range(3):
            host.reports.keep_status(f"{number}" + "\N{GRINNING FACE}" * 1_000, "\N{GRINNING FACE}" * 1_000)
    host.reports.flush()
    assert 30 < len(host.sent[0]["statuses"]) < 100
    assert len(json.dumps(host.sent[0])) < 512 << 10


def test_a_report_that_the_host_refuses_does_not_stop_the_next() -> None:
    host = Host()
    host.reports.keep_metric("a", 1)
    host.reports.flush()
    host.answers[0].fail(ValueError("no"))
    host.reports.keep_metric("a", 2)
    host.reports.tick(now=inf)
    assert len(host.sent) == 2
