"""network — sockets inside the network namespace of a private engine. Opens and listens; speaks no protocol."""

import ctypes
import http.client
import os
import socket
import ssl
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

CLONE_NEWNET = 0x40000000  # linux/sched.h
CALL_SECONDS = 60.0


class Net:
    """Where the engine's ports are. `namespace` None: the caller's own network."""

    def __init__(self, namespace: str | None) -> None:
        self._namespace = namespace

    def connect(self, port: int, host: str = "127.0.0.1", seconds: float = CALL_SECONDS) -> socket.socket:
        return self.inside(lambda: socket.create_connection((host, port), timeout=seconds))

    def listen(self, port: int, host: str = "127.0.0.1") -> socket.socket:
        """A stranger's socket on a port, as any program of the host may open one. Of IPv6: of that alone."""

        def act() -> socket.socket:
            listener = socket.socket(family_of(host))
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bind_alone(listener, host, port)
            listener.listen()
            return listener

        return self.inside(act)

    def listen_udp(self, port: int, host: str = "127.0.0.1") -> socket.socket:
        """As `listen`."""

        def act() -> socket.socket:
            listener = socket.socket(family_of(host), socket.SOCK_DGRAM)
            bind_alone(listener, host, port)
            return listener

        return self.inside(act)

    def ask_udp(self, port: int, question: bytes, host: str = "127.0.0.1", seconds: float = 1.0) -> bytes:
        """The answer to one datagram. Raises OSError: there was none."""
        with self.udp_to(port, host, seconds) as asker:
            asker.send(question)
            return asker.recv(65536)

    def udp_to(self, port: int, host: str = "127.0.0.1", seconds: float = 1.0) -> socket.socket:
        asker = self.inside(lambda: socket.socket(family_of(host), socket.SOCK_DGRAM))
        asker.settimeout(seconds)
        asker.connect((host, port))
        return asker

    def is_open(self, port: int) -> bool:
        try:
            self.connect(port, seconds=2.0).close()
        except OSError:
            return False
        return True

    def inside(self, act: Callable[[], T]) -> T:
        """A socket belongs to the namespace of the thread that made it; a thread of its own leaves ours where we are."""
        if self._namespace is None:
            return act()
        results: list[T] = []
        errors: list[Exception] = []

        def enter_and_act() -> None:
            try:
                enter(Path("/run/netns", str(self._namespace)))
                results.append(act())
            except OSError as error:
                errors.append(error)

        thread = threading.Thread(target=enter_and_act)
        thread.start()
        thread.join()
        if errors:
            raise errors[0]
        return results[0]


def family_of(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def bind_alone(listener: socket.socket, host: str, port: int) -> None:
    if listener.family is socket.AF_INET6:
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    listener.bind((host, port))


def enter(namespace: Path) -> None:
    descriptor = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if ctypes.CDLL(None, use_errno=True).setns(descriptor, CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"setns to {namespace} failed")
    finally:
        os.close(descriptor)


class TcpConnection(http.client.HTTPConnection):
    def __init__(self, net: Net, port: int, tls: ssl.SSLContext | None = None) -> None:
        super().__init__("127.0.0.1", port, timeout=CALL_SECONDS)
        self._net, self._tls = net, tls

    def connect(self) -> None:
        self.sock = self._net.connect(self.port)
        if self._tls is not None:
            self.sock = self._tls.wrap_socket(self.sock, server_hostname="localhost")
