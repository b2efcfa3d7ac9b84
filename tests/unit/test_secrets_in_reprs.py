"""No value that carries a secret shows it where it is printed: in a traceback, a failed assertion, a line of a debugger."""

import pytest
from pydantic import ValidationError

from agent.adapters.uploads.presign import Grant
from agent.adapters.uploads.tus import Spot
from agent.adapters.uploads.wire import Question
from agent.api.sessions import Opened
from agent.core.container import Credentials
from agent.core.outgoing import Reply
from agent.interfaces import Offered, OutgoingRequest, SecretFiles
from agent.jobs.uploads.places import KeptPlaces
from agent.spec import Upload, UploadTo, read_url
from tests.fakes.folders import FakeFolders

SIGNED = read_url("https://store.example.org/a?sig=hush")
PLACE = read_url("https://store.example.org/files/hush")
HEADERS = {"Authorization": "hush"}


@pytest.mark.parametrize(
    "value",
    [
        SIGNED,
        Question("POST", PLACE, HEADERS, b"hush"),
        OutgoingRequest("POST", PLACE, HEADERS, b"hush", 1.0),
        Reply(201, None, b"hush", {"location": PLACE.text}),
        Grant(Offered("a", 1), SIGNED, 1),
        Spot(PLACE, 0),
        Credentials("me", "hush"),
        Opened("hush", "hush", 1.0),
        KeptPlaces(FakeFolders(), "job", {"a": PLACE.text}),
        SecretFiles(
            {"TOKEN": "hush"},
            registry=Credentials("me", "hush"),
            upload=Upload(to=UploadTo.PUT, url=SIGNED.text, headers=HEADERS),
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_value_shows_no_secret(value: object) -> None:
    assert "hush" not in repr(value)


@pytest.mark.parametrize("text", ['{"to": "put", "url": 7, "headers": {"A": "hush"}', '{"to": "hush"}'])
def test_a_file_of_secrets_that_can_not_be_read_is_not_repeated_by_its_error(text: str) -> None:
    with pytest.raises(ValidationError) as unread:
        Upload.model_validate_json(text)
    assert "hush" not in str(unread.value)
