"""Batch sizes of language modelling: a small transformer on the bytes of Python's own library.

python -m isoloss.experiments.noise_language --folder FOLDER
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from isoloss.counting import Shape
from isoloss.experiments.batch_size.command import run
from isoloss.experiments.batch_size.language_task import language
from isoloss.experiments.batch_size.scan import ScanPlan
from isoloss.experiments.batch_size.study import TABLE_1, StudyPlan
from isoloss.lab.batch_size.task import Task
from isoloss.lab.tokens import prepare

SMALL = Shape(n_layer=2, d_model=16, n_heads=1, vocab=256, n_ctx=32, bias=False)
LARGE = Shape(n_layer=2, d_model=40, n_heads=2, vocab=256, n_ctx=32, bias=False)
"""6,144 and 38,400 parameters without embeddings; few heads and no biases for the sake of time."""

_RATES = {SMALL: 0.014, LARGE: 0.007}
"""Good ones at a batch of 32 stretches, by a first look at the rates 0.006 to 0.03."""

SMALL_SCAN = ScanPlan(
    batches=(1, 3, 8, 24, 64, 192, 512),
    targets=(2.5, 2.4, 2.3, 2.25, 2.2),
    most_examples=400_000,
    most_steps=24_000,
)
LARGE_SCAN = replace(SMALL_SCAN, targets=(2.4, 2.3, 2.2, 2.15, 2.1))
"""At 2.5 nats its critical batch is too near to one stretch, the least there is, to be told."""


def task(shape: Shape = LARGE) -> Task:
    """Predict the next byte of this Python's standard library, by the model of a shape."""
    with TemporaryDirectory() as folder:
        tokens = prepare("python-stdlib", Path(folder) / "tokens")
        return language(tokens, shape, rate=_RATES[shape], rate_batch=32)


def plan(scan: ScanPlan) -> StudyPlan:
    """The study of a scan, beside the paper's row."""
    return StudyPlan(
        scan,
        TABLE_1["Billion Word (tokens)"],
        "bytes of source code, in stretches of 32, by a transformer that stops minutes after its "
        "start; theirs are parts of words of news, by LSTMs 512 to 2,048 wide, trained to the end.",
        noise_batch=24,
        noise_examples=2048,
    )


PLAN = plan(LARGE_SCAN)
QUICK = replace(
    plan(replace(LARGE_SCAN, batches=(8, 32), targets=(3.0, 2.9), most_examples=3200)),
    noise_batch=8,
    noise_examples=512,
)


def main(words: Sequence[str] | None = None) -> int:
    """Make the study and print its page; returns the exit code."""
    return run(task, PLAN, QUICK, words)


if __name__ == "__main__":
    sys.exit(main())
