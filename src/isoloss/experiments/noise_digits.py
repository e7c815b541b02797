"""Batch sizes of telling handwritten digits apart: the smallest domain, which needs no download.

python -m isoloss.experiments.noise_digits --folder FOLDER
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace

from isoloss.experiments.batch_size.command import run
from isoloss.experiments.batch_size.image_tasks import classifier
from isoloss.experiments.batch_size.images import digits
from isoloss.experiments.batch_size.scan import ScanPlan
from isoloss.experiments.batch_size.study import TABLE_1, StudyPlan
from isoloss.lab.batch_size.task import Task

PLAN = StudyPlan(
    ScanPlan(
        batches=(1, 2, 4, 8, 16, 32, 64, 128, 256, 512),
        targets=(0.5, 0.35, 0.25, 0.2, 0.15),
        most_examples=400_000,
        most_steps=20_000,
        seeds=2,
    ),
    TABLE_1["MNIST"],
    "1,400 images of 8 x 8 pixels and a perceptron with 32 hidden units, 2,410 parameters, by SGD; "
    "theirs are 28 x 28, by a convolutional network. Losses are of held-out images, theirs of "
    "those trained on; the targets lie where the held-out loss still falls. Batches are drawn "
    "with replacement, so that one of 512 holds about 430 different images.",
    noise_batch=32,
)
QUICK = replace(
    PLAN,
    scan=ScanPlan(batches=(8, 32), targets=(1.5, 1.0), most_examples=20_000, most_steps=1500),
    noise_batch=32,
    noise_examples=512,
)


def task() -> Task:
    """Tell the ten digits apart."""
    return classifier(digits(), hidden=32, rate=0.06, rate_batch=1)


def main(words: Sequence[str] | None = None) -> int:
    """Make the study and print its page; returns the exit code."""
    return run(task, PLAN, QUICK, words)


if __name__ == "__main__":
    sys.exit(main())
