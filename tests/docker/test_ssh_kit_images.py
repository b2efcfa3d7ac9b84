"""The kit's server, sftp-server and keys in images of each libc, as root and as the image's own user, before the host's own clients."""

import asyncio
import contextlib
import json
import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from conftest import DockerStage
from ssh_images import image_of
from ssh_stage import SshJob, make_identity
from terminal import run_in_terminal

from agent.core.ssh_kit import KIT_PATH, SshKit
from tests.private_engine import PrivateEngine
from tests.private_engine_host import wait
from tests.ssh_kit import built_kit

pytestmark = pytest.mark.slow

LIBCS = ["static", "glibc", "musl"]
USERS = [None, "1000"]


@pytest.fixture(scope="session")
def kit() -> SshKit:
    return built_kit()


@pytest.fixture(scope="session")
def images(private_engine: PrivateEngine, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return {libc: image_of(private_engine, libc, tmp_path_factory.mktemp(libc)) for libc in LIBCS}


@pytest.fixture
def job(stage: DockerStage, kit: SshKit, tmp_path: Path) -> SshJob:
    return SshJob(stage, kit, tmp_path)


@pytest.fixture
async def plain(job: SshJob, images: dict[str, str]) -> SshJob:
    """One in an image with nothing but a static busybox, as root."""
    await job.run(job.plan(images["static"]))
    return job


@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize("libc", LIBCS)
async def test_a_session_has_the_jobs_environment_its_folder_and_gives_exit_codes(
    job: SshJob, images: dict[str, str], libc: str, user: str | None
) -> None:
    given = {"PATH": "/odd/place:/bin", "HOME": "/odd/home", "WORD": "a b"}
    await job.run(job.plan(images[libc], user=user, environment=given))
    done = await job.ssh(
        'echo "$PATH|$HOME|$WORD|$(pwd)|$(id -u)|$SSH_ORIGINAL_COMMAND|$GPU_AGENT_SSH_PATH"; exit 7'
    )
    assert done.stdout == f"/odd/place:/bin|/odd/home|a b|/tmp|{user or 0}||\n"
    assert done.returncode == 7


@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize("libc", LIBCS)
async def test_the_host_key_can_be_looked_at_from_within(
    job: SshJob, images: dict[str, str], libc: str, user: str | None
) -> None:
    await job.run(job.plan(images[libc], user=user))
    done = await job.ssh(f"{KIT_PATH}/dropbearkey -y -f /.agent/ssh-keys/host_key")
    assert " ".join((job.keys / "host_key.pub").read_text().split()[:2]) in done.stdout


@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize("libc", LIBCS)
async def test_files_go_both_ways_by_sftp_and_scp(
    job: SshJob, images: dict[str, str], tmp_path: Path, libc: str, user: str | None
) -> None:
    await job.run(job.plan(images[libc], user=user))
    sent = tmp_path / "sent"
    sent.write_bytes(os.urandom(3_000_001))
    prefix, options = job.stage.private.prefix, [*job.options(), "-P", str(job.port)]
    batch = f"put {sent} by-sftp\nget by-sftp {tmp_path}/back\npwd\n"
    done = await job.call([*prefix, "sftp", *options, "-b", "-", job.address], text=batch)
    assert done.returncode == 0, done.stderr
    assert "Remote working directory: /tmp" in done.stdout
    assert (tmp_path / "back").read_bytes() == sent.read_bytes()
    up = await job.call([*prefix, "scp", *options, str(sent), f"{job.address}:by-scp"])
    down = await job.call([*prefix, "scp", *options, f"{job.address}:by-scp", f"{tmp_path}/again"])
    assert (up.returncode, down.returncode) == (0, 0), up.stderr + down.stderr
    assert (tmp_path / "again").read_bytes() == sent.read_bytes()


@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize("libc", LIBCS)
async def test_a_terminal_is_one_and_follows_its_window(
    job: SshJob, images: dict[str, str], libc: str, user: str | None
) -> None:
    await job.run(job.plan(images[libc], user=user))
    told = await asyncio.to_thread(run_in_terminal, [*job.ssh_command, "-tt", job.address])
    assert "/dev/pts/" in told
    assert "24 91" in told
    assert "40 132" in told


@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize("libc", LIBCS)
async def test_a_root_that_nobody_may_write_to_is_no_hindrance(
    job: SshJob, images: dict[str, str], libc: str, user: str | None
) -> None:
    await job.run_read_only(job.plan(images[libc], user=user))
    done = await job.ssh("touch /tmp/x; id -u; tty")
    assert done.stdout == f"{user or 0}\nnot a tty\n"
    assert "ead-only file system" in done.stderr


async def test_rsync_works_where_the_image_has_it(
    job: SshJob, images: dict[str, str], tmp_path: Path
) -> None:
    await job.run(job.plan(images["glibc"]))
    source = Path(__file__).parent
    shell = " ".join([*job.ssh_command])
    up = await job.call(
        ["rsync", "-a", "--exclude=__pycache__", "-e", shell, f"{source}/", f"{job.address}:code"]
    )
    down = await job.call(["rsync", "-a", "-e", shell, f"{job.address}:code/", str(tmp_path / "back")])
    assert (up.returncode, down.returncode) == (0, 0), up.stderr + down.stderr
    for file in source.glob("*.py"):
        assert (tmp_path / "back" / file.name).read_bytes() == file.read_bytes()


async def test_the_authors_preloaded_library_is_the_sessions_and_not_the_servers(
    job: SshJob, images: dict[str, str]
) -> None:
    """One of musl in a server of glibc would be the end of the server."""
    await job.run(job.plan(images["musl"], environment={"LD_PRELOAD": "/lib/libmark.so"}))
    done = await job.ssh("musl-program; echo $LD_PRELOAD")
    assert done.stdout == "musl runs\n/lib/libmark.so\n"
    assert await copies_a_file(job)


async def test_libraries_that_the_author_puts_first_are_not_the_kits(
    job: SshJob, images: dict[str, str]
) -> None:
    """Bad ones of the very names that the kit's programs ask for."""
    folder = bad_libraries(job)
    await job.run(job.plan(images["static"], environment={"LD_LIBRARY_PATH": "/tmp/libraries"}))
    await job.call(
        [
            *job.stage.private.prefix,
            "scp",
            *job.options(),
            "-P",
            str(job.port),
            "-r",
            str(folder),
            f"{job.address}:/tmp",
        ]
    )
    await job.execute(["sh", "-c", f"kill $(pidof {KIT_PATH}/dropbear)"])
    await job.start_server()
    assert (await job.ssh("ls /tmp/libraries; echo $LD_LIBRARY_PATH")).stdout.endswith(
        "libz.so.1\n/tmp/libraries\n"
    )
    assert await copies_a_file(job)


async def test_the_job_can_change_neither_the_kit_nor_its_keys(plain: SshJob) -> None:
    for path in (f"{KIT_PATH}/lib/libc.so.6", f"{KIT_PATH}/session", "/.agent/ssh-keys/authorized_keys"):
        done = await plain.ssh(f"echo >> {path}; chmod 777 {path}; rm -f {path}")
        assert done.returncode != 0
        assert done.stderr.count("Read-only file system") == 3


async def test_nothing_but_a_key_that_is_listed_lets_anybody_in(plain: SshJob, tmp_path: Path) -> None:
    stranger = await plain.ssh("true", identity=make_identity(tmp_path, "stranger"))
    assert "Permission denied (publickey)." in stranger.stderr
    # The server offers no other way: a client that has a password is not even asked.
    for way in ("password", "keyboard-interactive", "none", "gssapi-with-mic"):
        done = await plain.ssh("true", f"-oPreferredAuthentications={way}", "-oBatchMode=no")
        assert "Permission denied (publickey)." in done.stderr


async def test_replaced_keys_count_from_the_next_connection_on(plain: SshJob, tmp_path: Path) -> None:
    second = make_identity(tmp_path, "second")
    async with session(plain, "echo in; cat") as (read, write):
        assert await read.readline() == b"in\n"
        plain.allow(second)
        assert (await plain.ssh("echo in")).returncode == 255
        assert (await plain.ssh("echo in", identity=second)).stdout == "in\n"
        write.write(b"still here\n")
        assert await read.readline() == b"still here\n"


async def test_no_agent_is_forwarded(plain: SshJob, tmp_path: Path) -> None:
    with running_agent(tmp_path) as environment:
        # 1: there is an agent, and it has no keys.
        assert (await plain.call(["ssh-add", "-l"], environment=environment)).returncode == 1
        done = await plain.ssh('echo "$SSH_AUTH_SOCK|"', "-A", environment=environment)
    assert done.stdout == "|\n"


async def test_ports_are_forwarded_both_ways(plain: SshJob) -> None:
    assert (await plain.ssh("echo from the job > /tmp/word; httpd -p 127.0.0.1:8080 -h /tmp")).returncode == 0
    away, here = 21901, 21902
    ways = (f"-L127.0.0.1:{here}:127.0.0.1:8080", f"-R127.0.0.1:{away}:127.0.0.1:{plain.port}")
    async with session(plain, "echo up; cat", *ways, "-oExitOnForwardFailure=yes") as (read, _):
        assert await read.readline() == b"up\n"
        local = [*plain.stage.private.prefix, "busybox", "wget", "-qO-", f"http://127.0.0.1:{here}/word"]
        assert (await plain.call(local)).stdout == "from the job\n"
        # From within the job, through the client's end, to the very server of the job: its banner.
        banner = await plain.ssh(f"nc 127.0.0.1 {away} < /dev/null | head -c 8")
        assert banner.stdout == "SSH-2.0-"


async def test_the_server_leaves_no_file_of_its_own(job: SshJob, images: dict[str, str]) -> None:
    await job.run(job.plan(images["glibc"]))
    changes = await job.stage.request("GET", f"/containers/{job.container}/changes")
    paths = {change["Path"] for change in json.loads(changes)}
    assert not {path for path in paths if path.startswith(("/var", "/run", "/tmp"))}


@contextlib.asynccontextmanager
async def session(
    job: SshJob, command: str, *options: str
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """One that stays open; its output and its input."""
    whole = [*job.ssh_command, *options, job.address, command]
    client = await asyncio.create_subprocess_exec(*whole, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert client.stdout is not None
    assert client.stdin is not None
    try:
        async with asyncio.timeout(20):
            yield client.stdout, client.stdin
    finally:
        client.kill()
        await client.wait()


def bad_libraries(job: SshJob) -> Path:
    folder = job.folder / "libraries"
    folder.mkdir()
    for library in Path(job.kit.path, "lib").iterdir():
        (folder / library.name).write_bytes(b"no library")
    return folder


async def copies_a_file(job: SshJob) -> bool:
    source = job.folder / "copied"
    source.write_bytes(os.urandom(100_000))
    options = [*job.options(), "-P", str(job.port)]
    for command in (
        ["scp", *options, str(source), f"{job.address}:copied"],
        ["scp", *options, f"{job.address}:copied", f"{source}.back"],
    ):
        done = await job.call([*job.stage.private.prefix, *command])
        assert done.returncode == 0, done.stderr
    return source.with_name("copied.back").read_bytes() == source.read_bytes()


@contextlib.contextmanager
def running_agent(folder: Path) -> Iterator[dict[str, str]]:
    """An ssh-agent, for its socket."""
    path = str(folder / "agent.sock")
    with subprocess.Popen(["ssh-agent", "-D", "-a", path], stdout=subprocess.DEVNULL) as agent:
        try:
            assert wait(Path(path).is_socket, 20)
            yield {"SSH_AUTH_SOCK": path}
        finally:
            agent.terminate()
