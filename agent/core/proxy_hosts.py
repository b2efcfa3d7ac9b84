"""core/proxy_hosts — the host name of a job's web page: how it is written, and what a Host header names. Pure; looks up no job."""

import re
from dataclasses import dataclass
from enum import Enum
from uuid import UUID

# RFC 1035, 2.3.4: a label, and a whole name.
MAX_LABEL_CHARACTERS, MAX_NAME_CHARACTERS = 63, 253
# "--", a UUID and a dot are before the domain, and at least one character of a port's name.
MAX_DOMAIN_CHARACTERS = MAX_NAME_CHARACTERS - MAX_LABEL_CHARACTERS - 1
_LABEL = re.compile(r"([a-z]+[0-9]*)--([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})")
_PORT = re.compile(r":[0-9]{1,5}")
_DOMAIN = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*")


class Elsewhere(Enum):
    """A Host that names no job's page: `OUTSIDE` the domain it is the API's own, below it (`NOWHERE`) nobody's."""

    OUTSIDE = "outside"
    NOWHERE = "nowhere"


@dataclass(frozen=True, slots=True)
class PageHost:
    """One port of one job."""

    job: str
    port: str


def is_domain(text: str) -> bool:
    """Whether names can be made below it: lower case, no dot at its end, no address, and short enough."""
    is_written_well = len(text) <= MAX_DOMAIN_CHARACTERS and _DOMAIN.fullmatch(text) is not None
    return is_written_well and not text.rpartition(".")[2].isdigit()


def read_host(host: str, domain: str) -> PageHost | Elsewhere:
    """What the value of a Host header names. Upper case and a dot at the end are the same name (RFC 1035, 2.3.3 and 3.1)."""
    name, colon, port = host.lower().partition(":")
    name = name.removesuffix(".")
    if not name.endswith(f".{domain}"):
        return Elsewhere.OUTSIDE
    found = _LABEL.fullmatch(name.removesuffix(f".{domain}"))
    if found is None or (colon and not _PORT.fullmatch(colon + port)):
        return Elsewhere.NOWHERE
    return PageHost(found[2], found[1])


def write_host(page: PageHost, domain: str) -> str | None:
    """Its host name. None: the port's name is too long to stand in one."""
    label = f"{page.port}--{UUID(page.job)}"
    return f"{label}.{domain}" if len(label) <= MAX_LABEL_CHARACTERS else None
