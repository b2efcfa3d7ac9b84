"""jobs/ssh/image — whether one could log in to a container that was not started yet: looked up in it, never by running it."""

from agent.core.ssh_login import MOST_BYTES, PASSWD, SCRIPT_SHELL, SHELLS, Login, NoLogin, find_login
from agent.interfaces import ContainerGoneError, Engine

_EXECUTABLE = 0o111


async def look_for_login(engine: Engine, container: str) -> Login | NoLogin:
    """Raises ContainerGoneError, EngineRefusedError, EngineUnavailableError."""
    seen = await engine.inspect(container)
    if seen is None:
        raise ContainerGoneError(f"no container {container}")
    passwd, shells = await _text(engine, container, PASSWD), await _text(engine, container, SHELLS)
    login = find_login(seen.user, passwd, shells)
    if isinstance(login, NoLogin):
        return login
    for shell in dict.fromkeys((login.shell, SCRIPT_SHELL)):
        program = await engine.look_inside(container, shell, 0)
        if program is None or not program.mode & _EXECUTABLE:
            return NoLogin(f"the image has no {shell}")
    return login


async def _text(engine: Engine, container: str, path: str) -> str | None:
    file = await engine.look_inside(container, path, MOST_BYTES)
    return None if file is None or file.data is None else file.data.decode(errors="replace")
