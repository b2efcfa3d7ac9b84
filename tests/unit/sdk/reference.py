"""Every decorated function of the decorator reference, by its sections: names, arguments and signatures are the reference's, the
bodies are ours and return what they were given. Two that break its port rules are among them.
"""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

from chutes import Chute, HTTPException, PermanentError, Port, RetriableError


def ports(chute: Chute) -> None:
    @chute.job(ports=[Port(name="web", port=8080, proto="http")])
    async def web_server_job(self):
        return "web"

    @chute.job(
        ports=[
            Port(name="api", port=8000, proto="http"),
            Port(name="metrics", port=9090, proto="http"),
            Port(name="tcp_service", port=8001, proto="tcp"),
        ]
    )
    async def multi_port_job(self):
        """Refused."""

    @chute.job()
    async def compute_job(self):
        return "computed"


def timeouts(chute: Chute) -> None:
    @chute.job(timeout=3600)
    async def training_job(self):
        return "trained"

    @chute.job(timeout=None)
    async def server_job(self):
        return "served"

    @chute.job(timeout=300)
    async def quick_batch_job(self):
        return "processed"


def uploads_and_ssh(chute: Chute) -> None:
    @chute.job(upload=True)
    async def generate_report_job(self, output_dir: str):
        report = Path(output_dir, "report.pdf")
        report.write_bytes(b"%PDF")
        return report.name

    @chute.job(upload=False)
    async def streaming_job(self):
        self.logger.info("streaming")
        while not self.should_shutdown:
            await asyncio.sleep(1)
        return "stopped"

    @chute.job(ssh=True)
    async def debug_job(self):
        return "debugged"

    @chute.job(ssh=False)
    async def regular_job(self):
        return "done"


def basic(chute: Chute) -> None:
    @chute.job()
    async def compute_job(self, **job_data):
        Path(job_data["output_dir"], "results.json").write_text(json.dumps(sorted(job_data)))
        return sorted(job_data)

    @chute.job(ports=[Port(name="api", port=8000, proto="http")])
    async def api_server_job(self, **job_data):
        """Refused."""

    @chute.job(upload=True, ssh=True, timeout=3600)
    async def training_job(self, **job_data):
        return {"model_path": f"{job_data['output_dir']}/model.pkl"}


def scheduled(chute: Chute) -> None:
    @chute.job(name="daily_maintenance", schedule="0 3 * * *")
    async def daily_maintenance(self):
        return {"maintenance_completed": True}

    @chute.job(name="data_sync", schedule="0 * * * *", retry_count=5)
    async def sync_external_data(self):
        self.logger.error("api1 is down")
        return {"api1": "error"}


def long_running(chute: Chute) -> None:
    @chute.job(name="model_training", timeout=7200, retry_count=1, queue="gpu_intensive")
    async def train_model(self, training_config: dict):
        self.logger.info("training")
        return training_config.get("min_score", 0.8)

    @chute.job(name="data_pipeline", timeout=3600, queue="data_processing")
    async def process_data_pipeline(self, pipeline_config: dict):
        return list(pipeline_config.get("stages", {}))


def errors(chute: Chute) -> None:
    @chute.job(name="robust_job", retry_count=3, timeout=300)
    async def robust_job_with_error_handling(self, task_id: str):
        await self.update_job_status(task_id, "started")
        return task_id

    @chute.job(name="graceful_job", timeout=1800)
    async def job_with_graceful_shutdown(self, batch_data: list[dict]):
        return {"processed": 0 if self.should_shutdown else len(batch_data)}


def cords(chute: Chute) -> None:
    @chute.cord(public_api_path="/start_training")
    async def start_training_job(self, config: dict):
        return await self.start_job("model_training", config)

    @chute.cord(public_api_path="/job_status/{job_id}")
    async def get_job_status(self, job_id: str):
        status = await self.get_job_status(job_id)
        if not status:
            raise HTTPException(404, "no such job")
        return status

    @chute.cord(public_api_path="/cancel_job/{job_id}", method="DELETE")
    async def cancel_job(self, job_id: str):
        return await self.cancel_job(job_id)


def workflows(chute: Chute) -> None:
    @chute.job(name="workflow_step_1")
    async def workflow_step_1(self, workflow_id: str):
        return await self.start_job(
            "workflow_step_2", {"workflow_id": workflow_id, "previous_result": {"step": 1}}
        )

    @chute.job(name="workflow_step_2")
    async def workflow_step_2(self, workflow_id: str, previous_result: dict):
        return await self.start_job(
            "workflow_step_final", {"workflow_id": workflow_id, "all_results": [previous_result]}
        )

    @chute.job(name="workflow_step_final")
    async def workflow_final_step(self, workflow_id: str, all_results: list[dict]):
        return {workflow_id: all_results}


def monitored(chute: Chute) -> None:
    @chute.job(name="progress_job")
    async def job_with_progress(self, items: list[dict]):
        for done, _ in enumerate(items, start=1):
            await self.update_job_progress(
                job_id=self.current_job_id, progress=done / len(items) * 100, message=f"{done}/{len(items)}"
            )
        return len(items)

    @chute.job(name="metrics_job")
    async def job_with_metrics(self, data: dict):
        await self.record_metric("job_success_count", 1)
        await self.record_metric("job_error_type", "ValueError")
        return data

    @chute.job(name="health_check", schedule="*/5 * * * *")
    async def health_check_job(self):
        return {"overall_health": True}


def practices(chute: Chute) -> None:
    @chute.job(name="idempotent_job")
    async def idempotent_job(self, item_id: str):
        return item_id

    @chute.job(timeout=30)
    async def quick_job(self):
        return "quick"

    @chute.job(timeout=3600)
    async def complex_job(self):
        return "complex"

    @chute.job(retry_count=3)
    async def resilient_job(self):
        try:
            raise RetriableError
        except RetriableError:
            return "retried"
        except PermanentError:
            return "given up"

    @chute.job(queue="critical", priority=10)
    async def critical_job(self):
        return "critical"

    @chute.job(queue="gpu_intensive")
    async def gpu_job(self):
        return "gpu"

    @chute.job(name="monitored_job")
    async def monitored_job(self, data: dict):
        await self.record_metric("job_duration", 0.5)
        return data


SECTIONS: list[Callable[[Chute], None]] = [
    ports,
    timeouts,
    uploads_and_ssh,
    basic,
    scheduled,
    long_running,
    errors,
    cords,
    workflows,
    monitored,
    practices,
]
