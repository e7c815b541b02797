"""How many threads a run is trained with: one, but for a run that has the machine to itself.

Beside another busy process two threads are far slower than one, so a sweep gives each worker one,
and offers more only to a run while nothing else runs or waits. It takes them if a step with them is
measured to be a fifth faster (kept, as `speeds` says), and if it is large enough to gain: below
d_model 128 the threads wait for each other more than they compute.
The number decides the last digits of a loss. So it is decided when a run begins and stands in its
record (`machine.threads`), and the run goes on with it; a branch takes its trunk's.
"""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import torch

from isoloss.lab.engine import PLAIN
from isoloss.lab.models import make_model
from isoloss.lab.training.gradients import plain_gradients
from isoloss.lab.training.speeds import best_seconds, recall
from isoloss.runs import RunSpec, read_record, trunk_of

LEAST_WIDTH = 128
LEAST_FLOPS = 1e12
"""FLOPs below which a run is over in about a minute with one thread, and is not worth measuring."""

_GAIN = 1.2
_ROWS = 16  # sequences at most in a measurement


def settle_threads(spec: RunSpec, folder: Path, most: int) -> int:
    """Set the threads that this process computes a run with, and return their number.

    folder: of the records; the run's own says the number if it was begun, its trunk's if it leaves
    one. most: what is offered to a run that begins.
    """
    torch.set_num_threads(1)
    threads = _recorded(spec, folder)
    if threads is None:
        threads = most if _gains(spec, most) else 1
    torch.set_num_threads(threads)
    return threads


def measured(spec: RunSpec, most: int) -> dict[str, float]:
    """Seconds of the gradients of some sequences with one thread and with `most`, as kept."""
    shape = spec.shape
    rows = max(1, min(_ROWS, spec.batch // shape.n_ctx))

    def measuring() -> dict[str, float]:
        ids = torch.zeros((rows, shape.n_ctx), dtype=torch.long)
        with torch.random.fork_rng():  # a run draws its weights from torch's generator
            add_gradients = plain_gradients(make_model(shape), PLAIN.where, PLAIN.autocast, 0)

        def step(threads: int) -> None:
            torch.set_num_threads(threads)
            add_gradients(ids, ids)

        ways = {str(threads): partial(step, threads) for threads in (1, most)}
        seconds = best_seconds(ways, PLAIN.where, repeats=3)
        torch.set_num_threads(1)
        return seconds

    return recall("threads", {"shape": shape.to_dict(), "rows": rows, "most": most}, measuring)


def _gains(spec: RunSpec, most: int) -> bool:
    small = spec.shape.d_model < LEAST_WIDTH or spec.flops("exact") < LEAST_FLOPS
    if most < 2 or small or torch.cuda.is_available():
        return False
    seconds = measured(spec, most)
    return seconds["1"] > _GAIN * seconds[str(most)]


def _recorded(spec: RunSpec, folder: Path) -> int | None:
    """The threads in the record of a run, or of its trunk, if it has one; at most the cores."""
    names = [spec.run_id, *([trunk_of(spec).run_id] if spec.trunk else [])]
    for path in (folder / f"{name}.jsonl" for name in names):
        threads = read_record(path).machine.get("threads") if path.exists() else None
        if isinstance(threads, int) and threads > 0:
            return min(threads, os.cpu_count() or 1)
    return None
