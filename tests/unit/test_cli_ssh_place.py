"""Where a job's SSH is: only words that can't mean anything else get into a file that ssh believes."""

import subprocess
from pathlib import Path

import pytest

from agent.cli.refusals import NotAnAgentError
from agent.cli.ssh_place import Place, read_place, write_block

JOB = "0190aaaa-0000-7000-8000-000000000001"
HOST_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKBvmnS7Tg0BMzERSkYUgBmp59n4O0sTPKtQeQ6p8VwD"
GOOD = {"command": "ssh -p 20000 root@gpu.example.org", "known_hosts": f"[gpu.example.org]:20000 {HOST_KEY}"}


def test_the_line_and_the_host_key_are_read() -> None:
    place = read_place(JOB, GOOD, None)
    assert place == Place(f"gpu-agent-{JOB}", "gpu.example.org", 20000, "root", HOST_KEY)
    assert place.known_hosts == f"gpu-agent-{JOB} {HOST_KEY}\n"


@pytest.mark.parametrize(
    ("told", "agent_host", "host"),
    [
        ("127.0.0.1", None, "127.0.0.1"),
        ("127.0.0.1", "gpu7", "gpu7"),
        ("::1", "gpu7", "gpu7"),
        ("localhost", "gpu7", "gpu7"),
        ("192.0.2.7", "gpu7", "192.0.2.7"),
        ("2001:db8::7", "gpu7", "2001:db8::7"),
    ],
)
def test_a_loopback_address_of_another_machine_is_that_machine(
    told: str, agent_host: str | None, host: str
) -> None:
    assert read_place(JOB, {**GOOD, "command": f"ssh -p 1 root@{told}"}, agent_host).host == host


@pytest.mark.parametrize(
    "wrong",
    [
        {"command": None},
        {"command": "ssh -p 20000 -oProxyCommand=evil@host"},
        {"command": "ssh -oProxyCommand=evil -p 1 root@host"},
        {"command": "ssh -p 20000 root@host\nProxyCommand evil"},
        {"command": "ssh -p 20000 ro ot@host"},
        {"command": "ssh -p 20000 root@-oProxyCommand=evil"},
        {"command": "ssh -p 20000 root@host; evil"},
        {"known_hosts": None},
        {"known_hosts": "host ssh-ed25519 AAAA\n* ssh-ed25519 BBBB"},
        {"known_hosts": "host @cert-authority AAAA"},
    ],
)
def test_what_could_mean_anything_else_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(NotAnAgentError):
        read_place(JOB, {**GOOD, **wrong}, None)


def test_jobs_of_one_minute_keep_names_of_their_own() -> None:
    # Ids begin with their time (RFC 9562, 5.7): the first eight characters are the same for a minute.
    other = f"{JOB[:-1]}2"
    assert read_place(JOB, GOOD, None).alias != read_place(other, GOOD, None).alias


def test_ssh_itself_reads_the_block_as_it_is_meant(tmp_path: Path) -> None:
    folder = tmp_path / 'a "b" 100%h'
    folder.mkdir()
    config = folder / "config"
    config.write_text(write_block(read_place(JOB, GOOD, None), folder / "key", folder / "known_hosts"))
    shown = subprocess.run(
        ["ssh", "-G", "-F", str(config), f"gpu-agent-{JOB}"], capture_output=True, text=True, check=False
    )
    assert shown.returncode == 0, shown.stderr
    read = dict(line.split(" ", 1) for line in shown.stdout.splitlines() if " " in line)
    assert (read["hostname"], read["port"], read["user"]) == ("gpu.example.org", "20000", "root")
    assert (read["stricthostkeychecking"], read["identitiesonly"], read["forwardagent"]) == (
        "true",
        "yes",
        "no",
    )
    assert read["hostkeyalias"] == f"gpu-agent-{JOB}"
    assert str(folder / "key").replace("%", "%%") in read["identityfile"]
