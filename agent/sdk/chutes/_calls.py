"""chutes/_calls — what the platform's members may be given: checked, and brought into the form that is sent. Sends nothing."""

from __future__ import annotations

import json
import math
import sys
from typing import Any, NamedTuple

MAX_PAYLOAD_BYTES = 1 << 20
MAX_KEY_CHARACTERS = 200
MAX_METRIC_NAME_CHARACTERS = 200
# Longer texts are cut: no job should fail for the sake of a progress bar.
MAX_SHOWN_CHARACTERS = 1_000
INT64_MAX = (1 << 63) - 1


class Progress(NamedTuple):
    percent: float
    message: str | None


def check_progress(current: str, job_id: object, percent: object, message: object) -> Progress:
    if job_id is not None and str(job_id) != current:
        raise ValueError(f"a job shows its own progress only: this is {current!r}, not {job_id!r}")
    number = as_number(percent)
    if number is None or math.isnan(number):
        raise ValueError(f"progress is in percent, from 0 to 100, not {percent!r:.80}")
    # A total that was an estimate, or a rounding, must not end the job.
    return Progress(min(max(number, 0), 100), None if message is None else cut(str(message)))


def check_metric(name: object, value: object) -> tuple[str, float | str]:
    if not isinstance(name, str) or not 0 < len(name) <= MAX_METRIC_NAME_CHARACTERS:
        raise ValueError(
            f"a metric's name is a text of 1 to {MAX_METRIC_NAME_CHARACTERS} characters, not {name!r}"
        )
    if isinstance(value, str):
        return name, cut(value)
    number = as_number(value)
    if number is None:
        raise TypeError(f"a metric is a number or a text; {name!r} was given a {type(value).__name__}")
    # A loss that became NaN must not end the training: it is counted, since no JSON has such a number.
    return name, number if math.isfinite(number) else str(number)


def check_status(task: object, status: object) -> tuple[str, str]:
    return cut(str(task)), cut(str(status))


def check_call(name: object, payload: object, key: object) -> None:
    if not isinstance(name, str) or not name:
        raise TypeError(f"start_job takes the registered name of a job, not {name!r}")
    if key is not None and not (isinstance(key, str) and 0 < len(key) <= MAX_KEY_CHARACTERS):
        raise ValueError(f"a key is a text of 1 to {MAX_KEY_CHARACTERS} characters, not {key!r}")
    try:
        text = json.dumps(payload, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
        size = len(text.encode())
    except (TypeError, ValueError, RecursionError) as no_json:
        raise TypeError(f"the payload for {name!r} is no JSON: {no_json}") from no_json
    if size > MAX_PAYLOAD_BYTES:
        raise ValueError(f"the payload for {name!r} has {size} bytes, and {MAX_PAYLOAD_BYTES} are the most")


def as_number(value: Any) -> float | None:
    """Ints stay ints; what can be a float, as a NumPy scalar or a tensor of one element, becomes one."""
    if isinstance(value, int) and abs(value) <= INT64_MAX:
        return int(value)
    if isinstance(value, int) and abs(value) > sys.float_info.max:
        return math.inf if value > 0 else -math.inf
    if isinstance(value, str) or not hasattr(value, "__float__"):
        return None
    return float(value)


def cut(text: str) -> str:
    return text if len(text) <= MAX_SHOWN_CHARACTERS else text[: MAX_SHOWN_CHARACTERS - 1] + "…"
