"""core/ssh_login — as whom one logs in to a container, read out of its image. Pure: the files' texts in, a name or a refusal out.

The server runs as the container's user and lets nobody else in. It looks that user up in the image's /etc/passwd, and takes him only
with a shell that is listed in its /etc/shells: what it would refuse for each session is said once, before the job runs.
"""

import re
from dataclasses import dataclass

PASSWD, SHELLS = "/etc/passwd", "/etc/shells"
# Both are read for every job with SSH, and may be as large as a hostile image likes.
MOST_BYTES = 1 << 20
# The scripts of the server's side are for it, whatever shell a person prefers.
SCRIPT_SHELL = "/bin/sh"

# What the C library takes for granted where an image has no /etc/shells (getusershell(3)).
_USUAL_SHELLS = frozenset({"/bin/sh", "/bin/csh"})
_DEFAULT_SHELL = "/bin/sh"
_FIELDS = 7
# Both come to stand in rows, lines and messages. Of a longer name the server's own words would not be understood (core/ssh_log).
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
_SHELL = re.compile(r"/[!-~]{1,254}")


@dataclass(frozen=True, slots=True)
class Login:
    """`shell` must be in the image, which is for somebody else to see."""

    user: str
    shell: str


@dataclass(frozen=True, slots=True)
class NoLogin:
    """Why nobody could log in, in words that end a reason's message."""

    why: str


def find_login(user: str, passwd: str | None, shells: str | None) -> Login | NoLogin:
    """`user`: as the container has it, a name or a number, with a group or without; empty is root. None: no such file."""
    if passwd is None:
        return NoLogin(f"the image has no {PASSWD}")
    wanted = user.partition(":")[0] or "0"
    entry = _find(passwd, wanted)
    if entry is None:
        return NoLogin(f"{_show(wanted)}, whom the container runs as, has no line in the image's {PASSWD}")
    name, shell = entry[0], entry[6].strip() or _DEFAULT_SHELL
    if shell not in _listed(shells):
        told = (
            f"is not in the image's {SHELLS}"
            if shells is not None
            else f"is not usual, and there is no {SHELLS}"
        )
        return NoLogin(f"the shell of {_show(name)}, {_show(shell)}, {told}")
    return Login(name, shell)


def _find(passwd: str, wanted: str) -> list[str] | None:
    """By name first, as the engine looks for it; a number that is nobody's name is an id."""
    entries = [line.split(":") for line in passwd.splitlines()]
    whole = [entry for entry in entries if len(entry) == _FIELDS and _is_name(entry[0])]
    by_name = next((entry for entry in whole if entry[0] == wanted), None)
    return by_name or next((entry for entry in whole if entry[2] == wanted), None)


def _is_name(name: str) -> bool:
    # It will stand in a command line that people copy into their shells.
    return _NAME.fullmatch(name) is not None


def _listed(shells: str | None) -> frozenset[str]:
    if shells is None:
        return _USUAL_SHELLS
    lines = (line.partition("#")[0].strip() for line in shells.splitlines())
    return frozenset(line for line in lines if _SHELL.fullmatch(line))


def _show(text: str) -> str:
    """Out of a hostile image, into a message."""
    return repr(text[:64].encode("ascii", "backslashreplace").decode())
