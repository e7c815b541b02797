"""Stand-ins for the trainer, named to the sweep's workers as `sweep_trainers:NAME`.

Each has the signature of `isoloss.lab.train.train`, leaves a true record, and needs no torch.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from isoloss.lab.tokens import TokenSet
from isoloss.runs import RecordWriter, RunSpec

TORCH_CAME_FIRST = "torch" in sys.modules
THREADS_AT_IMPORT = os.environ.get("OMP_NUM_THREADS")


@dataclass(frozen=True)
class Progress:
    step: int
    loss: float
    tokens_per_second: float


Report = Callable[[Any], None] | None


def steady(
    spec: RunSpec,
    tokens: TokenSet,
    folder: Path,
    *,
    on_progress: Report = None,
    checkpoint_seconds: float = 0.0,
    keep: Collection[int] = (),
) -> None:
    """Finish at once; `calls.txt` says in which order runs were asked for."""
    with (folder / "calls.txt").open("a") as calls:
        calls.write(spec.run_id + "\n")
    print("a trainer may print")
    write_record(spec, tokens, folder, on_progress, "finished")


def diverging(
    spec: RunSpec,
    tokens: TokenSet,
    folder: Path,
    *,
    on_progress: Report = None,
    checkpoint_seconds: float = 0.0,
    keep: Collection[int] = (),
) -> None:
    """Diverge at seed 1, finish otherwise."""
    write_record(spec, tokens, folder, on_progress, "diverged" if spec.seed == 1 else "finished")


def failing(
    spec: RunSpec,
    tokens: TokenSet,
    folder: Path,
    *,
    on_progress: Report = None,
    checkpoint_seconds: float = 0.0,
    keep: Collection[int] = (),
) -> None:
    """Fail at seed 1 unless a file `mended` lies in the folder."""
    if spec.seed == 1 and not (folder / "mended").exists():
        raise ZeroDivisionError("a bug\nin two lines")
    write_record(spec, tokens, folder, on_progress, "finished")


def dying(
    spec: RunSpec,
    tokens: TokenSet,
    folder: Path,
    *,
    on_progress: Report = None,
    checkpoint_seconds: float = 0.0,
    keep: Collection[int] = (),
) -> None:
    """Kill the worker every time at seed 1, the first time at seed 2, never otherwise."""
    died = folder / f"died-{spec.seed}"
    if spec.seed == 1 or (spec.seed == 2 and not died.exists()):
        with died.open("a") as log:
            log.write("x")
        os.kill(os.getpid(), signal.SIGKILL)
    write_record(spec, tokens, folder, on_progress, "finished")


def endless(
    spec: RunSpec,
    tokens: TokenSet,
    folder: Path,
    *,
    on_progress: Report = None,
    checkpoint_seconds: float = 0.0,
    keep: Collection[int] = (),
) -> None:
    """Finish at seed 0; otherwise train until killed, writing to `alive-SEED` all the while."""
    if spec.seed == 0:
        write_record(spec, tokens, folder, on_progress, "finished")
        return
    with (folder / f"alive-{spec.seed}").open("a") as alive:
        while True:
            alive.write("x")
            alive.flush()
            time.sleep(0.01)


def crowded(
    spec: RunSpec,
    tokens: TokenSet,
    folder: Path,
    *,
    on_progress: Report = None,
    checkpoint_seconds: float = 0.0,
    keep: Collection[int] = (),
) -> None:
    """Find no memory where another run is under way, as on a GPU that holds one."""
    mine = folder / f"holds-{os.getpid()}"
    mine.touch()
    first = not (folder / "refused.txt").exists()
    until = time.monotonic() + (60 if first else 0.4)  # the first waits for a worker that starts
    try:
        while time.monotonic() < until:
            time.sleep(0.02)
            if len(list(folder.glob("holds-*"))) > 1:
                time.sleep(0.3)  # so that the other one finds none either
                with (folder / "refused.txt").open("a") as refused:
                    refused.write(spec.run_id + "\n")
                raise RuntimeError("CUDA error: out of memory")
    finally:
        mine.unlink()
    write_record(spec, tokens, folder, on_progress, "finished")


def threads(
    spec: RunSpec,
    tokens: TokenSet,
    folder: Path,
    *,
    on_progress: Report = None,
    checkpoint_seconds: float = 0.0,
    keep: Collection[int] = (),
) -> None:
    """Load torch here and write down how many threads it takes."""
    import torch

    square = torch.ones(700, 700)
    (square @ square).sum().item()
    tasks = Path("/proc/self/task")
    found = {
        "torch_came_first": TORCH_CAME_FIRST,
        "threads_at_import": THREADS_AT_IMPORT,
        "torch_threads": torch.get_num_threads(),
        "running": len(list(tasks.iterdir())) if tasks.is_dir() else 0,
    }
    (folder / "threads.json").write_text(json.dumps(found))
    write_record(spec, tokens, folder, on_progress, "finished")


def write_record(
    spec: RunSpec, tokens: TokenSet, folder: Path, on_progress: Report, status: Any
) -> None:
    """A record of the run as it would be, with made-up losses."""
    corpus = {"name": tokens.name, "hash": tokens.hash}
    with RecordWriter.resume(folder / f"{spec.run_id}.jsonl", 0) as writer:
        writer.header(spec, corpus, {}, {})
        writer.point(spec.steps, spec.tokens_seen, 2.5)
        if on_progress is not None:
            on_progress(Progress(spec.steps, 2.5, 1000.0))
        writer.end(status, step=spec.steps, tokens=spec.tokens_seen, loss=2.25, seconds=0.01)
