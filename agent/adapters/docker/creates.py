"""adapters/docker/creates — the one call that makes a container, in the words of the engine that is there. Plans nothing."""

from collections.abc import Mapping

import structlog

from agent.adapters.docker import failures
from agent.adapters.docker.arguments import create_body, without_layer_bound
from agent.adapters.docker.client import Calls
from agent.adapters.docker.failures import Refusal
from agent.core.container import ContainerPlan
from agent.interfaces import NameTakenError

log = structlog.get_logger()


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
            raise failures.refused_start(refusal) from refusal

    async def _create(self, plan: ContainerPlan, secrets: Mapping[str, str]) -> str:
        body = create_body(plan, secrets)
        if not self._bounds_layer:
            body = without_layer_bound(body)

        answer = await self._calls.slow(
            lambda client: client.create_container_from_config(body, plan.name)  # type: ignore[no-untyped-call] # no stub
        )
        return str(answer["Id"])
