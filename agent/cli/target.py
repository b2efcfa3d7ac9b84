"""cli/target — where the agent is: a socket or an URL, out of options, environment and config file. Connects to nothing."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from agent.cli.refusals import BadTargetError

DEFAULT_CONFIG = Path("/etc/gpu-agent/config.toml")
# The default of [api] socket. Only this one key is read here: a client needs neither the config's rules nor its other keys,
# and may well not be allowed to read the file.
DEFAULT_SOCKET = "/run/gpu-agent/api.sock"


@dataclass(frozen=True, slots=True)
class Given:
    """The options that every client command takes; None where one was not given."""

    config: Path | None = None
    url: str | None = None
    token: str | None = None

    def over(self, other: "Given") -> "Given":
        """These, and where one is not given the other's."""
        # One way to the agent is chosen as a whole: an URL here is not mixed with a config there.
        if self.config is not None or self.url is not None:
            return Given(self.config, self.url, self.token or other.token)
        return Given(other.config, other.url, self.token or other.token)


@dataclass(frozen=True, slots=True)
class Target:
    """`base` is what paths are put after. `socket`: the Unix socket to go through, None for TCP."""

    base: str
    socket: str | None = None
    token: str | None = None

    def __str__(self) -> str:
        return self.base if self.socket is None else f"the socket {self.socket}"


def choose_target(given: Given, environ: Mapping[str, str]) -> Target:
    """What stands on the command line goes before the environment, an URL before a config. Raises BadTargetError."""
    token = given.token or environ.get("GPU_AGENT_TOKEN") or None
    url = given.url or (environ.get("GPU_AGENT_URL") if given.config is None else None)
    if url:
        return read_url(url, token)
    return Target("http://gpu-agent", find_socket(given.config, environ))


def read_url(url: str, token: str | None) -> Target:
    try:
        parts = urlsplit(url)
        has_port = parts.port != 0
    except ValueError as unread:
        raise BadTargetError(f"{url!a} is no URL: {unread}") from unread
    if parts.scheme == "unix" and parts.path:
        return Target("http://gpu-agent", parts.path)
    if parts.scheme not in {"http", "https"} or not parts.hostname or not has_port:
        raise BadTargetError(f"{url!a} is no http or https URL")
    if parts.query or parts.fragment or parts.username is not None:
        raise BadTargetError("the URL holds more than an address; a token goes into GPU_AGENT_TOKEN")
    return Target(url.rstrip("/"), token=token)


def find_config(option: Path | None, environ: Mapping[str, str]) -> Path:
    named = environ.get("GPU_AGENT_CONFIG")
    return option or (Path(named) if named else DEFAULT_CONFIG)


def find_socket(option: Path | None, environ: Mapping[str, str]) -> str:
    if exported := environ.get("GPU_AGENT__API__SOCKET"):
        return exported
    path = find_config(option, environ)
    try:
        api = tomllib.loads(path.read_text("utf-8")).get("api", {})
    except (FileNotFoundError, PermissionError) as error:
        if path == DEFAULT_CONFIG:
            return DEFAULT_SOCKET
        raise BadTargetError(f"the config {path} can't be read: {error.strerror}") from error
    except (OSError, ValueError) as error:
        raise BadTargetError(f"the config {path} can't be read: {error}") from error
    socket = api.get("socket", DEFAULT_SOCKET) if isinstance(api, dict) else DEFAULT_SOCKET
    if not isinstance(socket, str):
        raise BadTargetError(f"{path}: api.socket is no path")
    return socket
