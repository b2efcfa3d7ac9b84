"""adapters/uploads/wire — what all protocols send by: questions with a short answer, and files. Knows none of the protocols."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from agent.core.delivery import Answer, Failure, read_answer
from agent.core.outgoing import Reply, Unsent
from agent.interfaces import Body, OutgoingRequest, Sender
from agent.spec import WebUrl, limits, read_url

# How many more values than its question an answer may have: made up of empty lists it would take twenty times its bytes in memory,
# and seconds of the loop.
TIMES_THE_QUESTION, MORE_VALUES = 4, 4_096

OCTETS = "application/octet-stream"
JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Waits:
    """Seconds: for a question and its answer together, and for each step of a file (`interfaces.OutgoingRequest`).

    An endpoint may need long for the last step: to put a large file together, or to check it.
    """

    ask: float = 30.0
    step: float = 120.0


@dataclass(frozen=True, slots=True)
class Question:
    """`most`: so much of the answer is read."""

    method: str
    url: WebUrl = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(default=b"", repr=False)
    most: int = 0


class Wire:
    """The way to one endpoint."""

    def __init__(self, sender: Sender, waits: Waits) -> None:
        self._sender = sender
        self._waits = waits

    async def ask(self, question: Question) -> Reply | Unsent:
        return await self._sender.send(
            OutgoingRequest(
                question.method,
                question.url,
                question.headers,
                question.body,
                self._waits.ask,
                question.most,
            )
        )

    async def post_json(
        self, url: WebUrl, headers: Mapping[str, str], content: object, most: int
    ) -> Reply | Failure:
        """The answer, if it is a success, and of no more values than make sense."""
        body = json.dumps(content).encode()
        told = with_own(headers, {"Content-Type": JSON})
        outcome = await self.ask(Question("POST", url, told, body, most))
        answer = read_answer(outcome)
        if isinstance(answer, Failure):
            return answer
        assert isinstance(outcome, Reply)  # noqa: S101 - nothing else is a success
        if _most_values(outcome.body) > TIMES_THE_QUESTION * _most_values(body) + MORE_VALUES:
            return grant_broken("an answer of many more values than were asked for")
        return outcome

    async def send(self, method: str, url: WebUrl, headers: Mapping[str, str], body: Body) -> Reply | Unsent:
        return await self._sender.send(OutgoingRequest(method, url, headers, body, self._waits.step))

    async def put(self, url: WebUrl, headers: Mapping[str, str], body: Body) -> Answer:
        return read_answer(await self.send("PUT", url, headers, body))


def _most_values(text: bytes) -> int:
    """How many values JSON can hold that has so many commas and brackets, in names or not."""
    return sum(map(text.count, (b",", b"[", b"{")))


def with_own(given: Mapping[str, str], own: Mapping[str, str]) -> dict[str, str]:
    """A user's headers and ours, which win whatever the case of their names."""
    ours = {name.lower() for name in own}
    return {**{name: value for name, value in given.items() if name.lower() not in ours}, **own}


def with_type(given: Mapping[str, str]) -> dict[str, str]:
    """A user's headers, with a content type where they have none."""
    return with_own({"Content-Type": OCTETS}, given)


def read_granted(text: object) -> WebUrl | Failure:
    """A URL out of an endpoint's answer. The guard sees it when it is used."""
    if not isinstance(text, str):
        return grant_broken("a URL that is no text")
    try:
        return read_url(text, limits.MAX_GRANTED_URL_CHARACTERS)
    except ValueError as error:
        return grant_broken(f"a URL that {error}")


def grant_broken(detail: str) -> Failure:
    """The endpoint said just this, and would again."""
    return Failure("grant_broken", is_passing=False, detail=detail)


def decode(reply: Reply, most: int) -> object | Failure:
    """The JSON of an answer that was read to `most`. What is none may be the page of a proxy before the endpoint, and pass."""
    if len(reply.body) >= most:
        return grant_broken(f"an answer of more than {most} bytes")
    try:
        decoded: object = json.loads(reply.body)
    except ValueError as error:  # a UnicodeDecodeError is one, too
        return Failure("grant_broken", is_passing=True, status=reply.status, detail=f"no JSON: {error}")
    except RecursionError:
        return grant_broken("an answer that nests too deep")
    return decoded
