"""cli/serving — the process that `gpu-agent serve` becomes: the daemon alone. One that does not start says why as any command does.

What draws tables and parses arguments is 5 MB, which the daemon would keep for as long as it runs. So is what libraries take only
where they find it, and the daemon has no use for: 4 MB more.
"""

import os
import signal
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Never

if TYPE_CHECKING:
    from agent.config import Config

# For tracebacks on a terminal, which the daemon's log has none of, structlog takes rich wherever it finds it. To guess the encoding
# of a text that names none, requests takes one of these; the engine answers in UTF-8, which is what requests assumes without them.
# The lists that aiohttp keeps its handlers in are written in C++, too, whose runtime is another MB and a half; they have a handful of entries.
_NEEDLESS = ("rich", "chardet", "charset_normalizer", "frozenlist._frozenlist")
_MISSED_BY_REQUESTS = "Unable to find acceptable character detection"


def become_daemon(config: Path | None, *, as_json: bool) -> Never:
    """Replace this process, which keeps its pid. What is run is the code that runs now, from wherever it was started."""
    root = Path(__file__).parents[2]
    # The folder that one happens to stand in is no place to import from, unless it is this code's own.
    # Without the columns of each instruction, which only mark the place within a traceback's line: 1 MB.
    flags = ("-X", "no_debug_ranges", *(() if _here() == root else ("-P",)))
    words = ("json" if as_json else "people", *(() if config is None else (str(config),)))
    os.execv(sys.executable, (sys.executable, *flags, "-m", "agent.cli.serving", *words))  # noqa: S606 - our own code


def _here() -> Path | None:
    try:
        return Path.cwd()
    except FileNotFoundError:  # it was removed
        return None


def main(words: Sequence[str]) -> int:
    """`words`: the form of a refusal, and the config if there is one."""
    signal.signal(
        signal.SIGHUP, signal.SIG_IGN
    )  # until the daemon can read its config anew, there is nothing to reread
    for name in _NEEDLESS:
        sys.modules[name] = None  # type: ignore[assignment]  # an import of it fails, by the language
    warnings.filterwarnings("ignore", message=_MISSED_BY_REQUESTS)
    from agent.config import load_config  # noqa: PLC0415 - not before that line
    from agent.daemon import run  # noqa: PLC0415 - not before that line
    from agent.errors import AgentError  # noqa: PLC0415 - with them

    form, *configs = words
    path = Path(configs[0]) if configs else None

    def read_config() -> "Config":
        return load_config(path, os.environ)

    try:
        return run(read_config(), None if path is None else read_config)
    except (AgentError, PermissionError) as error:
        for name in _NEEDLESS:
            del sys.modules[name]
        from agent.cli.local import refuse  # noqa: PLC0415 - it draws
        from agent.cli.screen import Form, Screen  # noqa: PLC0415 - it draws

        refuse(Screen(Form(form)), error)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
