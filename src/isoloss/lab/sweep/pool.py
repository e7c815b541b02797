"""Worker processes of a sweep: each with one thread, given one run after another."""

from __future__ import annotations

import json
import os
import queue
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from isoloss.lab.processes.environment import training_environment
from isoloss.lab.processes.parent import Child
from isoloss.lab.sweep.queue import Job

LOCK_WAIT = 10.0
"""Seconds a worker waits for a run another process holds: time for a dying one to let go."""


class Worker:
    """One worker process; `job` is what it was given, None while it is idle or still loading."""

    def __init__(self, config: dict[str, Any], inbox: queue.SimpleQueue[tuple[Worker, Any]]):
        self.job: Job | None = None
        self.ready = False
        self._process = Child(
            "isoloss.lab.sweep.worker",
            [json.dumps(config)],
            training_environment(),
            lambda event: inbox.put((self, event)),
        )
        self.end, self.how_it_died = self._process.end, self._process.how_it_died

    def give(self, job: Job, threads: int = 1) -> None:
        """Hand the worker a run to train, and the most threads that it may do it with."""
        self.job = job
        self._process.send({"spec": job.spec.to_dict(), "keep": job.keep, "threads": threads})


def worker_config(
    tokens_folder: Path,
    folder: Path,
    trainer: str,
    checkpoint_seconds: float,
    text: str | None = None,
    eval_sets: Mapping[str, str | Path] | None = None,
    engine: Mapping[str, str] | None = None,
    noise_every: int = 0,
) -> dict[str, Any]:
    """What a worker is told at its start; see `worker.py`."""
    return {
        "parent": os.getpid(),
        "tokens": str(tokens_folder),
        "text": text,
        "eval_sets": {name: str(place) for name, place in (eval_sets or {}).items()},
        "engine": dict(engine or {}),
        "noise_every": noise_every,
        "folder": str(folder),
        "trainer": trainer,
        "checkpoint_seconds": checkpoint_seconds,
        "lock_wait": LOCK_WAIT,
    }
