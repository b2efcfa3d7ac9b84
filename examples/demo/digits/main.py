"""digits — the demo's chute: a job that learns to read handwritten digits, shows where it is on a page, and leaves model and picture.

An author's own code: of the agent it knows `chutes` alone. Without an agent, where scikit-learn is installed:
gpu-agent chute run examples/demo/digits/main.py:train --local --payload '{"seconds": 5}' --output ./digits
"""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from picture import confusion_picture
from sklearn.datasets import load_digits
from sklearn.metrics import confusion_matrix
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

from chutes.chute import Chute
from chutes.chute.job import Port

chute = Chute(username="demo", name="digits", tagline="reads handwritten digits")
PAGE = Port(name="page", port=8080, proto="http")

# A slow host gets more time rather than a poor model.
LEAST_EPOCHS = 20
SHARDS = 40


@chute.job(ports=[PAGE], ssh=True, timeout=300)
async def train(self: Chute, output_dir: str, seconds: float = 16) -> dict:
    """Learn for so long; returns how many epochs that were, and how many of the unseen digits are read right."""
    page: dict[str, Any] = {"state": "loading"}
    serve(page, PAGE.port)
    digits = load_digits()
    seen, unseen, seen_labels, unseen_labels = train_test_split(
        digits.images / 16.0, digits.target, test_size=0.25, stratify=digits.target, random_state=7
    )
    print(f"{len(seen)} digits of 8x8 pixels to learn from, {len(unseen)} to be judged by")
    model = MLPClassifier(
        hidden_layer_sizes=(192, 96), batch_size=64, learning_rate_init=5e-4, random_state=7
    )
    epoch, done, began, printed_at = 0, 0.0, time.monotonic(), 0.0
    while done < 1 and not self.should_shutdown:
        epoch += 1
        # Each epoch sees the digits anew: moved by up to a pixel, and in another light.
        model.partial_fit(*varied(seen, seen_labels, np.random.default_rng(epoch)), classes=np.arange(10))
        accuracy = float(model.score(flat(unseen), unseen_labels))
        done = min((time.monotonic() - began) / seconds, epoch / LEAST_EPOCHS)
        page.update(state="training", epoch=epoch, loss=round(model.loss_, 4), accuracy=round(accuracy, 4))
        await self.record_metric("accuracy", accuracy)
        await self.update_job_progress(
            progress=min(100, 100 * done), message=f"epoch {epoch}, {accuracy:.2%} read right"
        )
        if time.monotonic() - printed_at >= 1:
            printed_at = time.monotonic()
            print(f"epoch {epoch:3}   loss {model.loss_:.4f}   accuracy {accuracy:.2%}")
    confusion = confusion_matrix(unseen_labels, model.predict(flat(unseen)))
    save_dataset(Path(output_dir, "dataset"), seen, seen_labels)
    save(Path(output_dir), model, confusion)
    print(f"{confusion.trace()} of {confusion.sum()} unseen digits are read right; model and picture saved")
    return {"epochs": epoch, "right": int(confusion.trace()), "of": int(confusion.sum())}


def varied(
    images: np.ndarray, labels: np.ndarray, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    moves = [(down, right) for down in (-1, 0, 1) for right in (-1, 0, 1)]
    moved = flat(np.concatenate([np.roll(images, move, axis=(1, 2)) for move in moves]))
    light = random.uniform(0.8, 1.2, size=(len(moved), 1))
    noise = random.normal(0.0, 0.05, size=moved.shape)
    return moved * light + noise, np.tile(labels, len(moves))


def flat(images: np.ndarray) -> np.ndarray:
    return images.reshape(len(images), -1)


def save_dataset(folder: Path, images: np.ndarray, labels: np.ndarray) -> None:
    """What it learned from, a shard for each of the first epochs: large enough to take a moment to leave the host."""
    folder.mkdir(exist_ok=True)
    for epoch in range(1, SHARDS + 1):
        np.save(folder / f"shard-{epoch:02}.npy", varied(images, labels, np.random.default_rng(epoch))[0])
    print(f"{SHARDS} shards of the digits as it saw them saved")


def save(folder: Path, model: MLPClassifier, confusion: np.ndarray) -> None:
    joblib.dump(model, folder / "model.joblib")
    (folder / "confusion.png").write_bytes(confusion_picture(confusion))


def serve(page: dict[str, Any], port: int) -> None:
    """Answer any GET with the page, as JSON, for as long as the process lives."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(page).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """The job's log is about the training."""

    server = ThreadingHTTPServer(("", port), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
