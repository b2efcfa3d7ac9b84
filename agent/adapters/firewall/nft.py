"""adapters/firewall/nft — what interfaces.Firewall promises, by the program nft: it knows how each kernel wants to be told.

Reads the switches of br_netfilter, too, and sets none: they are the whole host's.
"""

import asyncio
import errno
import hashlib
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import ParamSpec, TypeVar

import structlog

from agent.adapters.firewall.news import RuleNews
from agent.core.firewall import RuleSet
from agent.core.firewall_text import Siblings, write_removal, write_rules
from agent.interfaces import FirewallSilentError, FirewallUnusableError, Placed

log = structlog.get_logger()

P = ParamSpec("P")
T = TypeVar("T")

# It takes some milliseconds; a kernel that is busy with somebody's thousand rules, a second or two.
CALL_SECONDS = 10.0
# What it says of an error is short; the rules that it reads aloud are some kilobytes.
_TOLD_CHARACTERS = 400
# Why a program can't be run now, and can a moment later.
_PASSING = frozenset({errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ETXTBSY})
_COMMENT = ' comment "'
_FOLDER = Path("/proc/sys/net/bridge")
_SWITCHES = ("bridge-nf-call-iptables", "bridge-nf-call-ip6tables")
_USUAL_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def read_environment() -> Mapping[str, str]:
    """Where programs are, as this process was told; and errors in English, since some are understood."""
    return {"PATH": os.environ.get("PATH", _USUAL_PATH), "LC_ALL": "C"}


def read_switch(name: str) -> str | None:
    """None: there is none, since the module br_netfilter is not loaded."""
    try:
        return (_FOLDER / name).read_text("ascii").strip()
    except FileNotFoundError:
        return None


def list_interfaces() -> Sequence[str]:
    """Of the caller's network namespace."""
    return [name for _, name in socket.if_nameindex()]


class Nft:
    """`command` is nft, or what leads to it."""

    def __init__(
        self,
        news: RuleNews,
        command: Sequence[str] = ("nft",),
        read: Callable[[str], str | None] = read_switch,
        interfaces: Callable[[], Sequence[str]] = list_interfaces,
        seconds: float = CALL_SECONDS,
    ) -> None:
        self._news = news
        self._command = tuple(command)
        self._read = read
        self._interfaces = interfaces
        self._seconds = seconds
        self._siblings = Siblings.BRIDGED

    async def put(self, rules: RuleSet) -> Placed:
        if self._siblings is Siblings.BRIDGED and (why := await self._try(rules)) is not None:
            # A kernel without nft_meta_bridge has refused the whole of it. Were it something else, it refuses the rest as well.
            log.info("firewall.no_bridge_table", error=why)
            self._siblings = Siblings.ROUTED
        if self._siblings is Siblings.ROUTED and (why := await self._try(rules)) is not None:
            self._siblings = Siblings.BRIDGED
            raise FirewallUnusableError(f"nft refused the rules: {why}")
        found = await self._listed(rules.table)
        # Each rule of ours has its comment. What is read now is what is watched for from here on.
        whole = rules.size + (self._siblings is Siblings.BRIDGED)
        if found is None or found.count(_COMMENT) != whole:
            raise FirewallUnusableError(f"somebody changed the table {rules.table} as its rules were placed")
        return Placed(_hash(found), self._siblings)

    async def try_out(self, rules: RuleSet) -> Siblings:
        """Which of the two this host would take. Nothing is placed. Raises FirewallUnusableError, FirewallSilentError."""
        for siblings in (Siblings.BRIDGED, Siblings.ROUTED):
            code, _, told = await self._run(("--check", "-f", "-"), write_rules(rules, siblings))
            if code == 0:
                return siblings
        raise FirewallUnusableError(f"nft refused the rules: {told}")

    async def _try(self, rules: RuleSet) -> str | None:
        code, _, told = await self._run(("-f", "-"), write_rules(rules, self._siblings))
        return told if code != 0 else None

    async def fingerprint(self, table: str) -> str | None:
        found = await self._listed(table)
        return None if found is None else _hash(found)

    async def _listed(self, table: str) -> str | None:
        # Without what changes by itself: counters.
        code, inet, told = await self._run(("--stateless", "list", "table", "inet", table))
        if code != 0:
            if _is_missing(told):
                return None
            raise FirewallUnusableError(f"nft can't read the rules: {told}")
        bridged = ""
        if self._siblings is Siblings.BRIDGED:
            code, bridged, told = await self._run(("--stateless", "list", "table", "bridge", table))
            if code != 0 and not _is_missing(told):
                raise FirewallUnusableError(f"nft can't read the rules: {told}")
        return f"{inet}\0{bridged}"

    async def remove(self, table: str) -> None:
        code, _, told = await self._run(("-f", "-"), write_removal(table))
        if code != 0:
            raise FirewallUnusableError(f"nft can't remove the rules: {told}")

    def why_unfiltered(self) -> str | None:
        for name in _SWITCHES:
            value = _ask(self._read, name)
            if value is None:
                return "the kernel's module br_netfilter is not loaded"
            if value != "1":
                return f"net.bridge.{name} is {value}"
        return None

    def sees(self, interface: str) -> bool:
        return interface in _ask(self._interfaces)

    def listen(self, table: str, changed: Callable[[], None]) -> None:
        self._news.listen(table, changed)

    def close(self) -> None:
        self._news.close()

    async def _run(self, arguments: Sequence[str], text: str = "") -> tuple[int, str, str]:
        """Exit code, what it wrote, and what it said of errors in one line."""
        try:
            process = await asyncio.create_subprocess_exec(
                *self._command,
                *arguments,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env=read_environment(),
            )
        except FileNotFoundError as error:
            raise FirewallUnusableError(f"there is no program {self._command[0]}") from error
        except OSError as error:
            trouble = FirewallSilentError if error.errno in _PASSING else FirewallUnusableError
            raise trouble(f"{self._command[0]} can't be run: {error.strerror}") from error
        try:
            async with asyncio.timeout(self._seconds):
                out, errors = await process.communicate(text.encode())
        except TimeoutError as error:
            raise FirewallSilentError(
                f"{self._command[0]} gave no answer within {self._seconds:g} s"
            ) from error
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        told = " ".join(errors.decode(errors="replace").split())[:_TOLD_CHARACTERS]
        return process.returncode or 0, out.decode(errors="replace"), told


def _ask(read: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
    """What the kernel tells without nft, which takes a descriptor."""
    try:
        return read(*arguments, **named)
    except OSError as error:
        raise FirewallSilentError(f"the kernel's settings can't be read: {error.strerror}") from error


def _hash(listed: str) -> str:
    return hashlib.sha256(listed.encode()).hexdigest()


def _is_missing(told: str) -> bool:
    return "No such file or directory" in told
