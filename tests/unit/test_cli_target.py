"""Where the agent is: options before environment, an URL before a config."""

from pathlib import Path

import pytest

from agent.cli import target as target_module
from agent.cli.refusals import BadTargetError
from agent.cli.target import DEFAULT_SOCKET, Given, Target, choose_target
from agent.config import Config

NOWHERE = Path("/nowhere/config.toml")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.toml"
    path.write_text('[api]\nsocket = "/a/b.sock"\n[unknown]\nx = 1\n')
    return path


def socket_of(given: Given, environ: dict[str, str]) -> str | None:
    return choose_target(given, environ).socket


def test_the_sockets_default_is_the_configs_own() -> None:
    assert str(Config().api.socket) == DEFAULT_SOCKET
    assert Path("/etc/gpu-agent/config.toml") == target_module.DEFAULT_CONFIG


def test_the_config_names_the_socket_whatever_else_is_in_it(config: Path) -> None:
    assert socket_of(Given(config=config), {}) == "/a/b.sock"
    assert socket_of(Given(), {"GPU_AGENT_CONFIG": str(config)}) == "/a/b.sock"


def test_the_variable_of_the_key_goes_before_the_file(config: Path) -> None:
    assert socket_of(Given(config=config), {"GPU_AGENT__API__SOCKET": "/c.sock"}) == "/c.sock"


def test_an_url_goes_before_a_config_and_an_option_before_the_environment(config: Path) -> None:
    environ = {"GPU_AGENT_URL": "https://env:1/", "GPU_AGENT_TOKEN": "t", "GPU_AGENT_CONFIG": str(config)}
    assert choose_target(Given(), environ) == Target("https://env:1", token="t")
    assert choose_target(Given(url="http://opt:2", token="o"), environ) == Target("http://opt:2", token="o")
    assert socket_of(Given(config=config), environ) == "/a/b.sock"


def test_options_before_the_command_count_where_it_has_none_of_its_own(config: Path) -> None:
    before = Given(url="http://before:1", token="t")
    assert Given().over(before) == before
    assert Given(config=config).over(before) == Given(config=config, token="t")
    assert Given(token="mine").over(before) == Given(url="http://before:1", token="mine")


def test_a_unix_url_is_a_socket() -> None:
    assert socket_of(Given(url="unix:///x/api.sock"), {}) == "/x/api.sock"


def test_a_config_that_was_named_and_is_not_there_is_refused() -> None:
    with pytest.raises(BadTargetError, match=str(NOWHERE)):
        choose_target(Given(config=NOWHERE), {})


@pytest.mark.parametrize("text", ["[api\n", "[api]\nsocket = 3\n", "\x00"])
def test_a_config_that_cannot_be_read_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.toml"
    path.write_text(text)
    with pytest.raises(BadTargetError, match=r"config\.toml"):
        choose_target(Given(config=path), {})


@pytest.mark.parametrize(
    "url",
    ["localhost:8470", "ftp://x", "http://", "http://x:99999", "http://[::1", "http://u:p@x", "http://x?a=1"],
)
def test_what_is_no_plain_address_is_refused(url: str) -> None:
    with pytest.raises(BadTargetError):
        choose_target(Given(url=url), {})
