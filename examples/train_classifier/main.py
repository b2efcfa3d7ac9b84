"""Train a classifier as a function job, in pure Python: progress, metrics, checkpoints to go on from, and a stop that loses nothing.

gpu-agent chute run examples/train_classifier/main.py:train --local --payload '{"epochs": 40}' --output ./model
"""

import json
import math
import random
from collections.abc import Sequence
from pathlib import Path

from chutes.chute import Chute

chute = Chute(username="examples", name="train-classifier", image="python:3.12-slim")

Points = list[tuple[list[float], int]]
Weights = list[float]

SAMPLES = 300
EPOCHS_A_CHECKPOINT = 5


@chute.job(name="train", timeout=3600, retry_count=2)
async def train(self: Chute, output_dir: str, epochs: int = 60, rate: float = 0.5, seed: int = 7) -> dict:
    """Tell two clouds of points apart by logistic regression; leaves `model.json` and returns how well it does."""
    points, unseen = make_points(seed), make_points(seed + 1)
    # Outputs stay from attempt to attempt: one that follows a crash goes on where the last checkpoint was written.
    checkpoint = Path(output_dir) / "checkpoint.json"
    epoch, weights = read_checkpoint(checkpoint)
    if epoch:
        self.logger.info("going on behind epoch %d", epoch)
    while epoch < epochs and not self.should_shutdown:
        weights = learn(weights, points, rate)
        epoch += 1
        # To await what is told lets a stop's cancel in, which nothing else here would.
        await self.record_metric("loss", loss(weights, points))
        await self.update_job_progress(
            job_id=self.current_job_id, progress=100 * epoch / epochs, message=f"epoch {epoch} of {epochs}"
        )
        if epoch % EPOCHS_A_CHECKPOINT == 0:
            write_checkpoint(checkpoint, epoch, weights)
    write_checkpoint(checkpoint, epoch, weights)
    if epoch < epochs:
        return {"status": "stopped", "epochs": epoch}
    write_json(Path(output_dir) / "model.json", {"weights": weights})
    return {"status": "trained", "epochs": epoch, "accuracy": accuracy(weights, unseen)}


def make_points(seed: int) -> Points:
    """Pairs of a point and 0 or 1. Two clouds, a little into each other."""
    rolls = random.Random(seed)
    centres = {0: (-1.0, -1.0), 1: (1.0, 1.0)}
    labels = [number % 2 for number in range(SAMPLES)]
    return [([rolls.gauss(middle, 0.7) for middle in centres[label]], label) for label in labels]


def guess(weights: Weights, point: Sequence[float]) -> float:
    """How likely the point is of cloud 1."""
    x, y, bias = weights
    return 1 / (1 + math.exp(-(x * point[0] + y * point[1] + bias)))


def learn(weights: Weights, points: Points, rate: float) -> Weights:
    """The weights, one step down the gradient."""
    slope = [0.0, 0.0, 0.0]
    for point, label in points:
        wrong = guess(weights, point) - label
        slope = [total + wrong * value for total, value in zip(slope, [*point, 1.0], strict=True)]
    return [weight - rate * total / len(points) for weight, total in zip(weights, slope, strict=True)]


def loss(weights: Weights, points: Points) -> float:
    likely = [guess(weights, point) if label else 1 - guess(weights, point) for point, label in points]
    return -sum(math.log(max(value, 1e-12)) for value in likely) / len(points)


def accuracy(weights: Weights, points: Points) -> float:
    return sum((guess(weights, point) > 0.5) == bool(label) for point, label in points) / len(points)


def read_checkpoint(path: Path) -> tuple[int, Weights]:
    """The epochs that are done, and the weights they came to."""
    if not path.exists():
        return 0, [0.0, 0.0, 0.0]
    kept = json.loads(path.read_text())
    return kept["epoch"], kept["weights"]


def write_checkpoint(path: Path, epoch: int, weights: Weights) -> None:
    # Renamed into place: a kill in the middle of the writing leaves the one before.
    aside = path.with_suffix(".new")
    write_json(aside, {"epoch": epoch, "weights": weights})
    aside.replace(path)


def write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value))
