"""The service manager's side of the notification protocol, played by a real datagram socket."""

import errno
import os
import socket
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from uuid import uuid4

import pytest

from agent.adapters.systemd import (
    ServiceManagerSilentError,
    notify_ready,
    notify_stopping,
    notify_watchdog,
    read_watchdog_seconds,
)

Notify = Callable[[Mapping[str, str]], None]


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    address = str(tmp_path / "notify") if request.param == "path" else f"@gpu-agent-test-{uuid4()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(address.replace("@", "\0", 1))
        receiver.settimeout(5)
        yield receiver, address


@pytest.mark.parametrize(
    ("notify", "message"),
    [(notify_ready, b"READY=1"), (notify_watchdog, b"WATCHDOG=1"), (notify_stopping, b"STOPPING=1")],
)
def test_each_message_arrives(manager: tuple[socket.socket, str], notify: Notify, message: bytes) -> None:
    receiver, address = manager
    notify({"NOTIFY_SOCKET": address})
    assert receiver.recv(100) == message


@pytest.mark.parametrize("environ", [{}, {"NOTIFY_SOCKET": ""}])
def test_without_a_service_manager_nothing_is_said(environ: dict[str, str]) -> None:
    notify_ready(environ)
    notify_watchdog(environ)
    notify_stopping(environ)


@pytest.mark.parametrize("address", ["@gpu-agent-nobody-listens", "/nonexistent/notify", "/" + "x" * 200])
def test_a_socket_that_nobody_reads_is_an_error_that_names_it(address: str) -> None:
    with pytest.raises(ServiceManagerSilentError, match=address):
        notify_ready({"NOTIFY_SOCKET": address})


def test_without_descriptors_it_is_the_same_error(
    manager: tuple[socket.socket, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> socket.socket:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(socket, "socket", refuse)  # the kernel's own no
    with pytest.raises(ServiceManagerSilentError, match="Too many open files"):
        notify_watchdog({"NOTIFY_SOCKET": manager[1]})


def test_a_full_socket_is_an_error_and_never_a_wait(manager: tuple[socket.socket, str]) -> None:
    _, address = manager
    with pytest.raises(ServiceManagerSilentError, match=os.strerror(errno.EAGAIN)):
        notify_until_refused({"NOTIFY_SOCKET": address})


def notify_until_refused(environ: Mapping[str, str]) -> None:
    for _ in range(100_000):  # more than any queue of datagrams holds
        notify_watchdog(environ)


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "7"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "8"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_the_watchdog_s_time_is_read_for_our_process_alone(
    environ: dict[str, str], seconds: float | None
) -> None:
    assert read_watchdog_seconds(environ, 7) == seconds
