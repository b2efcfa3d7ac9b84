"""chutes/testing — a chute's jobs and cords run in this process, as the platform would run them. Needs no host, and asks none."""

from chutes.testing.cords import CordAnswer
from chutes.testing.results import Attempt, Failure, Result
from chutes.testing.runner import Children, LocalRunner

__all__ = ["Attempt", "Children", "CordAnswer", "Failure", "LocalRunner", "Result"]
