"""cli/local — what works on the host itself, without the API: serve, doctor, token, config. With `serving` and `kit` the only users of `daemon` and `config`.

Both are imported when a command runs: they bring every library of the daemon with them.
"""

import os
from collections.abc import Callable, Coroutine
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from agent.cli.durations import read_duration
from agent.cli.options import CONFIG_OPTIONS, given_before, parsed_as
from agent.cli.refusals import BadArgumentError, Json, NotPermittedError
from agent.cli.screen import Form, Screen
from agent.cli.serving import become_daemon
from agent.cli.show.host import TokenLine, checks_view, tokens_table
from agent.cli.target import DEFAULT_CONFIG, find_config
from agent.errors import AgentError

if TYPE_CHECKING:
    from agent.config import Config, ConfigError
    from agent.jobs.health import Check

T = TypeVar("T")

DEFAULT_SCOPES = ("jobs:read", "jobs:write")


@dataclass(frozen=True, slots=True)
class Here:
    """What a local command works with. `config_path` None: built-in defaults, since no file was named and none is there."""

    screen: Screen
    config_path: Path | None

    def read_config(self) -> "Config":
        """Raises ConfigError."""
        from agent.config import load_config  # noqa: PLC0415 - see the module's docstring

        return load_config(self.config_path, os.environ)


def local_command(command: Callable[..., int]) -> Callable[..., None]:
    """What the parser calls: `command`, whose first parameter is a `Here`, with --config and --json. It leaves with the exit code."""

    def run(ctx: typer.Context, **options: Any) -> None:  # noqa: ANN401 - what the parser made of the signature
        screen = Screen(Form.JSON if options.pop("as_json") else Form.PEOPLE)
        path = find_config(options.pop("config") or given_before(ctx).config, os.environ)
        here = Here(screen, None if path == DEFAULT_CONFIG and not path.exists() else path)
        raise typer.Exit(_run(here, lambda: command(here, **options)))

    return parsed_as(run, command, CONFIG_OPTIONS)


def _run(here: Here, command: Callable[[], int]) -> int:
    try:
        return command()
    except (AgentError, PermissionError) as error:
        refuse(here.screen, error)
    return 1


def refuse(screen: Screen, error: AgentError | PermissionError) -> None:
    from agent.config import ConfigError  # noqa: PLC0415 - see the module's docstring

    match error:
        case ConfigError():
            screen.refuse_document(config_document(error))
        case PermissionError():
            screen.refuse(NotPermittedError(f"{error.filename or 'a file'}: {error.strerror}"))
        case _:
            screen.refuse(error)


def _shown(check: "Check") -> dict[str, Any]:
    """Whoever runs this on the host looks after it."""
    shown = asdict(check)
    private = shown.pop("private")
    return {**shown, "evidence": private or check.evidence}


def config_document(error: "ConfigError") -> Json:
    """A problem document: each fault with its file and line."""
    faults = [
        {"field": fault.key, "code": fault.code, "message": fault.text, "remedy": "", "where": fault.where, "line": fault.line}
        for fault in error.faults
    ]  # fmt: skip
    told = f"the config has {len(faults)} fault{'s' if len(faults) > 1 else ''}"
    return {
        "code": error.code,
        "detail": told,
        "blame": error.blame.value,
        "remedy": error.remedy,
        "faults": faults,
    }


def serve(here: Here) -> int:
    """Run the agent in the foreground, as systemd does. SIGTERM ends it; jobs go on, and the next start adopts them."""
    become_daemon(here.config_path, as_json=here.screen.form is Form.JSON)


def doctor(
    here: Here,
    *,
    repair: Annotated[
        bool,
        typer.Option(
            "--repair",
            help="With the agent stopped: put a damaged database aside, and give running jobs their rows back.",
        ),
    ] = False,
) -> int:
    """Look the host over: engine, state folder, database, disk, ports, DNS, clock. Fails if one check does."""
    from agent import daemon  # noqa: PLC0415 - see the module's docstring

    config = here.read_config()
    _quiet_log()
    done = _await(daemon.repair(config)) if repair else []
    for line in done:
        here.screen.say(line)
    if repair and not done:
        here.screen.say("nothing was to be repaired")
    checks: list[dict[str, Any]] = [_shown(check) for check in _await(daemon.examine(config))]
    is_failed = any(check["state"] == "fail" for check in checks)
    here.screen.answer(
        {"state": worst_of(checks), "checks": checks, "repaired": done}, lambda: checks_view(checks)
    )
    return 1 if is_failed else 0


def worst_of(checks: list[dict[str, Any]]) -> str:
    states = {str(check["state"]) for check in checks}
    return next((state for state in ("fail", "warn") if state in states), "ok")


def network_remove(here: Here) -> int:
    """For an uninstall, with the agent stopped: remove the jobs' bridge, and the rules that guarded it. Refused while a container is on it."""
    from agent import daemon  # noqa: PLC0415 - see the module's docstring

    config = here.read_config()
    _quiet_log()
    done = _await(daemon.remove_network(config))
    here.screen.answer({"removed": done}, lambda: "\n".join(done or ["nothing was there"]))
    return 0


def token_create(
    here: Here,
    name: Annotated[str, typer.Argument(metavar="NAME", help="What the list calls it.")],
    *,
    principal: Annotated[
        str | None, typer.Option(help="Whose jobs it makes and sees; default: NAME.")
    ] = None,
    scope: Annotated[
        list[str] | None,
        typer.Option(
            help="jobs:read, jobs:write, jobs:all, exec, gpus:admin, host:admin; may be repeated. Default: the first two."
        ),
    ] = None,
    expires: Annotated[str | None, typer.Option(metavar="SPAN", help="As in 90d; default: never.")] = None,
) -> int:
    """Make a token, and print it once. Works beside a running agent, and before the first start."""
    from agent import daemon  # noqa: PLC0415 - see the module's docstring

    seconds = None if expires is None else read_duration("--expires", expires)
    scopes = tuple(scope or DEFAULT_SCOPES)
    config = here.read_config()
    _quiet_log()
    try:
        token_id, token = _await(daemon.create_token(config, name, principal or name, scopes, seconds))
    except ValueError as error:
        raise BadArgumentError(f"--scope: {error}") from error
    here.screen.say("the token, shown this once; it goes into GPU_AGENT_TOKEN:")
    here.screen.answer_line({"id": token_id, "token": token}, token)
    return 0


def token_ls(here: Here) -> int:
    """List tokens: whose, for what, until when, and when they were used last."""
    from agent import daemon  # noqa: PLC0415 - see the module's docstring

    config = here.read_config()
    _quiet_log()
    tokens = [
        TokenLine(token.id, token.name, token.principal, token.scopes, token.expires_at, token.last_used_at)
        for token in _await(daemon.list_tokens(config))
    ]
    here.screen.answer(
        {"items": [asdict(token) for token in tokens], "next": None}, lambda: tokens_table(tokens)
    )
    return 0


def token_revoke(
    here: Here, token_id: Annotated[str, typer.Argument(metavar="ID", help="As `token ls` lists it.")]
) -> int:
    """Revoke a token, at once and for streams that are open too."""
    from agent import daemon  # noqa: PLC0415 - see the module's docstring

    config = here.read_config()
    _quiet_log()
    if not _await(daemon.revoke_token(config, token_id)):
        raise BadArgumentError(f"there is no token {token_id!a}; `gpu-agent token ls` lists them")
    here.screen.answer_line({"id": token_id, "revoked": True}, f"{token_id} is revoked")
    return 0


def config_check(here: Here) -> int:
    """Read the config and the environment, and name every fault with its file and line."""
    here.read_config()
    told = "built-in defaults" if here.config_path is None else str(here.config_path)
    here.screen.answer_line({"ok": True, "config": told}, f"{told}: no faults")
    return 0


def config_show(here: Here) -> int:
    """Print the config as it counts: file, environment and defaults together, as TOML."""
    import tomllib  # noqa: PLC0415 - for scripts alone

    from agent.config import show_config  # noqa: PLC0415 - see the module's docstring

    text = show_config(here.read_config())
    here.screen.answer_text(tomllib.loads(text), text)
    return 0


def _quiet_log() -> None:
    """The rooms below log what they find; here the answer says it."""
    from agent import log  # noqa: PLC0415 - see the module's docstring

    log.configure("error", "console")


def _await(work: Coroutine[Any, Any, T]) -> T:
    import asyncio  # noqa: PLC0415 - see the module's docstring

    return asyncio.run(work)
