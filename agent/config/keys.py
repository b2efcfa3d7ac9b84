"""config/keys — every key of the config: its default and its rules. Reads no file and no environment (that is `config/sources`)."""

from collections.abc import Iterator, Mapping
from itertools import combinations
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from agent.config.values import (
    AbsolutePath,
    AnySeconds,
    Binds,
    Count,
    DnsServer,
    GpuUuids,
    Listen,
    ListenAddress,
    Networks,
    OpenedNetworks,
    OutgoingHosts,
    PageDomainName,
    PortMap,
    PortRange,
    Ports,
    PositiveCount,
    PositiveNumber,
    Seconds,
    Size,
    SocketPath,
    Texts,
    WaitPoints,
    XidActions,
)

# Below it are the host's own services; a job never gets one of them.
FIRST_HOST_PORT = 1024


def _fault(code: str, at: str, text: str) -> PydanticCustomError:
    """A fault of another key of the same section, or of one in it, than the one being read: `at` names it."""
    return PydanticCustomError("rule", "{text}", {"text": text, "at": at, "code": code})


class Section(BaseModel):
    """A table of the config. `later` names its keys that nothing reads yet: setting one is refused, never ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    later: ClassVar[frozenset[str]] = frozenset()

    @field_validator("*")
    @classmethod
    def refuse_what_nothing_reads_yet(cls, value: object, info: ValidationInfo) -> object:
        key = str(info.field_name)
        if key in cls.later and value != cls.model_fields[key].get_default(call_default_factory=True):
            raise _fault("not_supported_yet", key, "this release does not read the key yet; take it out")
        return value


class Api(Section):
    listen: Listen = ListenAddress("127.0.0.1", 8470)
    socket: SocketPath = Path("/run/gpu-agent/api.sock")
    tls_cert: AbsolutePath | None = None
    tls_key: AbsolutePath | None = Field(default=None, validate_default=True)
    client_ca: AbsolutePath | None = None
    insecure_plaintext: bool = Field(default=False, validate_default=True)
    stream_timeout: Seconds = 60
    dashboard: bool = True

    # A rule that needs several keys stands at the last of them: pydantic then checks it beside all other faults,
    # where a rule of the whole table would be skipped as soon as one key of it is bad.

    @field_validator("tls_key")
    @classmethod
    def require_certificate_and_key_together(cls, tls_key: Path | None, info: ValidationInfo) -> Path | None:
        tls_cert = info.data.get("tls_cert", tls_key)
        if tls_key is None and tls_cert is not None:
            raise _fault("invalid", "tls_cert", "tls_cert without tls_key: TLS needs both")
        if tls_key is not None and tls_cert is None:
            raise _fault("invalid", "tls_key", "tls_key without tls_cert: TLS needs both")
        return tls_key

    @field_validator("client_ca")
    @classmethod
    def require_tls_for_client_certificates(cls, client_ca: Path | None, info: ValidationInfo) -> Path | None:
        if client_ca is not None and info.data.get("tls_cert", client_ca) is None:
            raise _fault("invalid", "client_ca", "client certificates need TLS: set tls_cert and tls_key")
        return client_ca

    @field_validator("insecure_plaintext")
    @classmethod
    def refuse_plaintext_off_loopback(cls, accepted: bool, info: ValidationInfo) -> bool:  # noqa: FBT001 - pydantic's signature
        listen = info.data.get("listen")
        is_plain = "tls_cert" in info.data and info.data["tls_cert"] is None
        if isinstance(listen, ListenAddress) and is_plain and not listen.is_loopback and not accepted:
            text = f"{listen} is off loopback and without TLS: tokens would travel in the clear. "
            way_out = (
                "Set tls_cert and tls_key, or insecure_plaintext = true if something before it speaks TLS"
            )
            raise _fault("invalid", "listen", text + way_out)
        return accepted


class Engine(Section):
    socket: Annotated[str, Field(pattern=r"^unix:///[^\x00]+$")] = "unix:///var/run/docker.sock"
    pull_timeout: Seconds = 1800
    stall_timeout: Seconds = 120
    log_size: Size = 100_000_000
    log_files: PositiveCount = 10
    runtime: Annotated[str, Field(min_length=1)] | None = None


class Gpus(Section):
    use: GpuUuids = ("*",)
    lock_dir: AbsolutePath = Path("/run/lock/gpu-agent")
    injection: Literal["auto", "cdi", "nvidia"] = "auto"
    probation: AnySeconds = 600
    clean_timeout: Seconds = 30
    pin_numa: bool = False
    kernel_log: AbsolutePath = Path("/dev/kmsg")
    xid: XidActions = Field(default_factory=lambda: MappingProxyType({}))


class Jobs(Section):
    ageing: WaitPoints = 1
    max_children: Count = 100
    max_depth: Count = 5


class PortsSection(Section):
    range: Ports = PortRange(20000, 29999)
    bind: Binds = ("0.0.0.0",)  # noqa: S104 - a published port is there to be reached; only leased ports are bound
    external_host: Annotated[str, Field(pattern=r"^[A-Za-z0-9._:-]{0,253}$")] = ""
    external_ports: PortMap = Field(default_factory=lambda: MappingProxyType({}))

    @field_validator("range")
    @classmethod
    def require_unprivileged_ports(cls, ports: PortRange) -> PortRange:
        if ports.first < FIRST_HOST_PORT:
            raise ValueError(f"{ports} reaches below {FIRST_HOST_PORT}, where the host's own services are")
        return ports

    @field_validator("external_ports")
    @classmethod
    def require_a_map_of_our_range(
        cls, rows: Mapping[PortRange, PortRange], info: ValidationInfo
    ) -> Mapping[PortRange, PortRange]:
        if rows and not info.data.get("external_host", "unread"):
            raise ValueError("external_ports without external_host: clients would be told neither")
        faults = [
            f"{host} and {external} differ in length"
            for host, external in rows.items()
            if len(host) != len(external)
        ]
        ours = info.data.get("range")
        if isinstance(ours, PortRange):
            faults += [
                f"{host} is not inside ports.range = {ours}" for host in rows if not ours.contains(host)
            ]
        for side in (rows.keys(), rows.values()):
            faults += [
                f"{one} and {other} overlap" for one, other in combinations(side, 2) if one.overlaps(other)
            ]
        if not faults and isinstance(ours, PortRange):
            faults += _find_two_of_one_number(ours, rows)
        if faults:
            raise ValueError("; ".join(faults))
        return rows


def _find_two_of_one_number(ours: PortRange, rows: Mapping[PortRange, PortRange]) -> Iterator[str]:
    """A port that is in no row keeps its number, which then can't be another's outside."""
    mapped = {port for host in rows for port in range(host.first, host.last + 1)}
    kept = set(range(ours.first, ours.last + 1)) - mapped
    for host, external in rows.items():
        twice = kept.intersection(range(external.first, external.last + 1))
        if twice:
            yield f"outside, {min(twice)} would be one of {host} and itself: map it, too, or leave it out of ports.range"


class Network(Section):
    # An interface name has 15 characters at most (IFNAMSIZ); the rest keeps it usable as part of an nft table's name.
    bridge: Annotated[str, Field(max_length=15, pattern=r"^[a-z][a-z0-9_-]*$")] = "gpuagent0"
    egress: Literal["internet", "none"] = "internet"
    egress_allow: OpenedNetworks = ()
    deny: Networks = ()
    dns: tuple[DnsServer, ...] = ()


class Ssh(Section):
    kit: AbsolutePath | None = None


class Limits(Section):
    cpus: PositiveNumber | None = None
    memory: Size | None = None
    shm: Size | None = None
    pids: PositiveCount = 4096
    disk: Size | None = None
    job_ports: Count = 64
    queued_jobs: PositiveCount = 1000


class Queue(Section):
    concurrency: PositiveCount = 8


class Volumes(Section):
    later: ClassVar[frozenset[str]] = frozenset({"allow"})
    allow: Texts = ()


class Images(Section):
    allow: Texts = ("*",)
    deny: Texts = ()
    max_size: Size | None = None


class Outputs(Section):
    retention: AnySeconds = 604800
    max_files: PositiveCount | None = None
    max_bytes: Size | None = None


class Uploads(Section):
    parallel: PositiveCount = 8
    allow_http: bool = False
    allow_hosts: OutgoingHosts = ()


class Chutes(Section):
    cord_idle: AnySeconds = 300
    cord_timeout: Seconds = 300


class Proxy(Section):
    domain: PageDomainName = ""
    # How a browser reaches the API's listener, where something stands before it. Unset: as [api] says.
    external_scheme: Literal["http", "https"] | None = None
    external_port: Annotated[int, Field(ge=1, le=65535)] | None = None


class Log(Section):
    level: Literal["debug", "info", "warning", "error", "critical"] = "info"
    format: Literal["console", "json"] = "console"


def _add_default_queue(queues: Mapping[str, Queue]) -> Mapping[str, Queue]:
    return MappingProxyType({"default": Queue(), **queues})


class Config(Section):
    """The whole config, validated. Sizes are bytes, waits are seconds, None is "unset"."""

    state_dir: AbsolutePath = Path("/var/lib/gpu-agent")
    runtime_dir: AbsolutePath = Path("/run/gpu-agent")
    api: Api = Api()
    engine: Engine = Engine()
    # Where there is a factory: pydantic copies a default, and a frozen map can't be copied.
    gpus: Gpus = Field(default_factory=Gpus)
    jobs: Jobs = Jobs()
    ports: PortsSection = Field(default_factory=PortsSection, validate_default=True)
    network: Network = Network()
    ssh: Ssh = Ssh()
    limits: Limits = Limits()
    # A name that is not here has the limit of "default", which is always here.
    queues: Annotated[
        Mapping[Annotated[str, Field(min_length=1)], Queue], AfterValidator(_add_default_queue)
    ] = Field(default_factory=lambda: _add_default_queue({}))
    volumes: Volumes = Volumes()
    images: Images = Images()
    outputs: Outputs = Outputs()
    uploads: Uploads = Uploads()
    chutes: Chutes = Chutes()
    proxy: Proxy = Proxy()
    log: Log = Log()

    @field_validator("ports")
    @classmethod
    def keep_the_api_out_of_the_range(cls, ports: PortsSection, info: ValidationInfo) -> PortsSection:
        api = info.data.get("api")
        if isinstance(api, Api) and ports.range.first <= api.listen.port <= ports.range.last:
            text = f"api.listen = {api.listen} is a port of it, which no job could have"
            raise _fault("invalid", "ports.range", text)
        return ports
