"""adapters/systemd — tells the service manager that we are ready, alive or leaving. Decides nothing of when to say it."""

import socket
from collections.abc import Mapping
from typing import ClassVar

from agent.errors import AgentError, Blame


class ServiceManagerSilentError(AgentError):
    """The service manager's socket is named, and did not take the message."""

    code: ClassVar[str] = "service_manager_silent"
    blame: ClassVar[Blame] = Blame.HOST
    remedy: ClassVar[str] = (
        "See `systemctl status gpu-agent`; the unit wants Type=notify and NotifyAccess=main."
    )

    def __init__(self, address: str, cause: str) -> None:
        super().__init__(f"the service manager did not take our message at {address!r}: {cause}")


def notify_ready(environ: Mapping[str, str]) -> None:
    """Say that the start is over. Without a service manager this and its kin do nothing.

    None of them waits, so they may be called in the event loop. Raises ServiceManagerSilentError.
    """
    _notify(environ, "READY=1")


def notify_watchdog(environ: Mapping[str, str]) -> None:
    """Say that the event loop turns. Raises ServiceManagerSilentError; the next one may get through."""
    _notify(environ, "WATCHDOG=1")


def notify_stopping(environ: Mapping[str, str]) -> None:
    """Say that we leave by ourselves. Raises ServiceManagerSilentError."""
    _notify(environ, "STOPPING=1")


def read_watchdog_seconds(environ: Mapping[str, str], pid: int) -> float | None:
    """How long the service manager waits between two signs of life; None where it doesn't watch the process `pid`.

    Source: sd_watchdog_enabled(3), which also advises to give one at half of that time.
    """
    microseconds, watched_pid = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", str(pid))
    if not microseconds.isdecimal() or int(microseconds) == 0 or watched_pid != str(pid):
        return None
    return int(microseconds) / 1_000_000


def _notify(environ: Mapping[str, str], message: str) -> None:
    address = environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    # sd_notify(3): "@" stands for the NUL byte that begins an abstract name.
    name = "\0" + address[1:] if address.startswith("@") else address
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.settimeout(0)
            sender.sendto(message.encode(), name)
    except OSError as error:
        raise ServiceManagerSilentError(address, str(error)) from error
