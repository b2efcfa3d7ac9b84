"""The config: defaults, overrides, every fault at once with its place, and what a reload may change."""

import re
import tomllib
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from agent.config import Config, ConfigError, ConfigFault, PortRange, changed_keys, load_config, show_config
from agent.errors import Blame

Write = Callable[[str | bytes], Path]
EXAMPLE = Path(__file__).parents[2] / "config.example.toml"
NAT = '[ports]\nexternal_host = "gpu.example.org"\n'
DEFAULTS = load_config(None, {})


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(text: str | bytes) -> Path:
        path = tmp_path / "config.toml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def faults_of(path: Path | None, environ: Mapping[str, str] | None = None) -> tuple[ConfigFault, ...]:
    with pytest.raises(ConfigError) as caught:
        load_config(path, environ or {})
    return caught.value.faults


def only_fault(path: Path | None, environ: Mapping[str, str] | None = None) -> ConfigFault:
    (fault,) = faults_of(path, environ)
    return fault


def leaf_keys(value: object, above: tuple[str, ...] = ()) -> set[tuple[str, ...]]:
    if isinstance(value, BaseModel) and type(value).model_fields:
        names = type(value).model_fields
        return set().union(*(leaf_keys(getattr(value, name), (*above, name)) for name in names))
    if isinstance(value, Mapping) and value:
        return set().union(*(leaf_keys(entry, (*above, str(name))) for name, entry in value.items()))
    return {above}


# Defaults and the example


def test_no_file_and_no_variables_give_the_documented_defaults() -> None:
    assert DEFAULTS.state_dir == Path("/var/lib/gpu-agent")
    assert str(DEFAULTS.api.listen) == "127.0.0.1:8470"
    assert DEFAULTS.api.socket == Path("/run/gpu-agent/api.sock")
    assert DEFAULTS.engine.log_size == 100_000_000
    assert DEFAULTS.ports.range == PortRange(20000, 29999)
    assert DEFAULTS.network.bridge == "gpuagent0"
    assert DEFAULTS.limits.memory is None
    assert DEFAULTS.queues["default"].concurrency == 8
    assert DEFAULTS.outputs.retention == 604800


def test_the_example_holds_exactly_the_defaults() -> None:
    assert load_config(EXAMPLE, {}) == DEFAULTS


def test_the_example_names_every_key_those_without_a_default_behind_a_bare_hash() -> None:
    text = re.sub(r"^#(?=[a-z_]+ = )", "", EXAMPLE.read_text(), flags=re.MULTILINE)
    named = tomllib.loads(text)
    for path in leaf_keys(DEFAULTS):
        table = named
        for part in path:
            assert part in table, f"{'.'.join(path)} is not in the example"
            table = table[part]


def test_each_key_of_the_example_is_explained_above_it() -> None:
    lines = EXAMPLE.read_text().splitlines()
    for above, line in pairwise(lines):
        if re.match(r"#?[a-z_]+ = ", line):
            assert above.startswith("#") or re.match(r"[a-z_]+ = ", above), f"{line!r} has no comment"


def test_a_config_can_not_be_changed() -> None:
    with pytest.raises(ValidationError):
        DEFAULTS.api.stream_timeout = 5
    with pytest.raises(TypeError):
        DEFAULTS.queues["more"] = DEFAULTS.queues["default"]


# Reading


def test_the_file_overrides_the_defaults(write: Write) -> None:
    config = load_config(
        write(
            'state_dir = "/srv/agent"\n[engine]\nlog_size = "1MiB"\n[limits]\nmemory = "64GiB"\ncpus = 2.5\n'
        ),
        {},
    )
    assert config.state_dir == Path("/srv/agent")
    assert (config.engine.log_size, config.limits.memory, config.limits.cpus) == (1 << 20, 64 << 30, 2.5)


def test_a_variable_overrides_the_file(write: Write) -> None:
    path = write('[log]\nlevel = "debug"\nformat = "json"\n')
    config = load_config(path, {"GPU_AGENT__LOG__LEVEL": "error"})
    assert (config.log.level, config.log.format) == ("error", "json")


def test_every_kind_of_value_can_be_set_by_a_variable() -> None:
    config = load_config(
        None,
        {
            "GPU_AGENT__STATE_DIR": "/srv/agent",
            "GPU_AGENT__API__LISTEN": "[::1]:99",
            "GPU_AGENT__API__INSECURE_PLAINTEXT": "true",
            "GPU_AGENT__PORTS__RANGE": "30000-30009",
            "GPU_AGENT__PORTS__BIND": '["0.0.0.0", "::"]',
            "GPU_AGENT__PORTS__EXTERNAL_HOST": "2001:db8::7",
            "GPU_AGENT__PORTS__EXTERNAL_PORTS": '{"30000-30001": "80-81"}',
            "GPU_AGENT__NETWORK__DNS": '["9.9.9.9", "2620:fe::fe"]',
            "GPU_AGENT__LIMITS__MEMORY": "1GiB",
            "GPU_AGENT__QUEUES__TRAINING__CONCURRENCY": "2",
            "GPU_AGENT__OUTPUTS__MAX_FILES": "7",
        },
    )
    assert config.state_dir == Path("/srv/agent")
    assert (config.api.listen.host, config.api.listen.port, config.api.insecure_plaintext) == (
        "::1",
        99,
        True,
    )
    assert config.ports.bind == ("0.0.0.0", "::")
    assert load_config(None, {"GPU_AGENT__PORTS__BIND": "::"}).ports.bind == ("::",)
    assert dict(config.ports.external_ports) == {PortRange(30000, 30001): PortRange(80, 81)}
    assert config.network.dns == ("9.9.9.9", "2620:fe::fe")
    assert (config.limits.memory, config.outputs.max_files) == (1 << 30, 7)
    assert {name: queue.concurrency for name, queue in config.queues.items()} == {"default": 8, "training": 2}


def test_variables_of_the_client_and_of_others_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPU_AGENT__LOG__LEVEL", "nonsense")  # not of the mapping that is passed
    assert load_config(None, {"GPU_AGENT_URL": "x", "GPU_AGENT_TOKEN": "y", "PATH": "z"}) == DEFAULTS


def test_the_default_queue_is_there_beside_others_and_can_be_set(write: Write) -> None:
    config = load_config(write("[queues.training]\nconcurrency = 1\n"), {})
    assert {name: queue.concurrency for name, queue in config.queues.items()} == {"default": 8, "training": 1}
    assert load_config(write("[queues.default]\nconcurrency = 3\n"), {}).queues["default"].concurrency == 3


# Faults and where they are


def test_every_fault_is_reported_at_once_each_with_its_line(write: Write) -> None:
    path = write(
        """# a comment
state_dir = "relative"
[api]
listen = "0.0.0.0:8470"
stream_timeout = -1

[ports]
range = "30000-20000"
[network]
dns = [
  "1.1.1.1",
  "127.0.0.53",
]
bridge = "far_too_long_a_name"
[queues.big]
concurency = 4
[log]
level = "loud"
[nonsense]
"""
    )
    faults = faults_of(path)
    assert [(fault.line, fault.key, fault.code) for fault in faults] == [
        (2, "state_dir", "invalid"),
        (4, "api.listen", "invalid"),
        (5, "api.stream_timeout", "invalid"),
        (8, "ports.range", "invalid"),
        (10, "network.dns.1", "invalid"),
        (14, "network.bridge", "invalid"),
        (16, "queues.big.concurency", "unknown_key"),
        (18, "log.level", "invalid"),
        (19, "nonsense", "unknown_key"),
    ]
    assert str(faults[0]).startswith(f"{path}:2: state_dir: ")


def test_the_error_is_the_users_and_tells_every_fault(write: Write) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(write("[log]\nlevel = 1\nformat = 2\n"), {})
    assert (caught.value.code, caught.value.blame) == ("config_invalid", Blame.USER)
    assert "2 fault(s)" in str(caught.value)
    assert "log.level" in str(caught.value)
    assert "log.format" in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "a.b = 1",
        "[api]\n'listten' = 1",
        '[api]\n"listten" = 1',
        "[jobs]\nageing = 1\n[api]\n\n# listten\nlistten = '''\n[log]\n'''\n[log]\n",
        "api.listten = 1",
        "api = { listten = 1 }",
        "[outputs]\r\nretention = 1\r\n[api]\r\nlistten = 1\r\n",
        "[images]\nallow = [\n '[api]',\n 'listten = 3' ]\n[api]\nlistten = 4",
    ],
)
def test_the_line_is_found_however_the_key_is_written(write: Write, text: str) -> None:
    fault = only_fault(write(text))
    # The statement that holds the key begins there, and none of the lines that only look like it is taken.
    assert fault.line == max(
        number
        for number, line in enumerate(text.split("\n"), 1)
        if re.search(r"listten['\"]? = (1|4|''')|a\.b", line)
    )


def test_a_syntax_error_has_its_line(write: Write) -> None:
    fault = only_fault(write("[api]\nlisten = \n"))
    assert (fault.code, fault.line) == ("syntax", 2)


def test_a_key_written_twice_has_its_line(write: Write) -> None:
    assert only_fault(write('[log]\nlevel = "info"\nlevel = "debug"\n')).line == 3


def test_a_string_that_is_never_closed_has_the_last_line(write: Write) -> None:
    assert only_fault(write('[log]\nlevel = """\n\n')).line == 2


@pytest.mark.parametrize("value", ["1" * 5000, "[" * 5000])
def test_toml_that_the_parser_gives_up_on_is_a_fault_and_no_crash(write: Write, value: str) -> None:
    assert only_fault(write(f"[log]\nlevel = {value}\n")).code == "syntax"


def test_bytes_that_are_no_utf8_have_their_line(write: Write) -> None:
    fault = only_fault(write(b'[log]\nlevel = "\xff"\n'))
    assert (fault.code, fault.line) == ("syntax", 2)


def test_a_file_that_is_not_there_is_a_fault_not_the_defaults(tmp_path: Path) -> None:
    assert only_fault(tmp_path / "none.toml").code == "unreadable"


def test_faults_of_variables_are_told_beside_those_of_a_broken_file(write: Write) -> None:
    environ = {
        "GPU_AGENT__LOG__LEVEL": "loud",
        "GPU_AGENT__NETWORK__DNS": "1.1.1.1",
        "GPU_AGENT__LOGG__LEVEL": "info",
        "GPU_AGENT__STATE_DIRR": "/x",
        "GPU_AGENT__API__LISTTEN": "x",
    }
    faults = faults_of(write("= broken"), environ)
    assert {(fault.where, fault.code) for fault in faults[1:]} == {
        ("GPU_AGENT__LOG__LEVEL", "invalid"),
        ("GPU_AGENT__NETWORK__DNS", "invalid"),
        ("GPU_AGENT__LOGG__LEVEL", "unknown_key"),
        ("GPU_AGENT__STATE_DIRR", "unknown_key"),
        ("GPU_AGENT__API__LISTTEN", "unknown_key"),
    }
    assert faults[0].code == "syntax"


def test_a_bad_variable_over_a_good_line_is_told_by_its_name(write: Write) -> None:
    fault = only_fault(write('[log]\nlevel = "info"\n'), {"GPU_AGENT__LOG__LEVEL": "loud"})
    assert (fault.where, fault.line) == ("GPU_AGENT__LOG__LEVEL", None)


@pytest.mark.parametrize(
    ("text", "known"),
    [
        ("[api]\nlisten_on = 1", "api.listen"),
        ("[apis]", "api"),
        ('listen = "x"', "api.listen"),
        ("[log]\nretention = 1", "outputs.retention"),
        ("[queues.big]\nconcurrent = 1", "queues.big.concurrency"),
        ("statedir = 1", "state_dir"),
    ],
)
def test_an_unknown_key_names_the_nearest_known_one(write: Write, text: str, known: str) -> None:
    fault = only_fault(write(text))
    assert fault.code == "unknown_key"
    assert fault.text.endswith(f" {known}")


# Rules


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('[api]\nlisten = "8470"', "api.listen"),
        ('[api]\nlisten = "127.0.0.1:70000"', "api.listen"),
        ('[api]\nlisten = "::1:80"', "api.listen"),
        ('[api]\nlisten = "0.0.0.0:80"', "api.listen"),
        ('[api]\nlisten = "[::]:80"', "api.listen"),
        ('[api]\nlisten = "gpu.example:80"', "api.listen"),
        ('[api]\ntls_cert = "/c"', "api.tls_cert"),
        ('[api]\ntls_key = "/k"', "api.tls_key"),
        ('[api]\nclient_ca = "/ca"', "api.client_ca"),
        (f'[api]\nsocket = "/{"x" * 107}"', "api.socket"),
        ("[api]\nstream_timeout = nan", "api.stream_timeout"),
        ("[api]\nstream_timeout = inf", "api.stream_timeout"),
        ('[engine]\nsocket = "tcp://127.0.0.1:2375"', "engine.socket"),
        ('[engine]\nlog_size = "100"\nlog_files = 0', "engine.log_files"),
        ('[engine]\nlog_size = "many"', "engine.log_size"),
        ("[engine]\nlog_size = 0", "engine.log_size"),
        ("[engine]\nlog_size = 1.5", "engine.log_size"),
        ("[limits]\nmemory = true", "limits.memory"),
        ("[limits]\npids = true", "limits.pids"),
        ("[limits]\npids = 1.5", "limits.pids"),
        ("[limits]\ncpus = 0", "limits.cpus"),
        ("[limits]\npids = 10000000000", "limits.pids"),
        ("[outputs]\nretention = 1e300", "outputs.retention"),
        ("[jobs]\nageing = -1", "jobs.ageing"),
        ('[ports]\nrange = "1023-2000"', "ports.range"),
        ('[ports]\nrange = "20000-65536"', "ports.range"),
        ('[ports]\nrange = "20001-20000"', "ports.range"),
        ('[ports]\nrange = "20000"', "ports.range"),
        ('[ports]\nbind = "everywhere"', "ports.bind"),
        ("[ports]\nbind = 1", "ports.bind"),
        ("[ports]\nbind = []", "ports.bind"),
        ('[ports]\nbind = "[::]"', "ports.bind"),
        ("[ports]\nbind = [1]", "ports.bind"),
        ('[ports]\nbind = ["0.0.0.0", "everywhere"]', "ports.bind"),
        ('[ports]\nbind = ["::", "::"]', "ports.bind"),
        ('[ports]\nbind = ["2001:db8::1", "2001:DB8:0::1"]', "ports.bind"),
        ('[ports]\nbind = ["192.0.2.1", "0.0.0.0"]', "ports.bind"),
        ('[ports]\nbind = ["::", "0.0.0.0", "::1"]', "ports.bind"),
        ('[ports]\nbind = "fe80::1"', "ports.bind"),
        ('[ports]\nbind = "2001:db8::1%eth0"', "ports.bind"),
        ('[ports]\nbind = "::ffff:192.0.2.1"', "ports.bind"),
        ('[ports]\nbind = "ff02::1"', "ports.bind"),
        ('[ports]\nbind = "224.0.0.1"', "ports.bind"),
        ('[api]\nlisten = "127.0.0.1:20000"', "ports.range"),
        ('[api]\nlisten = "127.0.0.1:30000"\n[ports]\nrange = "29000-30000"', "ports.range"),
        ('[ports]\nexternal_ports = {"20000-20001" = "40000-40001"}', "ports.external_ports"),
        ('[ports]\nexternal_host = "https://gpu.example/"', "ports.external_host"),
        ('[ports]\nexternal_ports = ["20000-20001"]', "ports.external_ports"),
        ('[uploads]\nallow_hosts = ["*.internal"]', "uploads.allow_hosts.0"),
        ('[proxy]\ndomain = "*.jobs.example"', "proxy.domain"),
        ('[proxy]\ndomain = "Jobs.example"', "proxy.domain"),
        ('[proxy]\ndomain = "https://jobs.example"', "proxy.domain"),
        ('[proxy]\ndomain = "192.0.2.1"', "proxy.domain"),
        ('[proxy]\nexternal_scheme = "ftp"', "proxy.external_scheme"),
        ("[proxy]\nexternal_port = 0", "proxy.external_port"),
        ('[uploads]\nallow_hosts = ["10.0.0.1/8"]', "uploads.allow_hosts.0"),
        (f'{NAT}external_ports = {{"20000-20001" = "40000-40002"}}', "ports.external_ports"),
        (f'{NAT}external_ports = {{"19999-20000" = "40000-40001"}}', "ports.external_ports"),
        (f'{NAT}external_ports = {{"20000-20001" = "5-6", "20001-20002" = "8-9"}}', "ports.external_ports"),
        (f'{NAT}external_ports = {{"20000-20001" = "5-6", "20002-20003" = "6-7"}}', "ports.external_ports"),
        (f'{NAT}external_ports = {{"20000-20009" = "20005-20014"}}', "ports.external_ports"),
        (f'{NAT}external_ports = {{"20000-20009" = "29999-30008"}}', "ports.external_ports"),
        ('[network]\nbridge = "1bridge"', "network.bridge"),
        ('[network]\nbridge = "Bridge"', "network.bridge"),
        ('[network]\nbridge = "sixteen-letters0"', "network.bridge"),
        ('[network]\nbridge = "a\\n"', "network.bridge"),
        ('[network]\ndns = ["::1"]', "network.dns.0"),
        ("[network]\ndns = [8]", "network.dns.0"),
        ("[queues.a]\nconcurrency = 0", "queues.a.concurrency"),
        ("[queues]\na = 3", "queues.a"),
        ('[images]\nallow = "*"', "images.allow"),
        ('state_dir = "a\\u0000"', "state_dir"),
        ('state_dir = "/a\\u0000"', "state_dir"),
        ("api = 3", "api"),
    ],
)
def test_a_broken_rule_is_told_by_its_key(write: Write, text: str, key: str) -> None:
    assert [(fault.key, fault.code) for fault in faults_of(write(text))] == [(key, "invalid")]


@pytest.mark.parametrize(
    "text",
    [
        '[api]\nlisten = "127.9.9.9:0"',
        '[api]\nlisten = "localhost:80"',
        '[api]\nlisten = "0.0.0.0:80"\ninsecure_plaintext = true',
        '[api]\nlisten = "0.0.0.0:80"\ntls_cert = "/c"\ntls_key = "/k"\nclient_ca = "/ca"',
        '[api]\nlisten = "127.0.0.1:0"\n[ports]\nrange = "1024-65535"\nexternal_host = "h"\nexternal_ports = {"1024-1025" = "1-2", "2000-2000" = "80-80"}',
        f'{NAT}external_ports = {{"20000-20009" = "20005-20014", "20010-29999" = "40000-49989"}}',
        f'[api]\nsocket = "/{"x" * 106}"',
        '[network]\nbridge = "fifteen_letters"',
        "[outputs]\nretention = 0",
    ],
)
def test_what_the_rules_allow_is_accepted(write: Write, text: str) -> None:
    assert load_config(write(text), {}) != DEFAULTS


def test_an_api_in_the_range_of_ports_is_told_at_the_line_of_the_range(write: Write) -> None:
    (fault,) = faults_of(write('[api]\nlisten = "127.0.0.1:29000"\n[ports]\nrange = "29000-30000"\n'))
    assert (fault.key, fault.line) == ("ports.range", 4)
    assert "127.0.0.1:29000" in fault.text


def test_rules_of_several_keys_are_told_beside_faults_of_their_neighbours(write: Write) -> None:
    faults = faults_of(
        write('[api]\nlisten = "0.0.0.0:1"\nclient_ca = "/a"\nstream_timeout = 0\nsocket = "x"\n')
    )
    assert [fault.key for fault in faults] == [
        "api.listen",
        "api.client_ca",
        "api.stream_timeout",
        "api.socket",
    ]


def test_every_bad_row_of_the_xid_table_is_told_with_its_line(write: Write) -> None:
    faults = faults_of(write('[gpus.xid]\n31 = "ignore"\n031 = "ignore"\nabc = "reset"\n79 = "nope"\n'))
    assert [(fault.key, fault.line, fault.code) for fault in faults] == [
        ("gpus.xid.031", 3, "invalid"),
        ("gpus.xid.abc", 4, "invalid"),
        ("gpus.xid.79", 5, "invalid"),
    ]


def test_rows_of_the_xid_table_can_be_set_by_a_variable() -> None:
    fault = only_fault(None, {"GPU_AGENT__GPUS__XID": '{"31": "nope"}'})
    assert (fault.where, fault.key) == ("GPU_AGENT__GPUS__XID", "gpus.xid.31")


@pytest.mark.parametrize("uuid", ["", "0", "H100", "gpu-1", "GPU-", "GPU-1 "])
def test_a_gpu_is_named_by_its_uuid(write: Write, uuid: str) -> None:
    assert only_fault(write(f'gpus.use = ["*", "{uuid}"]')).code == "invalid"


# What nothing reads yet

LATER = [
    'volumes.allow = ["data"]',
]


@pytest.mark.parametrize("text", LATER)
def test_a_key_that_nothing_reads_yet_is_refused_rather_than_ignored(write: Write, text: str) -> None:
    fault = only_fault(write(text))
    assert (fault.code, fault.line) == ("not_supported_yet", 1)
    assert text.startswith(fault.key)


def test_a_key_that_nothing_reads_yet_may_be_written_with_its_default(write: Write) -> None:
    assert load_config(write('gpus.injection = "auto"\nvolumes.allow = []\n'), {}) == DEFAULTS


# Showing and reloading


@st.composite
def configs(draw: st.DrawFn) -> Config:
    def texts() -> list[str]:
        return draw(st.lists(st.text(min_size=1, max_size=8), max_size=3))

    first = draw(st.integers(20000, 20050))
    return Config.model_validate(
        {
            "state_dir": "/"
            + draw(st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=20)),
            "jobs": {"ageing": draw(st.floats(0, 1e6))},
            "limits": {
                "memory": draw(st.none() | st.integers(1, 1 << 50)),
                "cpus": draw(st.floats(0.01, 512)),
            },
            "images": {"allow": texts(), "deny": texts()},
            "queues": {
                name: {"concurrency": draw(st.integers(1, 99))}
                for name in draw(st.sets(st.text(min_size=1, max_size=8)))
            },
            "ports": {
                "bind": draw(
                    st.sampled_from(["0.0.0.0", "::", ["0.0.0.0", "::"], ["192.0.2.1", "2001:db8::1"]])
                ),
                "external_host": "gpu.example.org",
                "external_ports": {f"{first}-{first + 9}": "80-89"},
            },
            "log": {"level": draw(st.sampled_from(["debug", "info"]))},
        }
    )


@given(configs())
def test_a_shown_config_reads_back_as_the_same(config: Config) -> None:
    assert Config.model_validate(tomllib.loads(show_config(config))) == config


def test_showing_is_stable_and_names_every_key() -> None:
    shown = show_config(DEFAULTS)
    assert shown == show_config(load_config(None, {}))
    assert "[queues.default]\nconcurrency = 8\n" in shown
    assert "# memory is unset\n" in shown


def test_changes_are_told_apart_by_whether_a_reload_can_take_them(write: Write) -> None:
    new = load_config(
        write(
            """state_dir = "/srv"
jobs.ageing = 2
limits.memory = "1GiB"
images.deny = ["x"]
queues.extra.concurrency = 2
[outputs]
retention = 1
max_files = 3
max_bytes = 4
[chutes]
cord_idle = 1
cord_timeout = 2
[uploads]
parallel = 3
allow_http = true
allow_hosts = ["CI.internal", "10.0.0.0/8"]
[log]
level = "debug"
format = "json"
[api]
listen = "127.0.0.1:1"
[ports]
external_host = "gpu.example.org"
external_ports = {"20000-20001" = "1-2"}
"""
        ),
        {},
    )
    changes = changed_keys(DEFAULTS, new)
    assert changes.reloadable == (
        "chutes.cord_idle",
        "chutes.cord_timeout",
        "images.deny",
        "jobs.ageing",
        "limits.memory",
        "log.level",
        "outputs.max_bytes",
        "outputs.max_files",
        "outputs.retention",
        "queues.extra.concurrency",
        "uploads.allow_hosts",
        "uploads.allow_http",
        "uploads.parallel",
    )
    assert new.uploads.allow_hosts == ("ci.internal", "10.0.0.0/8")
    assert changes.needs_restart == (
        "api.listen",
        "log.format",
        "ports.external_host",
        "ports.external_ports.20000-20001",
        "state_dir",
    )
    assert changed_keys(new, DEFAULTS) == changes


def test_which_gpus_are_managed_is_read_at_the_start_only() -> None:
    new = Config.model_validate({"gpus": {"use": ["GPU-1"], "lock_dir": "/run/locks"}})
    assert changed_keys(DEFAULTS, new).needs_restart == ("gpus.lock_dir", "gpus.use")


@given(configs())
def test_a_config_never_differs_from_itself(config: Config) -> None:
    changes = changed_keys(config, Config.model_validate(tomllib.loads(show_config(config))))
    assert (changes.reloadable, changes.needs_restart) == ((), ())


@given(st.text())
def test_any_text_is_read_or_refused_with_places(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_text(text, encoding="utf-8", newline="")
    try:
        load_config(path, {})
    except ConfigError as error:
        assert all(fault.line for fault in error.faults)  # noqa: PT017 - most texts are faulty, and some are not


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('[queues.default]\nconcurrency = "eight"', "a whole number is wanted"),
        ("[queues.default]\nconcurrency = 0", "1 or more is wanted"),
        ("[queues.default]\nconcurrency = 99999999999", "2147483647 or less is wanted"),
        ('[outputs]\nretention = "7d"', "a number is wanted; times are seconds"),
        ('[gpus]\nuse = "all"', 'a list is wanted, such as ["a", "b"]'),
        ('[gpus]\nuse = ["0"]', 'a UUID as `nvidia-smi -L` shows it, or "*", is wanted'),
        ('[gpus]\ninjection = "CDI"', "'auto', 'cdi' or 'nvidia' is wanted"),
        ("[gpus]\npin_numa = 7", "true or false is wanted"),
        ('[[queues]]\nname = "x"', "a table is wanted, as [NAME] begins one"),
        ("log = 3", "a table is wanted, as [NAME] begins one"),
        ("[engine]\nruntime = 3", "text in quotes is wanted"),
        ("state_dir = 3", "an absolute path in quotes is wanted"),
        (
            '[engine]\nsocket = "/var/run/docker.sock"',
            'a path behind unix:// is wanted, such as "unix:///var/run/docker.sock"',
        ),
        ('[network]\nbridge = "a-name-of-sixteen"', "at most 15 characters are wanted"),
        ('[network]\nbridge = "Bridge"', "small letters, digits, - and _ are wanted, a letter first"),
    ],
)
def test_what_is_wanted_is_told_in_the_words_of_a_config(write: Write, text: str, told: str) -> None:
    assert only_fault(write(text)).text == told


def test_a_list_of_addresses_that_is_no_json_is_told_as_one() -> None:
    fault = only_fault(None, {"GPU_AGENT__PORTS__BIND": '["0.0.0.0"'})
    assert fault.text == 'a list in a variable is JSON, such as ["0.0.0.0", "::"]'


def test_a_url_among_the_allowed_hosts_is_told_what_is_wanted(write: Write) -> None:
    assert only_fault(write('[uploads]\nallow_hosts = ["http://ci"]')).text.endswith(
        "a host's name, an address or a network is wanted, without scheme, port and path"
    )
