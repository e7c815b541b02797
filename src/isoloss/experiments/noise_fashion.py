"""Batch sizes of telling clothes apart: Fashion-MNIST, from Debian's package.

python -m isoloss.experiments.noise_fashion --folder FOLDER
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace

from isoloss.experiments.batch_size.command import run
from isoloss.experiments.batch_size.image_tasks import classifier
from isoloss.experiments.batch_size.images import fashion
from isoloss.experiments.batch_size.scan import ScanPlan
from isoloss.experiments.batch_size.study import TABLE_1, StudyPlan
from isoloss.lab.batch_size.task import Task

PLAN = StudyPlan(
    ScanPlan(
        batches=(2, 4, 8, 16, 32, 64, 128, 256, 512, 1024),
        targets=(0.8, 0.7, 0.65, 0.6, 0.55),
        most_examples=1_000_000,
        most_steps=40_000,
    ),
    TABLE_1["MNIST"],
    "clothes instead of digits, and a perceptron with 32 hidden units, 25,450 parameters, by SGD; "
    "theirs is a convolutional network. Losses are of held-out images, theirs of those trained on; "
    "the runs pass over the images three times at most until the last target, so the two hardly "
    "part.",
    noise_batch=32,
)
QUICK = replace(
    PLAN,
    scan=ScanPlan(batches=(8, 32), targets=(1.5, 1.2), most_examples=20_000, most_steps=1500),
    noise_batch=32,
    noise_examples=512,
)


def task() -> Task:
    """Tell the ten kinds of clothes apart."""
    return classifier(fashion(), hidden=32, rate=0.02, rate_batch=2)


def main(words: Sequence[str] | None = None) -> int:
    """Make the study and print its page; returns the exit code."""
    return run(task, PLAN, QUICK, words)


if __name__ == "__main__":
    sys.exit(main())
