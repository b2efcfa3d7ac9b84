"""adapters/uploads/tus_words — what the headers of tus 1.0.0 say, as values. Asks nobody."""

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urljoin

from agent.core.delivery import Answer, Failure, read_answer
from agent.core.outgoing import Reply, Unsent
from agent.interfaces import Checksum
from agent.spec import WebUrl, limits, read_url

# The stronger first.
CHECKSUMS = (Checksum.SHA256, Checksum.SHA1)
NUMBER = re.compile(r"[0-9]{1,18}")
# Refusals that the protocol has a meaning for. A lock may be held by our own connection that broke, until the endpoint sees that.
WORDS = {
    412: Failure("tus_unsupported", is_passing=False, status=412),
    423: Failure("tus_locked", is_passing=True, status=423),
    460: Failure("checksum_mismatch", is_passing=True, status=460),
}


@dataclass(frozen=True, slots=True)
class Features:
    """What an endpoint offers beyond creation, of what is of use here."""

    checksum: Checksum | None = None


def read_words(outcome: Reply | Unsent) -> Answer:
    if isinstance(outcome, Reply) and outcome.status in WORDS:
        return WORDS[outcome.status]
    return read_answer(outcome)


def read_features(outcome: Reply) -> Features | Failure:
    """Out of the answer to OPTIONS. An endpoint that says nothing of itself is tried all the same."""
    versions = _listed(outcome, "tus-version")
    extensions = _listed(outcome, "tus-extension")
    if versions and "1.0.0" not in versions:
        return Failure("tus_unsupported", is_passing=False, detail=f"versions {', '.join(versions)}")
    if extensions and "creation" not in extensions:
        return Failure("tus_unsupported", is_passing=False, detail=f"extensions {', '.join(extensions)}")
    offered = _listed(outcome, "tus-checksum-algorithm") if "checksum" in extensions else []
    return Features(next((kind for kind in CHECKSUMS if kind.value in offered), None))


def read_number(outcome: Reply | Unsent, header: str) -> int | None:
    text = outcome.headers.get(header, "") if isinstance(outcome, Reply) else ""
    return int(text) if NUMBER.fullmatch(text) else None


def read_place(endpoint: WebUrl, location: str) -> WebUrl | Failure:
    """Where an upload lies: of the endpoint's own origin, since the spec's headers are sent there."""
    try:
        place = read_url(urljoin(endpoint.text, location), limits.MAX_GRANTED_URL_CHARACTERS)
    except ValueError as error:
        return tus_broken(f"a Location that {error}")
    if place.origin != endpoint.origin:
        return Failure("location_elsewhere", is_passing=False, detail=place.origin)
    return place


def show_metadata(metadata: Mapping[str, str]) -> str:
    pairs = ((key, base64.b64encode(value.encode()).decode()) for key, value in metadata.items())
    return ",".join(f"{key} {value}" if value else key for key, value in pairs)


def tus_broken(detail: str) -> Failure:
    """No tus, whatever it says it is; and it would say so again."""
    return Failure("tus_broken", is_passing=False, detail=detail)


def _listed(reply: Reply, header: str) -> list[str]:
    return [word.strip() for word in reply.headers.get(header, "").split(",") if word.strip()]
