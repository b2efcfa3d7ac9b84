"""api/tokens — how a bearer token is made, read and hashed. Keeps none and decides nothing of a request."""

import hashlib
import hmac
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from agent.interfaces import Token

PREFIX = "gat"
ID_BYTES = 6
SECRET_BYTES = 32
# Long enough for any of ours; more would only be hashed for nothing.
MAX_TOKEN_CHARACTERS = 200


class Scope(StrEnum):
    """What a token may do. `jobs:all` lifts the filter by principal; it gives no right to read or write by itself."""

    JOBS_READ = "jobs:read"
    JOBS_WRITE = "jobs:write"
    JOBS_ALL = "jobs:all"
    EXEC = "exec"
    GPUS_ADMIN = "gpus:admin"
    HOST_ADMIN = "host:admin"


@dataclass(frozen=True, slots=True)
class NewToken:
    """The record to store, and the token itself, which is shown once and kept nowhere."""

    record: Token
    secret: str


def new_token(
    name: str, principal: str, scopes: Iterable[Scope], created_at: float, expires_at: float | None
) -> NewToken:
    """Make a token `gat_<id>_<secret>`, of 256 random bits. Times are UTC seconds; `expires_at` None: never."""
    token_id = secrets.token_hex(ID_BYTES)
    secret = f"{PREFIX}_{token_id}_{secrets.token_hex(SECRET_BYTES)}"
    ordered = tuple(scope.value for scope in Scope if scope in set(scopes))
    record = Token(token_id, name, principal, ordered, digest_of(secret), created_at, expires_at)
    return NewToken(record, secret)


def find_token(tokens: Iterable[Token], given: str) -> Token | None:
    """The record of a token, whether it has expired or not. None: nobody made it.

    All records are compared, each in constant time, so that the time taken says nothing of which one came near.
    """
    digest = digest_of(given[:MAX_TOKEN_CHARACTERS])
    found = [token for token in tokens if hmac.compare_digest(token.digest, digest)]
    return found[0] if found else None


def digest_of(secret: str) -> str:
    """SHA-256, hex. The secret has 256 bits of its own, so a slow hash would add nothing. What is given may hold anything, halves of
    surrogate pairs too.
    """
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
