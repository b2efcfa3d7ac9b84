"""What the server says: its own lines are understood however they are cut, and nothing else is taken for one."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from agent.core.ssh_log import MOST_LINE_BYTES, Closed, Ended, Opened, Ready, SshLog, Words, read_line

PRINT = "SHA256:kArAWoi4cE422VZQVqqvy1mqqAaNC9UghOPxZ2Wp0bc"
STAMP = "Nov 27 10:10:00"
# As dropbear 2025.89 writes them.
SAID = f"""[8] {STAMP} Not backgrounding
[13] {STAMP} Child connection from 172.17.0.1:42428
[13] {STAMP} Pubkey auth succeeded for 'root' with ssh-ed25519 key {PRINT} from 172.17.0.1:42428
[13] {STAMP} Exit (root) from <172.17.0.1:42428>: Disconnect received
[9] Nov  7 10:10:00 Pubkey auth succeeded for 'a.b-c' with sk-ssh-ed25519@openssh.com key {PRINT} from fe80::1%eth0:42428
gpu-agent: the server has ended with 137
"""
MEANT = [
    Ready(),
    Words("Child connection from 172.17.0.1:42428"),
    Opened(13, "root", PRINT, "172.17.0.1:42428"),
    Closed(13, "root", "172.17.0.1:42428"),
    Opened(9, "a.b-c", PRINT, "fe80::1%eth0:42428"),
    Ended(137),
]


@given(st.lists(st.integers(0, len(SAID)), max_size=8))
def test_its_lines_are_understood_however_they_are_cut(cuts: list[int]) -> None:
    data, log = SAID.encode(), SshLog()
    edges = [0, *sorted(cuts), len(data)]
    read = [line for at, end in pairwise(edges) for line in log.feed(data[at:end])]
    assert read == MEANT


def test_what_only_looks_like_one_is_words() -> None:
    for line in (
        f"Pubkey auth succeeded for 'root' with ssh-rsa key {PRINT} from 1.2.3.4:5",
        f"[1] {STAMP} Pubkey auth succeeded for 'root' with ssh-rsa key SHA256:short from 1.2.3.4:5",
        f"[1] {STAMP} Pubkey auth succeeded for 'root' with ssh-rsa key {PRINT} from 1.2.3.4:5 and more",
        f"[1] {STAMP} Pubkey auth succeeded for 'ro'ot' with ssh-rsa key {PRINT} from 1.2.3.4:5",
        f"[1] {STAMP} Bad password attempt for 'Exit (root) from <1.2.3.4:5>: x'",
        "gpu-agent: the server has ended with 1 of them",
        "[1] Not backgrounding",
    ):
        assert isinstance(read_line(line), Words), line


@given(st.binary(max_size=4000))
def test_whatever_a_job_writes_nothing_grows_and_nothing_breaks(data: bytes) -> None:
    log = SshLog()
    for line in log.feed(data) + log.feed(b"\n"):
        if isinstance(line, Words):
            assert line.text.isascii()
            assert line.text.isprintable()
            assert len(line.text) <= 4 * MOST_LINE_BYTES


def test_a_line_without_an_end_is_cut_and_the_next_is_whole_again() -> None:
    log = SshLog()
    for _ in range(100):
        assert log.feed(b"x" * 10_000) == []
    assert log.feed(f"\n[8] {STAMP} Not backgrounding\n".encode()) == [Words("x" * MOST_LINE_BYTES), Ready()]
