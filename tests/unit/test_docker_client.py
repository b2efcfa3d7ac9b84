"""A call that was never sent, told from one that may have taken effect."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.adapters.docker.client import Calls, Deadlines
from agent.interfaces import EngineUnavailableError
from agent.interfaces.engine import Trouble


async def trouble_with(path: Path) -> Trouble:
    calls = Calls(str(path), Deadlines(2.0, 2.0))
    try:
        with pytest.raises(EngineUnavailableError) as raised:
            await calls.quick(lambda client: client.version())
        return raised.value.trouble
    finally:
        calls.close()


async def test_no_socket_at_all_is_down(tmp_path: Path) -> None:
    assert await trouble_with(tmp_path / "none.sock") is Trouble.DOWN


async def test_a_socket_that_a_dead_engine_left_is_down(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(tmp_path / "left.sock"))
    assert await trouble_with(tmp_path / "left.sock") is Trouble.DOWN


async def test_why_no_engine_answers_is_told_in_the_kernels_words(tmp_path: Path) -> None:
    calls = Calls(str(tmp_path / "none.sock"), Deadlines(2.0, 2.0))
    try:
        with pytest.raises(EngineUnavailableError) as raised:
            await calls.quick(lambda client: client.version())
    finally:
        calls.close()
    assert str(raised.value) == f"no engine answers at {tmp_path}/none.sock: No such file or directory"


@pytest.fixture
def dies_in_the_call(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "dies.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def take_and_die() -> None:
            with contextlib.suppress(OSError):
                taken, _ = listener.accept()
                taken.recv(65536)
                taken.close()

        thread = threading.Thread(target=take_and_die)
        thread.start()
        yield path
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


async def test_an_engine_that_dies_within_the_call_broke_off(dies_in_the_call: Path) -> None:
    assert await trouble_with(dies_in_the_call) is Trouble.BROKEN
