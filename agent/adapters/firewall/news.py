"""adapters/firewall/news — the kernel's word that a table of nftables was changed (netlink). Reads no rule, and asks for nothing."""

import asyncio
import errno
import socket
from collections.abc import Callable

import structlog

log = structlog.get_logger()

# linux/netlink.h and linux/netfilter/nfnetlink.h; Python's socket module has none of them.
_NETLINK_NETFILTER, _SOL_NETLINK, _ADD_MEMBERSHIP, _NFTABLES_GROUP = 12, 270, 1, 7
# A transaction comes in one message; more of it than this is cut off, and told as a change.
_MESSAGE_BYTES = 1 << 16
# The loop goes on to others before the next bite.
_BITE_MESSAGES = 64


def open_news() -> socket.socket:
    """Of the caller's network namespace. Raises OSError."""
    news = socket.socket(
        socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, _NETLINK_NETFILTER
    )
    try:
        news.bind((0, 0))
        news.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, _NFTABLES_GROUP)
    except OSError:
        news.close()
        raise
    return news


class RuleNews:
    """Listens from `listen` until `close`. Whatever becomes of it, it raises nothing: who listens looks now and then all the same."""

    def __init__(self, open_socket: Callable[[], socket.socket] = open_news) -> None:
        self._open_socket = open_socket
        self._socket: socket.socket | None = None
        self._named: bytes = b""
        self._changed: Callable[[], None] = _ignore

    def listen(self, table: str, changed: Callable[[], None]) -> None:
        # In its messages a name is an attribute that ends with a zero byte.
        self._named, self._changed = table.encode() + b"\0", changed
        try:
            self._socket = self._open_socket()
        except OSError as error:
            log.warning("firewall.news_unavailable", error=str(error))
            return
        asyncio.get_running_loop().add_reader(self._socket, self._take_bite)

    def close(self) -> None:
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
            self._socket = None

    def _take_bite(self) -> None:
        is_ours = False
        for _ in range(_BITE_MESSAGES):
            message = self._read_one()
            if message is None:
                break
            # All tables of all programs are told of here; a host may change some of them many times a second.
            is_ours |= self._named in message or not message
        if is_ours:
            self._changed()

    def _read_one(self) -> bytes | None:
        """None: there is no more now. An empty one: what it told is lost, or cut off."""
        if self._socket is None:
            return None
        try:
            message, _, flags, _ = self._socket.recvmsg(_MESSAGE_BYTES)
        except BlockingIOError:
            return None
        except OSError as error:
            if error.errno == errno.ENOBUFS:  # it came faster than we read
                return b""
            log.warning("firewall.news_ended", error=str(error))
            self.close()
            return None
        return b"" if flags & socket.MSG_TRUNC else message


def _ignore() -> None:
    pass
