"""`gpu-agent ssh` as a process against the API on fakes: the key, the files and the words that the system's ssh is given.

The two programs of OpenSSH are scripts here, which note what they see; tests/e2e has the real ones.
"""

import asyncio
import json
import signal
import stat
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from agent.core.job import Viewer
from tests.fakes.ssh_server import FakeSshServers
from tests.shell.cli_world import CliWorld, cli_world

ROOT = Path(__file__).resolve().parents[2]
PUBLIC = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKBvmnS7Tg0BMzERSkYUgBmp59n4O0sTPKtQeQ6p8VwD"
KEYGEN = f"""#!/bin/sh
while [ "$1" != -f ]; do [ "$1" = -C ] && comment=$2; shift; done
umask 077; echo private > "$2"; echo "{PUBLIC} $comment" > "$2.pub"
"""
# Notes its words, its config, and the modes of what it was given.
SSH = """#!/bin/sh
{ for word; do echo "word $word"; done; cat "$2"
  stat -c "mode %a %n" "$(dirname "$2")" "$(dirname "$2")"/*; cat "$(dirname "$2")/known_hosts"; } > "$NOTES"
[ -z "$STAY" ] || { echo waiting; exec sleep 600; }
exit 7
"""


@dataclass
class Place:
    world: CliWorld
    folder: Path
    servers: FakeSshServers

    @property
    def notes(self) -> list[str]:
        return (self.folder / "notes").read_text().splitlines()

    @property
    def temporary(self) -> list[Path]:
        return list((self.folder / "tmp").iterdir())

    def environ(self, **more: str) -> dict[str, str]:
        return {
            "PATH": f"{self.folder / 'bin'}:/usr/bin:/bin",
            "GPU_AGENT__API__SOCKET": str(self.world.api.socket),
            "NOTES": str(self.folder / "notes"),
            "TMPDIR": str(self.folder / "tmp"),
            "HOME": str(self.folder / "home"),
            **more,
        }

    async def start(self, *words: str, **more: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", "agent", "ssh", *words, cwd=ROOT, env=self.environ(**more),
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip

    async def run(self, *words: str, **more: str) -> tuple[int, str, str]:
        process = await self.start(*words, **more)
        out, err = await asyncio.wait_for(process.communicate(), 40)
        return process.returncode or 0, out.decode(), err.decode()

    async def ssh_of(self, job_id: str) -> Any:  # noqa: ANN401 - JSON is any
        return (await self.world.api.call("GET", f"/v1/jobs/{job_id}")).json["ssh"]

    async def ready_job(self) -> str:
        job_id = await self.world.api.submit(ssh={"authorized_keys": [PUBLIC]})
        async with asyncio.timeout(5):
            while (await self.ssh_of(job_id))["state"] != "ready":
                await asyncio.sleep(0.01)
        return job_id

    def authorized(self, job_id: str) -> str:
        return (self.world.api.state / "jobs" / job_id / "ssh" / "authorized_keys").read_text()


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    for name, script in (("ssh", SSH), ("ssh-keygen", KEYGEN)):
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(script)
        program.chmod(0o755)
    for name in ("tmp", "home"):
        (tmp_path / name).mkdir()
    async with cli_world(tmp_path) as world:
        world.api.engine.add_image("busybox")
        yield Place(world, tmp_path, FakeSshServers(world.api.engine))


async def test_ssh_gets_a_key_of_this_moment_and_the_jobs_host_key_and_nothing_is_left(place: Place) -> None:
    job_id = await place.ready_job()
    code, out, err = await place.run(job_id[:8])
    assert (code, out, err) == (7, "", "")
    told = await place.ssh_of(job_id)
    alias = f"gpu-agent-{job_id}"
    words = [line for line in place.notes if line.startswith("word ")]
    assert words[0] == "word -F"
    assert words[2:] == [f"word {alias}"]
    modes = {Path(line.split()[2]).name: line.split()[1] for line in place.notes if line.startswith("mode ")}
    assert modes["key"] == "600"
    assert next(mode for name, mode in modes.items() if name.startswith("gpu-agent-ssh-")) == "700"
    assert place.notes[-1] == f"{alias} {' '.join(told['known_hosts'].split()[1:])}"
    assert f"    Port {told['command'].split()[2]}" in place.notes
    assert place.temporary == []
    (event,) = [
        event
        for event in await place.world.api.store.events(Viewer("", sees_all=True), 0, job_id, 1000)
        if event.type == "ssh.keys"
    ]
    (key,) = event.data["keys"]
    assert (
        event.data["change"],
        round(datetime.fromisoformat(key["expires_at"]).timestamp() - event.at),
    ) == ("added", 120)


async def test_what_follows_goes_to_ssh_as_it_is(place: Place) -> None:
    job_id = await place.ready_job()
    for dashes in (("--",), ()):
        await place.run(job_id, *dashes, "-L", "8888:localhost:8888", "-N", "--json", "echo 'a  b'")
        words = [line for line in place.notes if line.startswith("word ")]
        assert words[3:] == [
            "word -L",
            "word 8888:localhost:8888",
            "word -N",
            "word --json",
            "word echo 'a  b'",
        ]


async def test_a_block_for_scp_and_its_kin_lasts_and_is_its_owners_alone(place: Place) -> None:
    job_id = await place.ready_job()
    code, out, err = await place.run("--print-config", "--expires", "1h", job_id)
    folder = place.folder / "home/.local/state/gpu-agent/ssh" / job_id
    assert (code, out) == (0, (folder / "config").read_text())
    assert f"scp -F {folder / 'config'}" in err
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "key").stat().st_mode) == 0o600
    assert str(folder / "key") in out
    # Asked again, the key is another.
    assert (await place.run("--print-config", "--json", job_id, XDG_STATE_HOME=str(place.folder / "x")))[
        0
    ] == 0
    assert (place.folder / "x/gpu-agent/ssh" / job_id / "key").exists()
    assert not (place.folder / "notes").exists()
    code, _, err = await place.run("--print-config", "--expires", "2d", job_id)
    assert (code, "expires_in" in err) == (125, True)


async def test_a_job_without_ssh_and_one_that_has_ended_say_so(place: Place) -> None:
    job_id = await place.world.api.submit()
    code, _, err = await place.run("--json", job_id)
    assert (code, json.loads(err)["code"]) == (125, "ssh_not_asked")
    ended = await place.ready_job()
    await place.world.api.call("POST", f"/v1/jobs/{ended}/cancel?grace=0")
    await place.world.api.call("GET", f"/v1/jobs/{ended}?wait=finished")
    code, _, err = await place.run("--json", ended)
    assert (code, json.loads(err)["code"]) == (125, "ssh_ended")
    assert place.temporary == []


@pytest.mark.parametrize("missing", ["ssh", "ssh-keygen"])
async def test_a_machine_without_openssh_is_told_what_to_install(place: Place, missing: str) -> None:
    job_id = await place.ready_job()
    (place.folder / "bin" / missing).unlink()
    code, _, err = await place.run("--json", job_id, PATH=str(place.folder / "bin"))
    assert (code, json.loads(err)["code"]) == (125, "program_missing")
    assert "openssh-client" in err
    assert place.temporary == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
async def test_a_signal_ends_ssh_and_leaves_no_key_behind(place: Place, number: signal.Signals) -> None:
    job_id = await place.ready_job()
    process = await place.start(job_id, STAY="1")
    assert process.stdout is not None
    assert await process.stdout.readline() == b"waiting\n"
    assert len(place.temporary) == 1
    process.send_signal(number)
    assert await asyncio.wait_for(process.wait(), 20) == 128 + number
    assert place.temporary == []
    await process.communicate()
