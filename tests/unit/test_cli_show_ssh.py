"""How a job's SSH is told to people."""

import pytest

from agent.cli.show.jobs import ssh_text

SSH = {
    "state": "ready",
    "command": "ssh -p 40001 root@gpu.example.org",
    "fingerprint": "SHA256:kArAWoi4cE422VZQVqqvy1mqqAaNC9UghOPxZ2Wp0bc",
    "known_hosts": "[gpu.example.org]:40001 ssh-ed25519 AAAA",
}


def test_one_that_is_ready_is_told_with_its_line_and_the_key_to_expect() -> None:
    assert ssh_text(SSH).splitlines() == ["ready", SSH["command"], SSH["fingerprint"]]


@pytest.mark.parametrize("changes", [{"command": None, "state": "starting"}, {"state": "ended"}])
def test_one_that_nobody_can_use_is_told_by_its_state_alone(changes: dict[str, str | None]) -> None:
    assert ssh_text({**SSH, **changes}) == changes["state"]
