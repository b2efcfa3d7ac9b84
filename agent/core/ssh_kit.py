"""core/ssh_kit — what of the SSH kit a container gets, and how its server is called. Pure; builds, reads and starts nothing.

The kit is a folder of the host with an SSH server, the libraries that it needs and their loader. Its programs name that loader by
its path in the container, so they run in an image of any libc, or of none; on the host they run only through the loader itself.
"""

from dataclasses import dataclass

from agent.core.container import Mount

KIT_PATH = "/.agent/ssh"
SSH_PORT = 2202
# What a client may send before the server has taken it. With the server's own 24 KB, 8 MiB take 17 s where a round trip takes
# 40 ms, and 1 s with this; a session that is sent much has so much more memory, others don't.
WINDOW_BYTES = 1 << 20

_START, _SESSION = f"{KIT_PATH}/start", f"{KIT_PATH}/session"
# Of a forwarded agent and of X11 nothing is wanted; the server has no switches for them, a key's line has. The server makes
# PATH, HOME and the folder anew for each session: the forced command puts the job's own back, and then does what was asked. For
# sftp it runs the kit's own program, which the server would look for elsewhere.
_KEY_OPTIONS = f'no-agent-forwarding,no-X11-forwarding,command="{_SESSION}"'


@dataclass(frozen=True, slots=True)
class SshKit:
    """A kit that is whole. `path` is its folder on the host, `hash` that of its manifest, `loader` relative to `path`."""

    path: str
    hash: str
    version: str
    loader: str


@dataclass(frozen=True, slots=True)
class KitTrouble:
    """Why there is no kit to be had: `ssh` can't be offered, everything else can."""

    message: str
    remedy: str


def kit_mount(kit: SshKit) -> Mount:
    return Mount(kit.path, KIT_PATH, read_only=True)


def server_command(keys_folder: str, host_key: str) -> tuple[str, ...]:
    """What to exec in the container, as the job's user and in its folder, with nothing added to its environment. It runs until it is killed.

    Both arguments are paths in the container: the folder with `authorized_keys`, which is read for each connection, and the host
    key. Neither, nor a folder above, may be writable by anybody but root and that user.
    """
    foreground, to_stderr, passing_environment, no_passwords, no_pid_file = "-F", "-E", "-e", "-s", ("-P", "")
    listen, keys = ("-p", str(SSH_PORT), "-W", str(WINDOW_BYTES)), ("-r", host_key, "-D", keys_folder)
    return (_START, foreground, to_stderr, passing_environment, no_passwords, *no_pid_file, *listen, *keys)


def authorized_line(key: str) -> str:
    """The line of `authorized_keys` for a key that was checked: type and base64, without options, maybe a comment."""
    return f"{_KEY_OPTIONS} {key}"
