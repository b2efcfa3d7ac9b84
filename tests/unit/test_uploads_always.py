"""What always and never holds of the protocols of uploads, whatever an endpoint answers: they end, believe no lie, and ask in batches."""

import asyncio
import json
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.adapters.uploads import tus
from agent.adapters.uploads.presign import BATCH, PresignDelivery
from agent.adapters.uploads.put import PutDelivery
from agent.adapters.uploads.tus import MOST_STUMBLES, TusDelivery
from agent.adapters.uploads.wire import Waits, Wire
from agent.core.delivery import Answer, Failure, Sent
from agent.core.outgoing import Reply, SendTrouble, Unsent
from agent.core.upload_troubles import UPLOAD_TROUBLES
from agent.interfaces import Delivery, Offered, OutgoingRequest
from agent.spec import Upload, UploadTo
from tests.contract.upload_values import File, KeptPlaces, ended_job
from tests.tries import tries

URL = "https://plane.example.org/files"


@dataclass
class Scripted:
    """Implements `interfaces.Sender`: answers by a function of the request."""

    answer: Callable[[OutgoingRequest], Reply | Unsent]
    requests: list[OutgoingRequest] = field(default_factory=list)
    is_kept: bool = True

    async def send(self, request: OutgoingRequest) -> Reply | Unsent:
        if self.is_kept:
            self.requests.append(request)
        await asyncio.sleep(0)
        return self.answer(request)


# tus

CHUNK, SIZE = 10, 35
OFFSETS = st.one_of(st.integers(-2, SIZE + 3).map(str), st.sampled_from(["", "x", "9" * 30]))
STATUSES = st.sampled_from(
    [200, 201, 204, 204, 204, 204, 301, 400, 403, 404, 409, 410, 412, 423, 429, 460, 500]
)
LOCATIONS = st.sampled_from(
    ["/files/1", "2", "https://plane.example.org/x", "https://evil.example/x", "/a b", ""]
)
REPLIES = st.builds(
    lambda status, offset, location: Reply(status, headers={"upload-offset": offset, "location": location}),
    STATUSES,
    OFFSETS,
    LOCATIONS,
)

ANSWERS = st.one_of(REPLIES, REPLIES, REPLIES, st.sampled_from(list(SendTrouble)).map(Unsent))


@contextmanager
def small_chunks() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tus, "CHUNK_BYTES", CHUNK)
        yield


@settings(deadline=None, max_examples=tries(400))
@given(st.lists(ANSWERS, min_size=1, max_size=60), st.booleans())
def test_tus_ends_whatever_is_answered_and_sends_nothing_to_another_origin(
    answers: list[Reply | Unsent],
    has_place: bool,  # noqa: FBT001 - drawn
) -> None:
    turn = iter(range(10**6))
    sender = Scripted(lambda _request: answers[next(turn) % len(answers)])
    outcome = deliver_by_tus(sender, File("a", b"x" * SIZE), URL + "/0" if has_place else None)
    rounds, chunks = 1 + MOST_STUMBLES, -(-SIZE // CHUNK)
    assert len(sender.requests) <= rounds * (2 + chunks)
    assert all(request.url.host == "plane.example.org" for request in sender.requests)
    assert isinstance(outcome, Sent) or outcome.code in UPLOAD_TROUBLES


@dataclass
class HonestTus:
    """Implements `interfaces.Sender`: it keeps what it says, and fails as it is told. `faults`: by the number of the request."""

    faults: dict[int, str]
    stored: bytes | None = None
    asked: int = 0

    async def send(self, request: OutgoingRequest) -> Reply | Unsent:
        self.asked += 1
        fault = self.faults.get(self.asked)
        if fault == "lost before":
            return Unsent(SendTrouble.REPLY_BROKEN)
        if fault == "expired":
            self.stored = None
        body = (
            b""
            if isinstance(request.body, bytes)
            else b"".join([part async for part in request.body.pieces()])
        )
        reply = self.take(request, body[:3] if fault == "cut" else body)
        return Unsent(SendTrouble.REPLY_BROKEN) if fault in {"lost after", "cut"} else reply

    def take(self, request: OutgoingRequest, body: bytes) -> Reply:
        if request.method == "POST":
            self.stored = b""
            return Reply(201, headers={"location": "/files/1"})
        if self.stored is None:
            return Reply(404)
        if request.method == "PATCH":
            if request.headers["Upload-Offset"] != str(len(self.stored)):
                return Reply(409)
            self.stored += body
        return Reply(204, headers={"upload-offset": str(len(self.stored))})


FAULTS = st.sampled_from(["lost before", "lost after", "expired", "cut"])


@settings(deadline=None, max_examples=tries(300))
@given(st.dictionaries(st.integers(1, 30), FAULTS, max_size=12), st.binary(max_size=60))
def test_a_file_is_whole_at_the_endpoint_when_it_is_said_to_be_sent(
    faults: dict[int, str], data: bytes
) -> None:
    endpoint = HonestTus(faults)
    places = KeptPlaces()

    async def run() -> int:
        tries = 0
        while True:
            delivery = TusDelivery(Wire(endpoint, Waits()), Upload(to=UploadTo.TUS, url=URL), places)
            tries += 1
            if await delivery.send(File("a", data)) == Sent():
                return tries

    with small_chunks():
        assert asyncio.run(run()) <= 1 + len(faults)
    assert endpoint.stored == data


def deliver_by_tus(sender: Scripted, file: File, place: str | None) -> Answer:
    async def run() -> Answer:
        places = KeptPlaces({} if place is None else {"a": place})
        upload = Upload(to=UploadTo.TUS, url=URL)
        return await TusDelivery(Wire(sender, Waits()), upload, places).send(file)

    with small_chunks():
        return asyncio.run(run())


# presign


@dataclass
class Signer:
    """Implements `interfaces.Sender`: grants all, and refuses the URLs of these numbers as expired."""

    refused: frozenset[int]
    questions: list[list[str]] = field(default_factory=list)
    granted: int = 0
    put: dict[str, int] = field(default_factory=dict)

    async def send(self, request: OutgoingRequest) -> Reply | Unsent:
        await asyncio.sleep(0)
        if request.method == "PUT":
            _, number, path = request.url.path.split("/")
            self.put[path] = self.put.get(path, 0) + 1
            return Reply(403 if int(number) in self.refused else 200)
        assert isinstance(request.body, bytes)
        self.questions.append([file["path"] for file in json.loads(request.body)["files"]])
        urls = {}
        for path in self.questions[-1]:
            self.granted += 1
            urls[path] = f"https://store.example.org/{self.granted}/{path}"
        return Reply(200, body=json.dumps({"urls": urls}).encode())


@settings(deadline=None, max_examples=tries(60))
@given(st.integers(1, 700), st.frozensets(st.integers(1, 900), max_size=60), st.integers(1, 8))
def test_urls_are_asked_for_in_batches_whatever_expires_and_whatever_the_order(
    count: int, refused: frozenset[int], at_once: int
) -> None:
    signer = Signer(refused)
    files = [File(f"f{number}") for number in range(count)]

    async def run() -> dict[str, Answer]:
        delivery = PresignDelivery(Wire(signer, Waits()), ended_job(), Upload(to=UploadTo.PUT, presign=URL))
        await delivery.begin([Offered(file.path, file.size_bytes) for file in files])
        order = list(files)
        for place in range(0, count - 1, 5):  # nearly in order, as of several that are sent at once
            order[place], order[place + 1] = order[place + 1], order[place]
        answers = {}
        for start in range(0, count, at_once):
            some = order[start : start + at_once]
            answers.update(
                zip([f.path for f in some], await asyncio.gather(*map(delivery.send, some)), strict=True)
            )
            assert len(delivery._granted) <= BATCH
        return answers

    answers = asyncio.run(run())
    assert all(len(question) <= BATCH for question in signer.questions)
    assert all(len(set(question)) == len(question) for question in signer.questions)
    assert all(answer == Sent() or (isinstance(answer, Failure) and answer.code == "url_refused") for answer in answers.values())  # fmt: skip
    assert all(times <= 3 for times in signer.put.values())
    if not refused:
        assert len(signer.questions) <= -(-count // BATCH) + 1


# Memory


@pytest.mark.slow
@pytest.mark.parametrize("protocol", ["put", "presign"])
def test_memory_is_the_same_however_many_files_there_are(protocol: str) -> None:
    count = 20_000
    upload = Upload(to=UploadTo.PUT, **{"url": URL + "/{path}"} if protocol == "put" else {"presign": URL})  # type: ignore[arg-type] # of one shape or the other

    def answer(request: OutgoingRequest) -> Reply:
        if request.method == "PUT":
            return Reply(200)
        assert isinstance(request.body, bytes)
        paths = [file["path"] for file in json.loads(request.body)["files"]]
        return Reply(
            200, body=json.dumps({"urls": {path: f"https://s.example/{path}" for path in paths}}).encode()
        )

    async def run() -> int:
        wire = Wire(Scripted(answer, is_kept=False), Waits())
        offered = [Offered(f"some/folder/of/many/{number:08d}.bin", 7) for number in range(count)]
        delivery: Delivery
        if protocol == "put":
            delivery = PutDelivery(wire, ended_job(), upload)
        else:
            delivery = PresignDelivery(wire, ended_job(), upload)
        tracemalloc.start()
        await delivery.begin(offered)
        for file in offered:
            assert await delivery.send(File(file.path)) == Sent()
        return tracemalloc.get_traced_memory()[1]

    try:
        assert asyncio.run(run()) < 2 << 20
    finally:
        tracemalloc.stop()
