"""adapters/docker/creates — the one call that makes a container, in the words of the engine that is there. Plans nothing."""

import json
from collections.abc import Mapping
from typing import Any

import docker
import structlog

from agent.adapters.docker import failures
from agent.adapters.docker.arguments import create_body, needs_subpath, without_layer_bound
from agent.adapters.docker.client import Calls
from agent.adapters.docker.failures import Refusal
from agent.core.container import ContainerPlan
from agent.core.job import FailureKind, StartFailure
from agent.interfaces import NameTakenError, StartFailedError

log = structlog.get_logger()

# A volume's folder can be mounted from Docker 26 on; an older API drops the wish in silence.
SUBPATH_API = "1.45"


class Creates:
    """Of one engine. What its storage can't do is asked for once."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._bounds_layer = True

    async def create(self, plan: ContainerPlan, secrets: Mapping[str, str]) -> str:
        """The id. Raises as `Engine.create` does."""
        try:
            try:
                return await self._create(plan, secrets)
            except Refusal as refusal:
                if not failures.is_layer_unbounded(refusal):
                    raise
                # The layer is left to the host's disk; the outputs have bounds of their own.
                log.warning("engine.layer_unbounded", error=refusal.text)
                self._bounds_layer = False
                return await self._create(plan, secrets)
        except Refusal as refusal:
            if refusal.status == 409:
                raise NameTakenError(refusal.text) from refusal
            if failures.is_too_old(refusal):
                raise StartFailedError(_too_old(refusal)) from refusal
            raise failures.refused_start(refusal) from refusal

    async def _create(self, plan: ContainerPlan, secrets: Mapping[str, str]) -> str:
        body = create_body(plan, secrets)
        if not self._bounds_layer:
            body = without_layer_bound(body)

        def call(client: docker.APIClient) -> Any:  # noqa: ANN401 - decoded JSON
            if needs_subpath(plan):
                return _create_at(client, SUBPATH_API, body, plan.name)
            return client.create_container_from_config(body, plan.name)  # type: ignore[no-untyped-call] # no stub

        answer = await self._calls.slow(call)
        return str(answer["Id"])


def _create_at(client: docker.APIClient, api: str, body: Mapping[str, object], name: str) -> Any:  # noqa: ANN401 - decoded JSON
    """As the library's own, at another version of the API than the client's."""
    url = f"{client.base_url}/v{api}/containers/create"
    response = client.post(url, json=body, params={"name": name}, timeout=client.timeout)
    if response.status_code >= 400:
        raise Refusal(response.status_code, _message(response.text))
    return response.json()


def _message(text: str) -> str:
    try:
        return str(json.loads(text)["message"])
    except (ValueError, LookupError, TypeError):
        return text


def _too_old(refusal: Refusal) -> StartFailure:
    message = f"a job with `disk` needs Docker Engine 26 or later ({refusal.text})"
    return StartFailure(FailureKind.ENGINE, "engine_too_old", message)
