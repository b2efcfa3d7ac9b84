"""core/ssh_server — the command that runs a job's SSH server, and when a dead one is started again. Pure; runs none.

The server is a child of a few lines of shell, and these hang on a line to the agent: their input. Where it ends, since the agent has
gone or has let go, they end the server; sessions that are open go on. So a killed agent leaves no server whose logins nobody notes
and whose old keys nobody takes away, and the next agent starts another. An engine that is killed leaves its end of that line open:
so the first thing is to look for a server of before, and to end it. There are never two.
"""

from agent.core.exec import ExecPlan
from agent.core.ssh import HOST_KEY_PATH, KEYS_PATH
from agent.core.ssh_kit import KIT_PATH, SSH_PORT, server_command
from agent.core.ssh_login import SCRIPT_SHELL

# Told by the script: the end of its output comes only with that of the last session.
ENDED_WORDS = "gpu-agent: the server has ended with"

# Builtins alone: an image may have nothing but a shell. In /proc/net/tcp state 0A is LISTEN (include/net/tcp_states.h); a command
# line is read without its NULs, and that of a session's process ends otherwise. KILL, since dropbear only notes a TERM, and may be
# just about to wait for the next connection: then it would stay until that comes. It has nothing to tidy up.
_SCRIPT = f"""
exec 3<&0 </dev/null
listens() {{
  while read -r _ here _ state _; do
    case $here/$state in *:{SSH_PORT:04X}/0A) return 0 ;; esac
  done
  return 1
}}
is_taken() {{ listens </proc/net/tcp || listens </proc/net/tcp6; }} 2>/dev/null
if is_taken; then
  for process in /proc/[0-9]*; do
    line=
    read -r line <"$process/cmdline"
    case $line in {KIT_PATH}/*-D{KEYS_PATH}) kill -9 "${{process#/proc/}}" && tries=200 ;; esac
  done 2>/dev/null
  while is_taken && [ "${{tries:-0}}" -gt 0 ]; do tries=$((tries - 1)); done
fi
"$@" 3<&- &
server=$!
{{
  while read -r _; do :; done
  kill -9 "$server"
}} <&3 >/dev/null 2>&1 &
line=$!
exec 3<&-
wait "$server"
code=$?
kill "$line" 2>/dev/null
echo "{ENDED_WORDS} $code" >&2
exit "$code"
"""

# How long after each death the next server is started. There are no more than these: then it is down.
PAUSES = (1.0, 5.0, 15.0)
# One that does not listen by then never will.
START_SECONDS = 15.0


def server_plan() -> ExecPlan:
    """As the container's own user, in its folder, with its environment."""
    command = server_command(KEYS_PATH, HOST_KEY_PATH)
    return ExecPlan((SCRIPT_SHELL, "-c", _SCRIPT, "ssh-server", *command))


def pause_before(restart: int) -> float | None:
    """`restart`: counted from 1. None: there is no such restart."""
    return PAUSES[restart - 1] if restart <= len(PAUSES) else None
