"""What a container gets of the kit, and what its server is told: the table of SAFETY's rules, one by one."""

from itertools import pairwise

from agent.core.container import Mount
from agent.core.ssh_kit import SshKit, authorized_line, kit_mount, server_command

KIT = SshKit("/kits/abc", "abc", "dropbear 1", "lib/ld.so")
COMMAND = server_command("/keys", "/keys/host_key")


def test_the_kit_is_mounted_read_only_at_the_path_that_its_programs_name() -> None:
    assert kit_mount(KIT) == Mount("/kits/abc", "/.agent/ssh", read_only=True)


def test_no_password_is_ever_asked_for() -> None:
    assert "-s" in COMMAND
    assert "-B" not in COMMAND


def test_forwarding_of_ports_is_left_on_both_ways_and_on_loopback_alone() -> None:
    assert {"-j", "-k", "-a"}.isdisjoint(COMMAND)


def test_the_process_that_was_started_is_the_server_itself_and_writes_no_pid_file() -> None:
    assert {"-F", "-E"} <= set(COMMAND)
    # At its end the server removes the file by its name: of /dev/null, as root, too.
    assert COMMAND[COMMAND.index("-P") + 1] == ""


def test_it_listens_on_the_port_of_ssh_with_the_keys_that_it_was_given() -> None:
    told = dict(pairwise(COMMAND))
    assert (told["-p"], told["-D"], told["-r"]) == ("2202", "/keys", "/keys/host_key")


def test_much_can_be_on_its_way_to_a_job_that_is_far_away() -> None:
    """24 KB, the server's own, are 600 KB/s where a round trip takes 40 ms."""
    assert int(dict(pairwise(COMMAND))["-W"]) >= 1 << 20


def test_each_key_forwards_neither_agent_nor_display_and_runs_the_kits_session() -> None:
    options, kind, key, comment = authorized_line("ssh-ed25519 AAAA me@home").split(" ")
    assert options.split(",") == ["no-agent-forwarding", "no-X11-forwarding", 'command="/.agent/ssh/session"']
    assert (kind, key, comment) == ("ssh-ed25519", "AAAA", "me@home")
