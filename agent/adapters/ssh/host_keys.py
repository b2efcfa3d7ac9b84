"""adapters/ssh/host_keys — host keys, made by the kit's dropbearkey on this host. Keeps none.

The program writes a key into a file and nowhere else: into a folder of its own, which is root's and on a tmpfs, for the time of the call.
"""

import asyncio
import shutil
import tempfile
from pathlib import Path
from subprocess import DEVNULL

from agent.aio import Threads
from agent.core.host_key import HostKey
from agent.core.ssh_kit import SshKit
from agent.interfaces import HostKeyNotMadeError
from agent.spec import PublicKey, read_public_key

# It takes ten milliseconds; a host that is short of everything may take seconds.
DEADLINE_SECONDS = 10.0
_AT_ONCE = 4
_PREFIX = "host-key-"


class DropbearKeys:
    """`folder` should be on a tmpfs, and must be the agent's alone. Open it in a running loop."""

    def __init__(self, folder: Path, seconds: float = DEADLINE_SECONDS) -> None:
        self._folder = folder
        self._seconds = seconds
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._threads = Threads("host-keys", 1)
        # What a killed agent was about to make is nobody's key.
        for left in folder.glob(f"{_PREFIX}*"):
            shutil.rmtree(left)

    def close(self) -> None:
        self._threads.close()

    async def make(self, kit: SshKit) -> HostKey:
        async with self._turns:
            try:
                folder = Path(await self._threads.run(tempfile.mkdtemp, prefix=_PREFIX, dir=self._folder))
            except OSError as error:
                raise HostKeyNotMadeError(f"no folder for a host key: {error.strerror}") from error
            try:
                await self._run(kit, folder / "key")
                return await self._threads.run(_read, folder / "key")
            except (OSError, ValueError) as error:
                raise HostKeyNotMadeError(f"dropbearkey made no host key: {error}") from error
            finally:
                # Not awaited in a thread: it must be gone also where the caller was cancelled.
                shutil.rmtree(folder, ignore_errors=True)

    async def _run(self, kit: SshKit, file: Path) -> None:
        """Raises OSError, HostKeyNotMadeError."""
        # Its loader's path in the file is the container's: on the host the loader is the one to run.
        command = (f"{kit.path}/{kit.loader}", f"{kit.path}/dropbearkey", "-t", "ed25519", "-f", str(file))
        process = await asyncio.create_subprocess_exec(
            *command, stdin=DEVNULL, stdout=DEVNULL, stderr=DEVNULL, env={}
        )
        try:
            async with asyncio.timeout(self._seconds):
                code = await process.wait()
        except TimeoutError as error:
            raise HostKeyNotMadeError(f"dropbearkey did not end within {self._seconds:g} s") from error
        finally:
            if process.returncode is None:
                process.kill()
        if code != 0:
            raise HostKeyNotMadeError(f"dropbearkey ended with {code}")


def _read(file: Path) -> HostKey:
    """Raises OSError, ValueError."""
    shown = read_public_key(file.with_suffix(".pub").read_text().strip())
    return HostKey(file.read_bytes(), PublicKey(shown.type, shown.base64, ""))
