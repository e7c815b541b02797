"""What has been measured on this machine, kept: measured once, and then the same for every run.

Which of two ways is the faster is decided by a short measurement, and a measurement is never twice
the same. So that runs of one machine are computed alike, the first answer to a question is kept, in
a file of its own in the user's cache ($ISOLOSS_SPEEDS); delete the folder to measure again. The
question names the processor, the device, torch's version and the threads. Where nothing can be
kept, every process measures for itself.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch

from isoloss.lab.corpus.catalogue import cache_folder
from isoloss.runs import describe_machine

_PEAK_SIZE = {"cpu": 1024, "cuda": 8192}  # rows at most of the matrices the peak is measured on
_PEAK_SECONDS = 0.02


def recall(
    question: str, about: Mapping[str, Any], measure: Callable[[], dict[str, float]]
) -> dict[str, float]:
    """The kept answer to a question about this machine, or what `measure` gives, kept from now on.

    question: a word. about: whatever else the answer depends on, as plain JSON. measure: seconds
    or rates by name. Of two processes that measure at once, both take the first one's answer.
    """
    machine = {k: v for k, v in describe_machine().items() if k in ("cpu", "gpu", "threads")}
    asked = {"question": question, **about, **machine, "torch": str(torch.__version__)}
    text = json.dumps(asked, sort_keys=True)
    place = cache_folder("speeds") / f"{hashlib.sha256(text.encode()).hexdigest()[:24]}.json"
    kept, damaged = _read(place), place.exists()
    if kept is not None:
        return kept
    answer = measure()
    if not all(map(math.isfinite, answer.values())):
        return answer  # a way failed, and need not fail for ever
    with contextlib.suppress(OSError):
        place.parent.mkdir(parents=True, exist_ok=True)
        temporary = place.with_name(f".{place.name}.{os.getpid()}")
        temporary.write_text(json.dumps({"asked": asked, "answer": answer}, indent=1))
        try:
            if damaged and _read(place) is None:
                os.replace(temporary, place)
            else:
                os.link(temporary, place)  # leaves the answer of another in place
        finally:
            temporary.unlink(missing_ok=True)
    return _read(place) or answer


def best_seconds(
    ways: Mapping[str, Callable[[], object]], device: torch.device, *, repeats: int = 5
) -> dict[str, float]:
    """The least seconds of each way, tried in turn after one call each that does not count."""
    times = dict.fromkeys(ways, math.inf)
    for turn in range(repeats + 1):
        for name, way in ways.items():
            started = time.perf_counter()
            way()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            if turn:
                times[name] = min(times[name], time.perf_counter() - started)
    return times


def matmul_peak(device: torch.device, dtype: torch.dtype) -> float:
    """FLOP/s of a large product of square matrices: what utilisation is a part of."""

    def measure() -> dict[str, float]:
        size, seconds = 64, 0.0
        while size < _PEAK_SIZE.get(device.type, 1024) and seconds < _PEAK_SECONDS:
            size *= 2  # stops early where the device can only make as if it had the type
            a = torch.randn(size, size, device=device).to(dtype)
            seconds = best_seconds({"product": partial(torch.mm, a, a)}, device, repeats=4)[
                "product"
            ]
        return {"flops": 2 * size**3 / seconds}

    about = {"device": device.type, "dtype": str(dtype)}
    return recall("matmul peak", about, measure)["flops"]


def _read(place: Path) -> dict[str, float] | None:
    try:
        answer = json.loads(place.read_text())["answer"]
        return {str(name): float(value) for name, value in answer.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
