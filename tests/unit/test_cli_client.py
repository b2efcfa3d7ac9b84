"""What goes wrong on the way to the API, told apart."""

from collections.abc import Iterator

import aiohttp
import pytest
from aiohttp.client_exceptions import UnixClientConnectorError

from agent.cli import refusals
from agent.cli.client import translated
from agent.cli.refusals import ConnectionLostError, NotReachableError, SocketForbiddenError, document_of
from agent.cli.target import Target
from agent.errors import AgentError

SOCKET = Target("http://gpu-agent", "/run/x.sock")
URL = Target("https://gpu.example.org:8470")
KEY = aiohttp.client_reqrep.ConnectionKey("x", 80, False, True, None, None, None)  # noqa: FBT003 - aiohttp's own


@pytest.mark.parametrize(
    ("target", "raised", "kind", "told"),
    [
        (SOCKET, UnixClientConnectorError("/run/x.sock", KEY, PermissionError(13, "Permission denied")), SocketForbiddenError, "the socket /run/x.sock"),
        (SOCKET, UnixClientConnectorError("/run/x.sock", KEY, FileNotFoundError(2, "No such file")), NotReachableError, "No such file"),
        (URL, aiohttp.ClientConnectorError(KEY, PermissionError(1, "Operation not permitted")), NotReachableError, "https://gpu.example.org:8470"),
        (URL, aiohttp.ServerDisconnectedError(), ConnectionLostError, "broke off"),
        (URL, aiohttp.ClientPayloadError("not completed"), ConnectionLostError, "not completed"),
        (URL, aiohttp.SocketTimeoutError("Timeout on reading"), ConnectionLostError, "Timeout"),
    ],
)  # fmt: skip
def test_each_failure_is_named_for_what_it_is(
    target: Target, raised: Exception, kind: type[AgentError], told: str
) -> None:
    with pytest.raises(kind, match=told), translated(target):
        raise raised


def test_errors_of_our_own_files_and_pipes_are_left_as_they_are() -> None:
    with pytest.raises(BrokenPipeError), translated(SOCKET):
        raise BrokenPipeError


def errors() -> Iterator[type[AgentError]]:
    for value in vars(refusals).values():
        if isinstance(value, type) and issubclass(value, AgentError) and value is not AgentError:
            yield value


def test_every_error_has_a_code_of_its_own_and_a_way_out() -> None:
    found = list(errors())
    assert len({error.code for error in found}) == len(found) > 5
    assert all(error.remedy.endswith(".") for error in found)


def test_an_error_of_ours_reads_like_a_problem_of_the_api() -> None:
    document = document_of(NotReachableError("nobody there"))
    assert document["code"] == "agent_not_reachable"
    assert document["detail"] == "nobody there"
    assert document["blame"] == "host"
    assert document["remedy"]
