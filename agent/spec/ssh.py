"""spec/ssh — who may log in to a job, as a field of its spec. Which keys are any is `ssh_keys`' to say."""

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, WithJsonSchema

from agent.spec.limits import MAX_SSH_KEY_CHARACTERS, MAX_SSH_KEYS


class Ssh(BaseModel):
    """By public key. Nobody may by password."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", hide_input_in_errors=True)

    # What a validator hands on is no longer JSON to pydantic: there a list must count as one.
    authorized_keys: tuple[str, ...] = Field(strict=False)


def none_if_false(value: object) -> object:
    return None if value is False else value


def false_if_none(value: Ssh | None) -> object:
    return False if value is None else value.model_dump()


_SCHEMA = {
    "anyOf": [
        {"const": False},
        {
            "type": "object",
            "additionalProperties": False,
            "required": ["authorized_keys"],
            "properties": {
                "authorized_keys": {
                    "type": "array",
                    "minItems": 1,
                    "maxItems": MAX_SSH_KEYS,
                    "items": {"type": "string", "maxLength": MAX_SSH_KEY_CHARACTERS},
                }
            },
        },
    ],
    "description": "public keys that may log in, as in .pub files and without options; false: no SSH",
}

# `false` in what users write and read, and in rows from before there was any.
SshOrFalse = Annotated[
    Ssh | None, BeforeValidator(none_if_false), PlainSerializer(false_if_none), WithJsonSchema(_SCHEMA)
]
