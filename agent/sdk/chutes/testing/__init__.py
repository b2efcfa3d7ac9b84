"""chutes/testing — a chute's jobs run in this process, as the platform would run them. Needs no host, and asks none."""

from chutes.testing.results import Attempt, Failure, Result
from chutes.testing.runner import Children, LocalRunner

__all__ = ["Attempt", "Children", "Failure", "LocalRunner", "Result"]
