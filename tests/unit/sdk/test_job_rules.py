"""What `@chute.job` takes and refuses, ports aside: every fault of a function in one error."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from agent.spec.limits import RESERVED_QUEUES
from chutes import Chute
from chutes._manifest import describe
from chutes._refusing import noting
from chutes.errors import RegistrationError

REFUSED: list[tuple[dict[str, Any], str]] = [
    *[({"timeout": bad}, "timeout") for bad in (29, 86_401, 60.0, "60", True, -1, float("nan"))],
    *[({"retry_count": bad}, "retry_count") for bad in (-1, 101, None, True, 1.0, "3")],
    *[({"priority": bad}, "priority") for bad in (-101, 101, None, False, 0.5)],
    *[({"queue": bad}, "queue") for bad in ("", "a b", ".a", "q" * 65, None, 1, "ü", "a\n", [])],
    *[({"queue": reserved}, "queue") for reserved in RESERVED_QUEUES],
    *[({"name": bad}, "name") for bad in ("", "a/b", ".a", "-a", "n" * 129, 1, "a b", "a\n", "größe")],
    *[({"schedule": bad}, "schedule") for bad in ("", "* * * *", "* * * * * *", "every day", 5, "@", "\n")],
    *[({"upload": bad}, "upload") for bad in (None, 0, "yes")],
    *[({"ssh": bad}, "ssh") for bad in (None, 1, "key")],
    ({"retries": 3}, "retries"),
]
LEGAL: list[dict[str, Any]] = [
    *[{"timeout": good} for good in (None, 30, 86_400)],
    *[{"retry_count": good} for good in (0, 100)],
    *[{"priority": good} for good in (-100, 100)],
    *[{"queue": good} for good in ("default", "a.b-c_9", "q" * 64)],
    *[{"name": good} for good in ("a", "_a", "a.b-c", "9", "n" * 128)],
    *[{"schedule": good} for good in ("@daily", "0 3 * * *", "*/5 1-4,7 * JAN mon", "0  3  *  *  *")],
]


@pytest.fixture
def chute() -> Chute:
    return Chute(username="me", name="rules")


async def plain(self: Chute) -> None: ...


def fields_of(error: RegistrationError) -> list[str]:
    return [fault.field for fault in error.faults]


@pytest.mark.parametrize(("settings", "field"), REFUSED)
def test_a_setting_outside_its_rule_is_refused_by_name(
    chute: Chute, settings: dict[str, Any], field: str
) -> None:
    with pytest.raises(RegistrationError) as refused:
        chute.job(**settings)(plain)
    assert fields_of(refused.value) == [field]
    assert chute.jobs == {}


@pytest.mark.parametrize("settings", LEGAL)
def test_a_setting_within_its_rule_is_taken_as_written(chute: Chute, settings: dict[str, Any]) -> None:
    chute.job(**settings)(plain)
    (job,) = chute.jobs.values()
    assert {name: getattr(job, name) for name in settings} == settings


def test_all_faults_of_a_function_come_in_one_error(chute: Chute) -> None:
    wrong = {"timeout": 1, "queue": "", "priority": 101, "retry_count": -1, "ports": [80], "retrys": 1}
    with pytest.raises(RegistrationError) as refused:
        chute.job(**wrong)(plain)
    assert sorted(fields_of(refused.value)) == sorted({**wrong, "ports[0]": 80}.keys() - {"ports"})
    assert "job 'plain' has 6 faults" in str(refused.value)


def test_an_error_says_what_to_write_instead(chute: Chute) -> None:
    with pytest.raises(ValueError, match=r"timeout: must be .* from 30 to 86400, not 5\. Write a number"):
        chute.job(timeout=5)(plain)


def test_an_unknown_setting_is_told_the_nearest_known_one(chute: Chute) -> None:
    with pytest.raises(ValueError, match=r"retrycount: .* of @chute\.job\. Did you mean retry_count\?"):
        chute.job(retrycount=5)(plain)


def test_two_jobs_of_one_registered_name_are_refused(chute: Chute) -> None:
    chute.job(name="plain")(plain)
    with pytest.raises(ValueError, match="'plain' is the name of another job of this chute"):
        chute.job()(plain)


@pytest.mark.parametrize("odd", [print, partial(plain), 5, Chute, staticmethod(plain)])
def test_only_functions_are_jobs(chute: Chute, odd: Callable[..., Any]) -> None:
    with pytest.raises(ValueError, match="function: must be a def or an async def"):
        chute.job(name="odd")(odd)


def without_self() -> None: ...
def with_names_alone(*, a: int = 0) -> None: ...
def with_rest_alone(**rest: int) -> None: ...


@pytest.mark.parametrize("function", [without_self, with_names_alone, with_rest_alone])
def test_a_function_that_does_not_take_the_chute_is_refused(
    chute: Chute, function: Callable[..., None]
) -> None:
    with pytest.raises(ValueError, match="function: takes no self"):
        chute.job()(function)


def test_a_job_that_yields_is_refused(chute: Chute) -> None:
    async def stream(self: Chute):
        yield 1

    with pytest.raises(ValueError, match="function: yields"):
        chute.job()(stream)


def test_a_scheduled_job_needs_nothing_that_a_payload_would_bring(chute: Chute) -> None:
    async def nightly(self: Chute, output_dir: str, days: int = 1, **rest: int) -> None: ...

    async def daily(self: Chute, table: str) -> None: ...

    chute.job(schedule="@daily")(nightly)
    with pytest.raises(ValueError, match=r"schedule: .* table would be missing"):
        chute.job(schedule="@daily")(daily)


def test_parentheses_are_asked_for_where_they_are_missing(chute: Chute) -> None:
    for decorator in (chute.job, chute.cord, chute.on_startup, chute.on_shutdown):
        with pytest.raises(TypeError, match="with parentheses"):
            decorator(plain)


def test_a_decorated_function_stays_the_function_it_was(chute: Chute) -> None:
    assert chute.job()(plain) is plain


def test_a_plain_def_is_a_job_too(chute: Chute) -> None:
    def count(self: Chute) -> int:
        return 3

    chute.job()(count)
    assert chute.count() == 3
    assert [job["is_async"] for job in describe(chute)["jobs"]] == [False]


def test_under_describe_refusals_are_noted_and_the_file_goes_on(chute: Chute) -> None:
    with noting():
        chute.job(timeout=1)(plain)
        chute.job(name="second", queue="")(plain)
        chute.job(name="third")(plain)
    described = describe(chute)
    assert list(chute.jobs) == ["third"]
    assert [(each["function"], each["kind"]) for each in described["refused"]] == [("plain", "job")] * 2
    assert described["refused"][0]["faults"][0]["field"] == "timeout"


def test_after_describe_a_refusal_is_raised_again(chute: Chute) -> None:
    with noting():
        chute.job(timeout=1)(plain)
    with pytest.raises(RegistrationError):
        chute.job(timeout=1)(plain)
