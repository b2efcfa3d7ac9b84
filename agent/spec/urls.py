"""spec/urls — the URLs that a spec may name, in one strict form: no two readers of one may differ about its host. Resolves nothing.

What other programs read as an address in disguise (decimal, octal, hex, with a zone) is refused, not understood.
"""

import re
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import AddressValueError, IPv4Address, IPv6Address

from agent.spec.limits import MAX_URL_CHARACTERS

HIDDEN_QUERY = "***"

URL = re.compile(
    r"(?P<scheme>https?)://(?P<authority>[^/?#]*)(?P<path>/[^?#]*)?(?:\?(?P<query>[^#]*))?", re.IGNORECASE
)
# RFC 3986, section 2: what is not here is percent-encoded. No white space, no backslash, no quotes.
SIGNS = re.compile(r"(?:[A-Za-z0-9._~!$&'()*+,;=:@/?\[\]-]|%[0-9A-Fa-f]{2})*")
AUTHORITY = re.compile(r"(?:\[(?P<v6>[^\[\]]*)\]|(?P<name>[^:\[\]]*))(?::(?P<port>[0-9]{1,5}))?")
LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
# By the URL standard of browsers such a last label makes the whole host a number (https://url.spec.whatwg.org/#host-parsing).
NUMBER = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*")
MAX_NAME_CHARACTERS = 253
DEFAULT_PORTS = {"http": 80, "https": 443}
LAST_PORT = 65_535


@dataclass(frozen=True, slots=True)
class WebUrl:
    """A URL taken apart. `host` is in lower case, an IPv6 address without its brackets; `query` has no `?`;
    an empty one is none, as it is for the library that sends.
    """

    scheme: str
    host: str
    port: int
    path: str
    query: str | None = field(repr=False)  # it may be a signature

    @property
    def origin(self) -> str:
        """Where it leads, with nothing of what may be secret."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"

    @property
    def text(self) -> str:
        """The whole URL, written in one way."""
        return self.origin + self.path + ("" if self.query is None else f"?{self.query}")


def read_url(text: str, most_characters: int = MAX_URL_CHARACTERS) -> WebUrl:
    """Take a URL apart. Raises ValueError with words that repeat nothing of it: its query may be a secret."""
    if len(text) > most_characters:
        raise ValueError(f"has more than {most_characters} characters")
    if "#" in text:
        raise ValueError("has a fragment (#…), which is never sent")
    if not SIGNS.fullmatch(text):
        raise ValueError(
            "holds a character that no URL has: percent-encode it, and write names in ASCII (xn--…)"
        )
    found = URL.fullmatch(text)
    if found is None:
        raise ValueError("is no http:// or https:// URL")
    scheme = found["scheme"].lower()
    host, port = _read_authority(found["authority"])
    return WebUrl(scheme, host, port or DEFAULT_PORTS[scheme], found["path"] or "/", found["query"] or None)


def read_host(text: str) -> str:
    """A name or an address (IPv6 without brackets), written in one way. Raises ValueError."""
    return _read_v6(text) if ":" in text else _read_name(text)


def hide_query(text: str) -> str:
    """The URL as it may be stored and shown. Of any text, since a stored spec is not checked again."""
    before, sign, _ = text.partition("?")
    return f"{before}?{HIDDEN_QUERY}" if sign else text


# The URLs of ten thousand files have one host; and no secret: who writes a password here is refused.
@lru_cache(maxsize=256)
def _read_authority(authority: str) -> tuple[str, int | None]:
    if "@" in authority:
        raise ValueError("holds a user name or password before an @")
    found = AUTHORITY.fullmatch(authority)
    if found is None:
        raise ValueError("has no host[:port] that can be read")
    host = _read_v6(found["v6"]) if found["v6"] is not None else _read_name(found["name"])
    if found["port"] is None:
        return host, None
    port = int(found["port"])
    if not 1 <= port <= LAST_PORT:
        raise ValueError(f"has a port that is not from 1 to {LAST_PORT}")
    return host, port


def _read_v6(text: str) -> str:
    if "%" in text:
        raise ValueError("has a zone in its address")
    try:
        return str(IPv6Address(text))
    except AddressValueError as error:
        raise ValueError("has an IPv6 address that can't be read") from error


def _read_name(name: str) -> str:
    labels = name.split(".")
    if NUMBER.fullmatch(labels[-1]):
        try:
            return str(IPv4Address(name))
        except AddressValueError as error:
            raise ValueError("has an address as a number: write it as four decimal numbers") from error
    if len(name) > MAX_NAME_CHARACTERS or not all(map(LABEL.fullmatch, labels)):
        raise ValueError("has a host that is no name: letters, digits, - and _ between single dots")
    return name.lower()
