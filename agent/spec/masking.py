"""spec/masking — a spec with its secrets hidden, its secrets alone, and the text in which a spec is stored. Writes nothing itself."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from agent.spec.job import JobSpec, Notify, Registry, Upload
from agent.spec.urls import hide_query

MASK = "***"


@dataclass(frozen=True, slots=True)
class Secrets:
    """What a spec must not show: file contents by name, credentials, where to notify, where to send outputs. Its repr
    shows none of it.
    """

    files: Mapping[str, str] = field(repr=False)
    registry: Registry | None = field(repr=False)
    notify: Notify | None = field(repr=False)
    upload: Upload | None = field(repr=False)  # None: nothing of it is secret


def secrets_of(spec: JobSpec) -> Secrets:
    """Take the secrets out, to be written into the job's secrets folder."""
    upload = spec.outputs.upload
    return Secrets(
        files=dict(spec.secrets),
        registry=spec.registry,
        notify=spec.notify,
        upload=upload if upload.has_secrets else None,
    )


def without_secrets(spec: JobSpec) -> JobSpec:
    """The same spec with `***` for each secret value, each password and the query of each URL; names stay."""
    registry = None if spec.registry is None else spec.registry.model_copy(update={"password": MASK})
    notify = None if spec.notify is None else Notify(url=hide_query(spec.notify.url), secret=MASK)
    outputs = spec.outputs.model_copy(update={"upload": hide_upload(spec.outputs.upload)})
    secrets = dict.fromkeys(spec.secrets, MASK)
    hidden = {"secrets": secrets, "registry": registry, "notify": notify, "outputs": outputs}
    return spec.model_copy(update=hidden)


def hide_upload(upload: Upload) -> Upload:
    """The same with `***` for each header's value and the query of each URL."""
    urls = {name: hide_query(url) for name, url in upload.urls.items()}
    return upload.model_copy(update={**urls, "headers": dict.fromkeys(upload.headers, MASK)})


def masked(spec: JobSpec) -> dict[str, Any]:
    """The spec as JSON-ready values, every field present, secrets as `***`: what the API shows."""
    return without_secrets(spec).model_dump(mode="json")


def dump_spec(spec: JobSpec) -> str:
    """The spec as masked JSON text: what the database and spec.json hold."""
    return without_secrets(spec).model_dump_json()


def load_spec(text: str) -> JobSpec:
    """Read what `dump_spec` wrote, equal to `without_secrets` of it.

    Checks the shape only, so a row of an older version with other limits stays readable.
    Raises ValueError (pydantic's) if the text is no spec at all.
    """
    return JobSpec.model_validate_json(text)
