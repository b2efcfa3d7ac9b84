"""The errors of the SDK: what they say, and that they survive a pickle, as on their way out of a process pool."""

import pickle

import pytest

from chutes import HTTPException, PermanentError, PlatformError, RetriableError
from chutes.errors import Fault, LoadError, PayloadError, RegistrationError

ERRORS: list[tuple[Exception, str]] = [
    (HTTPException(404, "no such job", headers={"X-Why": "gone"}), "404: no such job"),
    (HTTPException(status_code=500), "500"),
    (PermanentError("bad input"), "bad input"),
    (RetriableError("try again"), "try again"),
    (PlatformError("too_deep", "jobs are five deep at most"), "jobs are five deep at most [too_deep]"),
    (PayloadError("a is missing"), "a is missing"),
    (LoadError("there is no file x"), "there is no file x"),
    (
        RegistrationError("job", "work", [Fault("queue", "must be a word", "Write one")]),
        "job 'work' has a fault:\n  queue: must be a word. Write one",
    ),
]


@pytest.mark.parametrize(("error", "told"), ERRORS)
def test_an_error_says_what_it_was_given_before_and_after_a_pickle(error: Exception, told: str) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert [str(error), str(again), type(again)] == [told, told, type(error)]
    assert vars(again) == vars(error)
