"""config/values — the types of the config's values and how each is read from what a person wrote. Knows no key and no default."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from itertools import combinations
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Self

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator
from pydantic_settings import NoDecode

from agent.core.outgoing import read_allowed
from agent.core.proxy_hosts import MAX_DOMAIN_CHARACTERS, is_domain
from agent.core.xids import XidAction, read_action, read_xid
from agent.spec.units import parse_size

# sockaddr_un holds 108 bytes with the closing NUL; a longer path fails only at bind(), with a text that names no key.
LONGEST_SOCKET_PATH_BYTES = 107
LAST_PORT = 65535


@dataclass(frozen=True, slots=True)
class PortRange:
    """Ports from `first` to `last`, both included."""

    first: int
    last: int

    @classmethod
    def parse(cls, value: object) -> Self:
        """Read "20000-29999". Raises ValueError for anything else, and where first > last or a port is outside 1 to 65535."""
        match = re.fullmatch(r"([0-9]{1,5})-([0-9]{1,5})", value) if isinstance(value, str) else None
        if match is None:
            raise ValueError('a port range reads "FIRST-LAST", such as "20000-29999"')
        ports = cls(int(match[1]), int(match[2]))
        if not 1 <= ports.first <= ports.last <= LAST_PORT:
            raise ValueError(f"{ports} is no port range: 1 ≤ first ≤ last ≤ {LAST_PORT}")
        return ports

    def __len__(self) -> int:
        return self.last - self.first + 1

    def __str__(self) -> str:
        return f"{self.first}-{self.last}"

    def contains(self, other: "PortRange") -> bool:
        return self.first <= other.first and other.last <= self.last

    def overlaps(self, other: "PortRange") -> bool:
        return self.first <= other.last and other.first <= self.last


@dataclass(frozen=True, slots=True)
class ListenAddress:
    """Where the API listens for TCP. Port 0 lets the kernel choose."""

    host: str
    port: int

    @classmethod
    def parse(cls, value: object) -> Self:
        """Read "127.0.0.1:8470", "[::1]:8470" or "name:8470". Raises ValueError for anything else."""
        pattern = r"(?:\[([0-9a-fA-F:.]+)\]|([A-Za-z0-9_.-]+)):([0-9]{1,5})"
        match = re.fullmatch(pattern, value) if isinstance(value, str) else None
        if match is None or int(match[3]) > LAST_PORT:
            raise ValueError('an address reads "HOST:PORT", such as "127.0.0.1:8470" or "[::1]:8470"')
        return cls(match[1] or match[2], int(match[3]))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """False for a name other than localhost: what a name resolves to may change under us."""
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


def _refuse_boolean(value: object) -> object:
    # Pydantic reads true as 1, and `concurrency = true` would then silently mean one job at a time.
    if isinstance(value, bool):
        raise ValueError("a number is wanted, not true or false")  # noqa: TRY004 - pydantic turns only ValueError into a fault
    return value


def _read_size(value: object) -> int:
    if not isinstance(value, str | int):
        raise ValueError('a size is wanted, such as "100MB", "64GiB" or a number of bytes')  # noqa: TRY004 - as in _refuse_boolean
    return parse_size(value)


def _require_usable_path(path: Path) -> Path:
    if not path.is_absolute() or "\0" in str(path):
        raise ValueError("an absolute path is wanted: the daemon's working folder is not yours")
    return path


def _require_short_path(path: Path) -> Path:
    if len(str(path).encode()) > LONGEST_SOCKET_PATH_BYTES:
        raise ValueError(
            f"the kernel takes at most {LONGEST_SOCKET_PATH_BYTES} bytes for the path of a socket"
        )
    return path


def _read_ip(value: object) -> str:
    # Not the number: ip_address() takes integers, and 8 would mean 0.0.0.8.
    if not isinstance(value, str):
        raise ValueError("an IP address in quotes is wanted")  # noqa: TRY004 - as in _refuse_boolean
    return str(ip_address(value))


def _read_binds(value: object) -> tuple[str, ...]:
    """One address, or a list of them; in a variable a list is JSON."""
    if isinstance(value, str):
        value = _read_list(value) if value.lstrip().startswith("[") else [value]
    if not isinstance(value, Sequence) or not value:
        raise ValueError('an address is wanted, or a list of them, such as ["0.0.0.0", "::"]')
    addresses = [ip_address(_read_ip(one)) for one in value]
    for address in addresses:
        _require_publishable(address)
    for one, other in combinations(addresses, 2):
        _require_apart(one, other)
    return tuple(map(str, addresses))


def _read_list(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError as error:
        raise ValueError('a list in a variable is JSON, such as ["0.0.0.0", "::"]') from error


def _require_publishable(address: IPv4Address | IPv6Address) -> None:
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            raise ValueError(f"{address} is {address.ipv4_mapped} in other words: write that")
        if address.scope_id is not None or address.is_link_local:
            raise ValueError(f"{address} means nothing without its interface, which the engine does not take")
    if address.is_multicast:
        raise ValueError(f"{address} is a group's: nobody connects to it")


def _require_apart(one: IPv4Address | IPv6Address, other: IPv4Address | IPv6Address) -> None:
    """A port can be had once on each address: where two of them lead to one, no job with ports would ever start."""
    if one == other:
        raise ValueError(f"{one} stands there twice")
    if one.version == other.version and (one.is_unspecified or other.is_unspecified):
        raise ValueError(f"{one} and {other} overlap: one of them is every address of its kind")


def _require_off_loopback(value: str) -> str:
    if ip_address(value).is_loopback:
        raise ValueError(
            "a loopback address is the job itself when a job asks it; name a server that jobs can reach"
        )
    return value


def _read_port_map(value: object) -> Mapping[PortRange, PortRange]:
    if not isinstance(value, Mapping):
        raise ValueError('a table of ranges is wanted, such as {"20000-20099" = "40000-40099"}')  # noqa: TRY004 - as in _refuse_boolean
    rows = {PortRange.parse(host): PortRange.parse(external) for host, external in value.items()}
    if len(rows) != len(value):
        raise ValueError("one range is written twice")
    return MappingProxyType(rows)


def _read_network(value: object) -> str:
    # Not the number, as in _read_ip. A network with bits below its mask is a slip of the pen, and is refused.
    if not isinstance(value, str):
        raise ValueError('an address or a network in quotes is wanted, such as "10.20.0.0/16"')  # noqa: TRY004 - as in _refuse_boolean
    try:
        return str(ip_network(value))
    except ValueError as error:
        hint = 'an address or a network is wanted, such as "10.20.0.0/16" or "fd00:20::/64": names have no place in a firewall'
        raise ValueError(f"{error}; {hint}") from error


def _refuse_link_local(value: str) -> str:
    network = ip_network(value)
    if network.is_link_local:
        raise ValueError(f"{network} is link-local, where clouds keep a host's credentials: it is never open")
    return value


def _require_host_or_network(value: str) -> str:
    try:
        return str(read_allowed(value))
    except ValueError as error:
        hint = "a host's name, an address or a network is wanted, without scheme, port and path"
        raise ValueError(f"{error}; {hint}") from error


_Number = BeforeValidator(_refuse_boolean)
# TOML's numbers have no bounds; those of the kernel, of the engine and of a date have, and fail far from the key.
_LARGEST_COUNT = 2**31 - 1
_LONGEST_SECONDS = 10 * 365 * 86400

Count = Annotated[int, _Number, Field(ge=0, le=_LARGEST_COUNT)]
PositiveCount = Annotated[int, _Number, Field(ge=1, le=_LARGEST_COUNT)]
PositiveNumber = Annotated[float, _Number, Field(gt=0, le=_LARGEST_COUNT)]
Seconds = Annotated[float, _Number, Field(gt=0, le=_LONGEST_SECONDS)]
AnySeconds = Annotated[float, _Number, Field(ge=0, le=_LONGEST_SECONDS)]
WaitPoints = Annotated[float, _Number, Field(ge=0, le=_LARGEST_COUNT)]


def _require_domain(name: str) -> str:
    if name and not is_domain(name):
        told = f"a domain of at most {MAX_DOMAIN_CHARACTERS} characters is wanted, in lower case, such as jobs.example.org"
        raise ValueError(told)
    return name


Size = Annotated[int, BeforeValidator(_read_size), Field(ge=1)]
AbsolutePath = Annotated[Path, AfterValidator(_require_usable_path)]
SocketPath = Annotated[AbsolutePath, AfterValidator(_require_short_path)]
Ip = Annotated[str, BeforeValidator(_read_ip)]
# Where ports are published: one address, or several, each of which leads to the same port.
Binds = Annotated[tuple[str, ...], BeforeValidator(_read_binds), NoDecode]
DnsServer = Annotated[Ip, AfterValidator(_require_off_loopback)]
Ports = Annotated[PortRange, BeforeValidator(PortRange.parse), NoDecode]
# From a port range of this host to one as long, where clients reach it: the n-th port of one is the n-th of the other.
# A plain validator: after it nothing may copy the map into one that can be changed.
PortMap = Annotated[Mapping[PortRange, PortRange], PlainValidator(_read_port_map)]
Listen = Annotated[ListenAddress, BeforeValidator(ListenAddress.parse), NoDecode]
Texts = tuple[Annotated[str, Field(min_length=1)], ...]
# Names and addresses, or networks such as 10.0.0.0/8.
OutgoingHosts = tuple[Annotated[str, AfterValidator(_require_host_or_network)], ...]
# In their canonical text.
Networks = tuple[Annotated[str, BeforeValidator(_read_network)], ...]
OpenedNetworks = tuple[
    Annotated[str, BeforeValidator(_read_network), AfterValidator(_refuse_link_local)], ...
]
# "*" is all of them.
GpuUuids = tuple[Annotated[str, Field(pattern=r"^(\*|(GPU|MIG)-[0-9A-Za-z/-]+)$")], ...]
# By row, so that each bad one is told with its own line.
XidActions = Annotated[
    Mapping[Annotated[int, BeforeValidator(read_xid)], Annotated[XidAction, BeforeValidator(read_action)]],
    AfterValidator(MappingProxyType),
]
PageDomainName = Annotated[str, AfterValidator(_require_domain)]
