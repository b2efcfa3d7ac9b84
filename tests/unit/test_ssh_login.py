"""As whom one logs in, out of an image's own files: what the server would refuse for each session is refused once, and before."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.ssh_login import Login, NoLogin, find_login

PASSWD = """root:x:0:0:root:/root:/bin/sh
daemon:x:1:1::/usr/sbin:/usr/sbin/nologin
broken line
worker:x:1000:1000:A Worker,,,:/home/worker:/bin/bash
bare:x:1001:1001::/:
1002:x:77:77::/:/bin/sh
-oProxyCommand=x:x:1003:1003::/:/bin/sh
sp ace:x:1004:1004::/:/bin/sh
fields:x:1005:1005::/bin/sh
"""
SHELLS = "# comment\n/bin/sh\n/bin/bash # usual\n\nnot-absolute\n"

GOOD = [
    ("", None, Login("root", "/bin/sh")),
    ("0", None, Login("root", "/bin/sh")),
    ("root", SHELLS, Login("root", "/bin/sh")),
    ("root:1000", SHELLS, Login("root", "/bin/sh")),
    ("worker", SHELLS, Login("worker", "/bin/bash")),
    ("1000:1000", SHELLS, Login("worker", "/bin/bash")),
    ("bare", None, Login("bare", "/bin/sh")),
    ("1002", None, Login("1002", "/bin/sh")),  # a name, as the engine takes it
]
BAD = [
    ("worker", None, "'worker', '/bin/bash', is not usual, and there is no /etc/shells"),
    ("daemon", SHELLS, "'daemon', '/usr/sbin/nologin', is not in the image's /etc/shells"),
    ("root", "", "is not in the image's /etc/shells"),
    ("nobody", SHELLS, "'nobody', whom the container runs as, has no line"),
    ("4242", SHELLS, "'4242', whom"),
    ("-oProxyCommand=x", None, "has no line"),
    ("1003", None, "has no line"),
    ("1004", None, "has no line"),
    ("fields", None, "has no line"),
]


@pytest.mark.parametrize(("user", "shells", "login"), GOOD)
def test_the_containers_user_is_found_by_name_or_by_number(
    user: str, shells: str | None, login: Login
) -> None:
    assert find_login(user, PASSWD, shells) == login


@pytest.mark.parametrize(("user", "shells", "told"), BAD)
def test_whom_the_server_would_not_let_in_is_told_why(user: str, shells: str | None, told: str) -> None:
    found = find_login(user, PASSWD, shells)
    assert isinstance(found, NoLogin)
    assert told in found.why


@pytest.mark.parametrize(
    ("passwd", "shells"),
    [
        (f"{'x' * 65}:x:0:0::/:/bin/sh\n", None),
        (f"root:x:0:0::/:/{'x' * 255}\n", f"/{'x' * 255}\n"),
        ("root:x:0:0::/:/bin/\x1b[2J\n", "/bin/\x1b[2J\n"),
        ("root:x:0:0::/:/bin/two words\n", "/bin/two words\n"),
    ],
)
def test_names_and_shells_that_no_row_and_no_message_should_hold_are_none(
    passwd: str, shells: str | None
) -> None:
    assert isinstance(find_login("", passwd, shells), NoLogin)


def test_root_is_whoever_has_his_number() -> None:
    assert find_login("", "toor:x:0:0::/:/bin/sh\n", None) == Login("toor", "/bin/sh")


def test_an_image_without_the_file_has_nobody() -> None:
    assert find_login("", None, SHELLS) == NoLogin("the image has no /etc/passwd")


@given(st.text(max_size=200), st.text(max_size=20), st.none() | st.text(max_size=40))
def test_whatever_an_image_holds_the_name_can_stand_in_a_command_line(
    passwd: str, user: str, shells: str | None
) -> None:
    for text in (passwd, f"{user}:x:0:0::/:/bin/sh\n{passwd}"):
        found = find_login(user, text, shells)
        if isinstance(found, Login):
            assert set(found.user) <= set(string.ascii_letters + string.digits + "._-")
            assert found.user[0] not in ".-"
            assert found.shell.startswith("/")
        else:
            assert found.why.isprintable()
            assert len(found.why) < 300
