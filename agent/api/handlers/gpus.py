"""api/handlers/gpus — the host's GPUs: what each is, how it is, who may have it; and an operator's word on one. Judges none."""

from collections.abc import Mapping
from http import HTTPStatus
from itertools import combinations

from aiohttp import web

from agent.api.auth import Access, Caller
from agent.api.body import read_json
from agent.api.endpoints import Answer, Endpoint, Parameter
from agent.api.gpu_figures import show_sample
from agent.api.problems import BadRequestError
from agent.api.query import Query
from agent.api.tokens import Scope
from agent.api.views import Json
from agent.core.event_form import show_time
from agent.core.gpu_findings import Asked, GpuReason, Request, public_words
from agent.core.gpu_health import Refusal, is_used, probation_left
from agent.core.gpu_record import GpuHealth
from agent.core.gpus import Gpu, Inventory
from agent.core.job import Job
from agent.core.topology import LinkClass
from agent.errors import AgentError, Blame
from agent.jobs.gpu_care import GpuCare, GpuView
from agent.jobs.gpu_samples import GpuSamples
from agent.spec import Fault

MAX_WORDS_CHARACTERS = 300


class GpuNotFoundError(AgentError):
    code, blame = "gpu_not_found", Blame.USER
    remedy = "Write the whole UUID, as `gpu-agent gpus ls` and GET /v1/gpus show it."


class GpuRequestRefusedError(AgentError):
    """What an operator asked for would not help, or would harm a job."""

    code, blame = "gpu_request_refused", Blame.USER
    remedy = "GET /v1/gpus/{uuid} says what the GPU waits for."


class GpuLeasedError(AgentError):
    """A job holds the GPU, and a reset would end it."""

    code, blame = "gpu_leased", Blame.USER
    remedy = "Cancel the job or wait for its end; `gpu-agent gpus quarantine GPU` keeps the next one away."


class GpuHandlers:
    def __init__(self, care: GpuCare, samples: GpuSamples) -> None:
        self._care = care
        self._samples = samples

    def endpoints(self) -> tuple[Endpoint, ...]:
        one, reason = {200: Answer("the GPU", "Gpu")}, "GpuRequest"
        return (
            Endpoint("GET", "/gpus", Access.ANY_TOKEN, self.list, "The host's GPUs and what links them", {200: Answer("all of them", "GpuList")}, (SAMPLE,)),
            Endpoint("GET", "/gpus/{uuid}", Access.ANY_TOKEN, self.show, "One GPU, with its history", one, (GPU_UUID,)),
            Endpoint("POST", "/gpus/{uuid}/quarantine", Scope.GPUS_ADMIN, self.quarantine, "Keep a GPU from all jobs to come", one, (GPU_UUID,), body=reason),
            Endpoint("POST", "/gpus/{uuid}/restore", Scope.GPUS_ADMIN, self.restore, "Take that back, or cut a probation short", one, (GPU_UUID,), body=reason),
            Endpoint("POST", "/gpus/{uuid}/reset", Scope.GPUS_ADMIN, self.reset, "Reset a GPU that no job holds; it is `resetting` until that has ended", {202: Answer("the GPU", "Gpu")}, (GPU_UUID,), body=reason),
        )  # fmt: skip

    async def list(self, request: web.Request, caller: Caller) -> web.Response:
        query = Query(request)
        is_sampled = query.is_set("sample")
        query.refuse_faults()
        view = await self._care.view()
        samples = await self._sample(view, caller) if is_sampled else {}
        items = [
            self._show(view, gpu, caller) | {"sample": samples.get(gpu.uuid)} for gpu in view.inventory.gpus
        ]
        return web.json_response(
            {"items": items, "links": show_links(view.inventory), "condition": view.condition}
        )

    async def _sample(self, view: GpuView, caller: Caller) -> dict[str, Json]:
        """What another's job does with its GPUs is nobody's business but an operator's."""
        reading = await self._samples.take([gpu.uuid for gpu in view.inventory.gpus])
        is_operator = Scope.GPUS_ADMIN in caller.scopes
        return {
            gpu.uuid: show_sample(reading.samples.get(gpu.uuid))
            for gpu in view.inventory.gpus
            if is_operator or not is_anothers(view.holders.get(gpu.uuid), caller)
        }

    async def show(self, request: web.Request, caller: Caller) -> web.Response:
        return await self._answer(request.match_info["uuid"], caller)

    async def quarantine(self, request: web.Request, caller: Caller) -> web.Response:
        return await self._ask(request, caller, Asked.QUARANTINE)

    async def restore(self, request: web.Request, caller: Caller) -> web.Response:
        return await self._ask(request, caller, Asked.RESTORE)

    async def reset(self, request: web.Request, caller: Caller) -> web.Response:
        return await self._ask(request, caller, Asked.RESET, HTTPStatus.ACCEPTED)

    async def _ask(
        self, request: web.Request, caller: Caller, asked: Asked, status: HTTPStatus = HTTPStatus.OK
    ) -> web.Response:
        uuid = request.match_info["uuid"]
        words = read_words(await read_json(request) if request.body_exists else {})
        try:
            refusal = await self._care.request(uuid, Request(asked, words))
        except KeyError as error:
            raise unknown_gpu(uuid) from error
        if refusal is not None:
            raise await self._refused(uuid, refusal, caller)
        return await self._answer(uuid, caller, status)

    async def _refused(self, uuid: str, refusal: Refusal, caller: Caller) -> AgentError:
        if refusal.code != GpuLeasedError.code:
            return GpuRequestRefusedError(f"{refusal.code}: {refusal.words}")
        job_id = job_seen((await self._care.view()).holders.get(uuid), caller)
        return GpuLeasedError(f"{uuid} is held by job {job_id}" if job_id else f"{uuid} is held by a job")

    async def _answer(self, uuid: str, caller: Caller, status: HTTPStatus = HTTPStatus.OK) -> web.Response:
        view = await self._care.view()
        for gpu in view.inventory.gpus:
            if gpu.uuid == uuid:
                shown = self._show(view, gpu, caller)
                document = {**shown, "history": show_history(view.healths.get(uuid), caller)}
                return web.json_response(document, status=status)
        raise unknown_gpu(uuid)

    def _show(self, view: GpuView, gpu: Gpu, caller: Caller) -> Json:
        holder = view.holders.get(gpu.uuid)
        settings = self._care.settings
        health = view.healths.get(gpu.uuid)
        return {
            **show_gpu(gpu),
            "used": is_used(gpu.uuid, settings.use),
            "leased": holder is not None,
            "job": job_seen(holder, caller),
            **show_health(health, caller),
            "sample": None,  # of the list alone, where it is asked for
            "probation_left": None if health is None else probation_left(health, view.now, settings.policy),
        }


def is_anothers(holder: Job | None, caller: Caller) -> bool:
    viewer = caller.viewer
    return holder is not None and not viewer.sees_all and holder.owner != viewer.principal


def job_seen(holder: Job | None, caller: Caller) -> str | None:
    """Whose it is, is nobody else's business."""
    return None if holder is None or is_anothers(holder, caller) else holder.id


def unknown_gpu(uuid: str) -> GpuNotFoundError:
    return GpuNotFoundError(f"this host has no GPU {uuid[:80]!r}")


def read_words(body: object) -> str:
    """Read `{"words": why}`. Raises BadRequestError."""
    if not isinstance(body, dict):
        raise BadRequestError(
            [Fault("body", "wrong_type", "must be an object", 'Send {"words": "why"}, or nothing.')]
        )
    faults = [
        Fault(str(name)[:64], "unknown_field", "is no field here", "The only field is words.")
        for name in body
        if name != "words"
    ]
    words = body.get("words", "")
    if not isinstance(words, str) or len(words) > MAX_WORDS_CHARACTERS or not words.isprintable():
        told = f"must be one line of at most {MAX_WORDS_CHARACTERS} characters"
        faults.append(Fault("words", "wrong_type", told, "Say briefly why."))
    if faults:
        raise BadRequestError(faults)
    return str(words)


def show_gpu(gpu: Gpu) -> Json:
    return {
        "uuid": gpu.uuid,
        "model": gpu.model,
        "memory": gpu.memory_bytes,
        "pci": gpu.pci or None,
        "numa_node": gpu.numa_node,
        "mig": gpu.mig,
    }


def show_health(health: GpuHealth | None, caller: Caller) -> Json:
    """`state` null: nobody has looked yet, and so it is not leased."""
    if health is None:
        return {"state": None, "reason": None, "words": None, "since": None, "needs": []}
    return {
        "state": health.state.value,
        "reason": None if health.reason is None else health.reason.value,
        "words": show_words(health.reason, health.words, caller) or None,
        "since": show_time(health.since) if health.since else None,
        "needs": sorted(health.needs),
    }


def show_words(why: GpuReason | None, words: str, caller: Caller) -> str:
    return words if caller.viewer.sees_host else public_words(why, words)


def show_history(health: GpuHealth | None, caller: Caller) -> list[Mapping[str, object]]:
    """The newest last."""
    if health is None:
        return []
    return [
        {
            "at": show_time(change.at),
            "from": change.came_from.value,
            "to": change.to.value,
            "reason": None if change.reason is None else change.reason.value,
            "words": show_words(change.reason, change.words, caller),
        }
        for change in health.history
    ]


def show_links(inventory: Inventory) -> list[Mapping[str, object]]:
    """Each pair once, with what lies between the two."""
    return [
        {
            "gpus": [one.uuid, other.uuid],
            "link": LinkClass(
                inventory.links.pairs.get(frozenset((one.uuid, other.uuid)), LinkClass.OTHER)
            ).name.lower(),
        }
        for one, other in combinations([gpu for gpu in inventory.gpus if gpu.mig is None], 2)
    ]


SAMPLE = Parameter("sample", "true: with what each does just now; null for those of another's job")
GPU_UUID = Parameter("uuid", "the GPU's UUID as NVML names it, or that of a MIG instance", "path")
