"""The chute of the decorator reference's testing section: what its tests call, and what the jobs that it prints leave to their author.

The jobs that the reference prints are here in our own words. A run against the reference itself registers its own in their place.
"""

import asyncio
from typing import List  # noqa: UP035 - the reference's jobs are written with it

from chutes.chute import Chute
from chutes.chute.job import Port  # noqa: F401 - as above

chute = Chute(username="tests", name="page", image="python:3.12-slim")


@chute.job()
async def simple_task(self: Chute) -> dict:
    return {"status": "completed", "attempt": self.attempt}


@chute.job()
async def process_user_data(self: Chute, user_id: str, data: dict) -> dict:
    return {"user_id": user_id, "result": await self.process_data(data)}


@chute.job(timeout=3600)
async def long_running_job(self: Chute) -> None:
    while not self.should_shutdown:
        await asyncio.sleep(0.01)


@chute.job(name="robust_job", retry_count=3, timeout=300)
async def robust_job_with_error_handling(self: Chute, task_id: str) -> dict:
    await self.update_job_status(task_id, "started")
    try:
        result = await self.perform_work(task_id)
    except ValueError as unfit:
        await self.update_job_status(task_id, "failed")
        return {"task_id": task_id, "status": "failed", "error": "invalid_input", "message": str(unfit)}
    except ConnectionError:
        await self.update_job_status(task_id, "retrying")
        raise
    await self.update_job_status(task_id, "completed")
    return {"task_id": task_id, "status": "success", "result": result}


@chute.job(name="workflow_step_1")
async def workflow_step_1(self: Chute, workflow_id: str) -> dict:
    result = await self.perform_step_1(workflow_id)
    await self.start_job("workflow_step_2", {"workflow_id": workflow_id, "previous_result": result})
    return result


@chute.job(name="workflow_step_2")
async def workflow_step_2(self: Chute, workflow_id: str, previous_result: dict) -> dict:
    result = await self.perform_step_2(workflow_id, previous_result)
    results = [previous_result, result]
    await self.start_job("workflow_step_final", {"workflow_id": workflow_id, "all_results": results})
    return result


@chute.job(name="workflow_step_final")
async def workflow_final_step(self: Chute, workflow_id: str, all_results: List[dict]) -> dict:  # noqa: UP006 - as above
    final = await self.combine_results(all_results)
    await self.complete_workflow(workflow_id, final)
    return final


@chute.job(name="nightly", schedule="0 3 * * *")
async def nightly(self: Chute) -> dict:
    return {"cleaned": await self.process_data({"files": 3})}


async def process_data(data: dict) -> dict:
    return {"processed": sorted(data)}


async def perform_work(task_id: str) -> dict:
    # By way of the chute, so that a test that replaces process_data there is felt here.
    return await chute.process_data({"task": task_id})


async def perform_step_1(workflow_id: str) -> dict:
    return {"step": 1, "workflow": workflow_id}


async def perform_step_2(workflow_id: str, previous_result: dict) -> dict:
    return {"step": 2, "workflow": workflow_id, "after": previous_result["step"]}


async def combine_results(all_results: List[dict]) -> dict:  # noqa: UP006 - as above
    return {"steps": [result["step"] for result in all_results]}


async def complete_workflow(workflow_id: str, final: dict) -> None:
    await chute.update_job_status(workflow_id, f"{len(final['steps'])} steps")


async def send_error_alert(task_id: str, error: str) -> None:
    await chute.record_metric("alert", f"{task_id}: {error}")


# What an author puts on the chute is found there first, and called without it.
for method in (
    process_data, perform_work, perform_step_1, perform_step_2, combine_results, complete_workflow, send_error_alert,
):  # fmt: skip
    setattr(chute, method.__name__, method)
