"""spec/job — the job spec as a value: fields, types and defaults. Holds the shape only; what a user may ask is in `rules` and `ports`."""

from enum import StrEnum
from typing import Annotated

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    WithJsonSchema,
)

from agent.spec import limits
from agent.spec.ports import SSH_PORT_NAME, Port, Proto
from agent.spec.ssh import SshOrFalse

# Inside the agent a size is bytes; a user may also write it with a unit.
Size = Annotated[
    int,
    WithJsonSchema(
        {
            "anyOf": [{"type": "integer"}, {"type": "string", "examples": ["64GiB", "500MB"]}],
            "description": "bytes",
        }
    ),
]


class Network(StrEnum):
    """What a container may reach: the outside through the job bridge, or nothing."""

    EGRESS = "egress"
    NONE = "none"


class Interconnect(StrEnum):
    """How the GPUs of one job must be linked."""

    ANY = "any"
    BEST = "best"
    NVLINK = "nvlink"


class RetryOn(StrEnum):
    """The outcomes of an attempt that may be followed by another. The others never are."""

    FAILED = "failed"
    LOST = "lost"
    TIMED_OUT = "timed_out"


class OutputsOn(StrEnum):
    """After which outcome outputs are sent."""

    ALWAYS = "always"
    SUCCESS = "success"
    FAILURE = "failure"


class UploadTo(StrEnum):
    """Where outputs go, and by which protocol. `local` is the job's folder on this host."""

    LOCAL = "local"
    PUT = "put"
    CHUTES = "chutes"
    TUS = "tus"


class SpecModel(BaseModel):
    """Frozen and strict: no text becomes a number, no `true` a 1, and no unknown field is dropped in silence."""

    # An error of the library's own repeats no input: it may be a secret.
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", hide_input_in_errors=True)


class Registry(SpecModel):
    """Credentials for the image's registry. Never stored in the database, nor shown."""

    username: str
    password: str = Field(repr=False)


class Gpus(SpecModel):
    """Which GPUs a job wants. A user may write a bare count instead."""

    count: int = Field(json_schema_extra={"minimum": 0, "maximum": limits.MAX_GPUS})
    models: tuple[str, ...] = Field(
        default=(), description="globs; a GPU's model matches one of them; empty: any"
    )
    min_memory: Size | None = None
    interconnect: Interconnect = Interconnect.BEST
    mig: str | None = Field(default=None, description="a MIG profile, such as 1g.10gb")


class Upload(SpecModel):
    """Where outputs are sent. Which of the other fields there are goes by `to` (spec/upload). What may open an endpoint, the
    query of a URL and the values of the headers, is never stored in the database, nor shown.
    """

    to: UploadTo = UploadTo.LOCAL
    url: str | None = Field(
        default=None,
        repr=False,
        description="put: with {path}, and {job} and {attempt} where wanted; tus: where uploads are created",
        json_schema_extra={"maxLength": limits.MAX_URL_CHARACTERS},
    )
    presign: str | None = Field(
        default=None,
        repr=False,
        description="put: answers the list of files with a URL for each",
        json_schema_extra={"maxLength": limits.MAX_URL_CHARACTERS},
    )
    status_url: str | None = Field(
        default=None,
        repr=False,
        description="chutes: where the outcome is posted",
        json_schema_extra={"maxLength": limits.MAX_URL_CHARACTERS},
    )
    metadata: dict[str, str] = Field(
        default={},
        description="tus: goes with each file",
        json_schema_extra={"maxProperties": limits.MAX_UPLOAD_METADATA},
    )
    headers: dict[str, str] = Field(
        default={},
        repr=False,
        description="go with each request",
        json_schema_extra={"maxProperties": limits.MAX_UPLOAD_HEADERS, "writeOnly": True},
    )

    @property
    def leaves(self) -> bool:
        """Whether anything is sent at all."""
        return self.to is not UploadTo.LOCAL

    @property
    def urls(self) -> dict[str, str]:
        """By the fields' names; those that are there."""
        named = {"url": self.url, "presign": self.presign, "status_url": self.status_url}
        return {name: url for name, url in named.items() if url is not None}

    @property
    def has_secrets(self) -> bool:
        """Whether any of it is hidden where it is stored or shown; the same of one that is hidden already."""
        return bool(self.headers) or any("?" in url for url in self.urls.values())


class Outputs(SpecModel):
    """The output folder: where the container sees it, and what happens to its files."""

    path: str = Field(
        default="/outputs", description="absolute; where the folder is mounted in the container"
    )
    include: tuple[str, ...] = ("**",)
    exclude: tuple[str, ...] = ()
    on: OutputsOn = OutputsOn.ALWAYS
    live: bool = False
    quiet: int = 5
    deadline: int = 86_400
    logs: bool = False
    upload: Upload = Upload()


class Notify(SpecModel):
    """Where each change of phase is posted, signed. Its secret and its query are never stored in the database, nor shown."""

    url: str = Field(repr=False, json_schema_extra={"maxLength": limits.MAX_URL_CHARACTERS})
    secret: str = Field(
        repr=False,
        description="whsec_ and base64, or any text",
        json_schema_extra={"maxLength": limits.MAX_NOTIFY_SECRET_CHARACTERS, "writeOnly": True},
    )


class Retry(SpecModel):
    """Attempts after the first. The wait doubles from `backoff` seconds to 300, with full jitter."""

    count: int = Field(default=0, json_schema_extra={"minimum": 0, "maximum": limits.MAX_RETRIES})
    on: tuple[RetryOn, ...] = (RetryOn.FAILED, RetryOn.LOST)
    backoff: int = Field(default=5, json_schema_extra={"minimum": 0, "maximum": limits.MAX_BACKOFF_SECONDS})


class JobSpec(SpecModel):
    """A container job. Sizes are bytes, durations seconds, `not_before` is UTC. The dicts are not to be changed.

    `entrypoint` and `command` mean what the engine makes of them: none is the image's; an entrypoint of [] clears the
    image's, so that the command is the program; a command of [] is as none where no entrypoint is given, and "no
    arguments" behind a given one. With a given entrypoint the image's command is not used.
    """

    name: str | None = Field(default=None, json_schema_extra={"maxLength": limits.MAX_NAME_CHARACTERS})
    image: str = Field(json_schema_extra={"minLength": 1, "maxLength": limits.MAX_IMAGE_CHARACTERS})
    command: tuple[str, ...] | None = Field(
        default=None, description="none: the image's; [] after an entrypoint: none"
    )
    entrypoint: tuple[str, ...] | None = Field(
        default=None, description="none: the image's; []: no entrypoint"
    )
    env: dict[str, str] = Field(default={}, json_schema_extra={"maxProperties": limits.MAX_ENV})
    secrets: dict[str, str] = Field(
        default={},
        repr=False,
        description="read-only files at /run/secrets/NAME",
        json_schema_extra={"maxProperties": limits.MAX_SECRETS, "writeOnly": True},
    )
    secrets_env: tuple[str, ...] = Field(default=(), description="secrets that are set as variables too")
    registry: Registry | None = None
    user: str | None = Field(default=None, description="name or uid, and :group; none: the image's")
    workdir: str | None = Field(default=None, description="absolute; none: the image's")
    cpus: float | None = Field(default=None, json_schema_extra={"minimum": limits.MIN_CPUS})
    memory: Size | None = None
    shm: Size | None = None
    pids: int | None = Field(default=None, json_schema_extra={"minimum": 1, "maximum": limits.MAX_PIDS})
    disk: Size | None = Field(
        default=None,
        description="the quota of the output folder, bytes; none: the host's disk alone bounds it",
    )
    gpus: Gpus = Gpus(count=0)
    ports: tuple[Port, ...] = Field(default=(), json_schema_extra={"maxItems": limits.MAX_PORTS})
    network: Network = Network.EGRESS
    timeout: int | None = Field(
        default=None,
        description="seconds per attempt, from the container's start; none: no timeout",
        json_schema_extra={"minimum": limits.MIN_TIMEOUT_SECONDS, "maximum": limits.MAX_TIMEOUT_SECONDS},
    )
    grace: int = Field(
        default=30,
        description="seconds between the stop signal and the kill",
        json_schema_extra={"minimum": 0, "maximum": limits.MAX_GRACE_SECONDS},
    )
    ssh: SshOrFalse = Field(default=None, json_schema_extra={"default": False})
    outputs: Outputs = Outputs()
    notify: Notify | None = None
    volumes: tuple[()] = Field(
        default=(), description="not supported yet", json_schema_extra={"type": "array"}
    )
    retry: Retry = Retry()
    queue: str = Field(default="default", json_schema_extra={"maxLength": limits.MAX_QUEUE_CHARACTERS})
    priority: int = Field(
        default=0, json_schema_extra={"minimum": limits.MIN_PRIORITY, "maximum": limits.MAX_PRIORITY}
    )
    not_before: AwareDatetime | None = None
    labels: dict[str, str] = Field(default={}, json_schema_extra={"maxProperties": limits.MAX_LABELS})

    @property
    def has_secrets(self) -> bool:
        """Whether the job itself has any, which go at its end; the same of a spec whose secrets are masked.

        SSH's is the host key, which nobody sends: it is made here.
        """
        return (
            bool(self.secrets)
            or self.registry is not None
            or self.outputs.upload.has_secrets
            or self.ssh is not None
        )

    @property
    def published(self) -> tuple[Port, ...]:
        """All ports that lead to the job: its own, and SSH's where that is none of them."""
        if self.ssh is None or any(port.port == limits.SSH_PORT for port in self.ports):
            return self.ports
        return (*self.ports, Port(name=SSH_PORT_NAME, port=limits.SSH_PORT, proto=Proto.TCP))
