"""train — what the demo's job does, inside its container: learn handwritten digits. Knows nothing of the agent but two variables."""

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
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

PORT = 8080
SECONDS = float(os.environ.get("TRAIN_SECONDS", "16"))
OUTPUTS = Path(os.environ.get("OUTPUT_DIR", "/outputs"))
# A slow host gets more time rather than a poor model.
LEAST_EPOCHS = 20
SHARDS = 40
TERMINATED = 128 + signal.SIGTERM

asked_to_stop = threading.Event()


def main() -> int:
    signal.signal(signal.SIGTERM, lambda *_: asked_to_stop.set())
    progress: dict[str, Any] = {"state": "loading"}
    serve_progress(progress)
    digits = load_digits()
    seen, unseen, seen_labels, unseen_labels = train_test_split(
        digits.images / 16.0, digits.target, test_size=0.25, stratify=digits.target, random_state=7
    )
    say(f"{len(seen)} digits of 8x8 pixels to learn from, {len(unseen)} to be judged by")
    model = MLPClassifier(
        hidden_layer_sizes=(192, 96), batch_size=64, learning_rate_init=5e-4, random_state=7
    )
    told_at = 0.0
    for epoch in epochs():
        # Each epoch sees the digits anew: moved by up to a pixel, and in another light.
        model.partial_fit(*varied(seen, seen_labels, np.random.default_rng(epoch)), classes=np.arange(10))
        accuracy = float(model.score(flat(unseen), unseen_labels))
        progress.update(
            state="training", epoch=epoch, loss=round(model.loss_, 4), accuracy=round(accuracy, 4)
        )
        if time.monotonic() - told_at >= 1:
            told_at = time.monotonic()
            say(f"epoch {epoch:3}   loss {model.loss_:.4f}   accuracy {accuracy:.2%}")
    save_dataset(seen, seen_labels)
    save(model, confusion_matrix(unseen_labels, model.predict(flat(unseen))), progress)
    return TERMINATED if asked_to_stop.is_set() else 0


def epochs() -> Iterator[int]:
    """1, 2, 3, … until the time is used up and the least is done, or somebody asks us to stop."""
    deadline = time.monotonic() + SECONDS
    epoch = 0
    while (epoch < LEAST_EPOCHS or time.monotonic() < deadline) and not asked_to_stop.is_set():
        epoch += 1
        yield epoch


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


def save_dataset(images: np.ndarray, labels: np.ndarray) -> None:
    """What it learned from, a shard for each of the first epochs: large enough to take a moment to leave the host."""
    folder = OUTPUTS / "dataset"
    folder.mkdir(exist_ok=True)
    for epoch in range(1, SHARDS + 1):
        shard = folder / f"shard-{epoch:02}.npy"
        with shard.with_suffix(".part").open("wb") as part:
            np.save(part, varied(images, labels, np.random.default_rng(epoch))[0])
        shard.with_suffix(".part").replace(shard)
    say(f"{SHARDS} shards of the digits as it saw them saved")


def save(model: MLPClassifier, confusion: np.ndarray, progress: dict[str, Any]) -> None:
    """The three files of the job. Each is written under another name first: nobody finds half a model."""
    metrics = {
        **progress,
        "state": "stopped" if asked_to_stop.is_set() else "done",
        "confusion": confusion.tolist(),
    }
    joblib.dump(model, OUTPUTS / "model.joblib.part")
    (OUTPUTS / "metrics.json.part").write_text(json.dumps(metrics, indent=1) + "\n")
    (OUTPUTS / "confusion.png.part").write_bytes(confusion_picture(confusion))
    for part in sorted(OUTPUTS.glob("*.part")):
        part.replace(part.with_suffix(""))
    say(
        f"{confusion.trace()} of {confusion.sum()} unseen digits are read right; model, metrics and picture saved"
    )


def serve_progress(progress: dict[str, Any]) -> None:
    """Answer any GET on PORT with where the training is, as JSON, for as long as the process lives."""

    class Progress(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(progress).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """The job's log is about the training."""

    server = ThreadingHTTPServer(("", PORT), Progress)
    threading.Thread(target=server.serve_forever, daemon=True).start()


def say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
