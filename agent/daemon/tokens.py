"""daemon/tokens — tokens made and revoked on the state folder itself, so that it works before the first start too."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from agent.adapters.linux import SystemClock
from agent.adapters.sqlite import SqliteStore
from agent.api.tokens import Scope, new_token
from agent.config import Config
from agent.daemon.database import open_database
from agent.interfaces import Token


@asynccontextmanager
async def open_store(config: Config) -> AsyncIterator[SqliteStore]:
    """The database, beside a daemon that may be running: SQLite lets two processes write in turn.

    Raises DatabaseMissingError, DatabaseDamagedError, DatabaseNewerError, StoreUnavailableError.
    """
    config.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    store = await open_database(config.state_dir)
    try:
        yield store
    finally:
        await store.close()


async def create_token(
    config: Config, name: str, principal: str, scopes: Sequence[str], expires_seconds: float | None
) -> tuple[str, str]:
    """The token's id, and the token itself, which is kept nowhere. Raises ValueError for a scope that there is not."""
    now = SystemClock().now()
    expires_at = None if expires_seconds is None else now + expires_seconds
    made = new_token(name, principal, _read_scopes(scopes), now, expires_at)
    async with open_store(config) as store:
        await store.add_token(made.record)
    return made.record.id, made.secret


def _read_scopes(scopes: Sequence[str]) -> list[Scope]:
    known = {scope.value: scope for scope in Scope}
    if unknown := [scope for scope in scopes if scope not in known]:
        raise ValueError(f"there is no {', '.join(map(repr, unknown))}; there are {', '.join(known)}")
    return [known[scope] for scope in scopes]


async def list_tokens(config: Config) -> list[Token]:
    async with open_store(config) as store:
        return await store.tokens()


async def revoke_token(config: Config, token_id: str) -> bool:
    """False: there is no such token."""
    async with open_store(config) as store:
        return await store.remove_token(token_id)
