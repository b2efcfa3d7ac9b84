"""A service that trains: three cords start a training, tell how far one is, and end one. The training is a job, with progress and a metric.

gpu-agent chute run examples/training_service/main.py:train --local --payload '{"epochs": 20}'

On a host (`gpu-agent chute deploy examples/training_service/main.py --image python:3.12-slim`), as a web page or a control plane would call it:

gpu-agent chute call training-service POST /trainings --body '{"epochs": 20}'
gpu-agent chute call training-service GET /trainings/JOB
gpu-agent chute call training-service DELETE /trainings/JOB
"""

import asyncio
import json
from pathlib import Path

from chutes import HTTPException
from chutes.chute import Chute

chute = Chute(username="examples", name="training-service", image="python:3.12-slim", concurrency=16)

LEAST_EPOCHS, MOST_EPOCHS = 1, 10_000
SECONDS_AN_EPOCH = 0.05  # so that there is something to follow; a real epoch takes as long as it takes
POINTS = [(x / 10, 3 * x / 10 + 1) for x in range(-10, 11)]


@chute.cord(public_api_path="/trainings")
async def start_training(self: Chute, config: dict) -> dict:
    """Start a training: `epochs`, and `rate` if you like. A configuration that makes no sense is answered with all that is wrong with it."""
    faults = find_faults(config)
    if faults:
        raise HTTPException(400, faults)
    return {"job_id": await self.start_job("train", config)}


@chute.cord(public_api_path="/trainings/{job_id}", method="GET")
async def show_training(self: Chute, job_id: str) -> dict:
    """How far it is."""
    job = await self.get_job_status(job_id)
    if job is None:
        raise HTTPException(404, f"there is no training {job_id}")
    return {name: job[name] for name in ("id", "phase", "outcome", "progress", "result")}


@chute.cord(public_api_path="/trainings/{job_id}", method="DELETE")
async def cancel_training(self: Chute, job_id: str) -> dict:
    """End it. What it has learned so far stays among its outputs."""
    if not await self.cancel_job(job_id):
        raise HTTPException(404, f"there is no training {job_id}, or it has ended")
    return {"cancelled": job_id}


@chute.job(name="train", timeout=3600, retry_count=1)
async def train(self: Chute, output_dir: str, epochs: int, rate: float = 0.2) -> dict:
    """Fit a line to a few points by gradient descent; leaves `line.json`."""
    slope, height = 0.0, 0.0
    epoch = 0
    while epoch < epochs and not self.should_shutdown:
        slope, height = learn(slope, height, rate)
        epoch += 1
        await self.record_metric("loss", loss(slope, height))
        await self.update_job_progress(progress=100 * epoch / epochs, message=f"epoch {epoch} of {epochs}")
        await asyncio.sleep(SECONDS_AN_EPOCH)
    line = {"slope": round(slope, 3), "height": round(height, 3)}
    write_json(Path(output_dir) / "line.json", line)
    self.logger.info("%d of %d epochs, loss %.4f", epoch, epochs, loss(slope, height))
    return {"status": "trained" if epoch == epochs else "stopped", "epochs": epoch, **line}


def find_faults(config: dict) -> list:
    """All at once: nobody likes to hear of them one by one."""
    faults = [
        f"{name}: there is no such setting; there are epochs and rate"
        for name in config
        if name not in ("epochs", "rate")
    ]
    epochs, rate = config.get("epochs"), config.get("rate", 0.2)
    if type(epochs) is not int or not LEAST_EPOCHS <= epochs <= MOST_EPOCHS:
        faults.append(f"epochs: a whole number from {LEAST_EPOCHS} to {MOST_EPOCHS}, please")
    if type(rate) not in (int, float) or not 0 < rate <= 1:
        faults.append("rate: a number above 0, and 1 at most, please")
    return faults


def learn(slope: float, height: float, rate: float) -> tuple:
    """One step down the gradient."""
    errors = [(x, slope * x + height - y) for x, y in POINTS]
    steeper = sum(error * x for x, error in errors) / len(errors)
    higher = sum(error for _, error in errors) / len(errors)
    return slope - rate * steeper, height - rate * higher


def loss(slope: float, height: float) -> float:
    return sum((slope * x + height - y) ** 2 for x, y in POINTS) / len(POINTS)


def write_json(path: Path, value: dict) -> None:
    path.write_text(json.dumps(value))
