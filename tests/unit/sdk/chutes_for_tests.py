"""A chute for tests to put jobs on, and what of its jobs' doings they look at."""

from chutes.chute import Chute


def make_chute() -> Chute:
    return Chute(username="tests", name="tests", image="python:3.12-slim")
