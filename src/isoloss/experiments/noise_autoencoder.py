"""Batch sizes of an autoencoder: digits of 64 pixels through eight numbers and back.

python -m isoloss.experiments.noise_autoencoder --folder FOLDER
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace

from isoloss.experiments.batch_size.command import run
from isoloss.experiments.batch_size.image_tasks import autoencoder
from isoloss.experiments.batch_size.images import digits
from isoloss.experiments.batch_size.scan import ScanPlan
from isoloss.experiments.batch_size.study import TABLE_1, StudyPlan
from isoloss.lab.batch_size.task import Task

PLAN = StudyPlan(
    ScanPlan(
        batches=(1, 2, 4, 8, 16, 32, 64, 128, 256, 512),
        targets=(0.86, 0.83, 0.81, 0.79, 0.77),
        most_examples=800_000,
        most_steps=40_000,
    ),
    TABLE_1["SVHN autoencoder"],
    "1,400 digits of 8 x 8 pixels, and two perceptrons with 32 hidden units around a code of eight "
    "numbers, by SGD; theirs are photographs of house numbers, by a convolutional network. The "
    "loss, half the squared error of an image, is of held-out images, theirs of those trained on; "
    "the targets lie where it still falls.",
    noise_batch=32,
)
QUICK = replace(
    PLAN,
    scan=ScanPlan(batches=(8, 32), targets=(1.8, 1.5), most_examples=20_000, most_steps=1500),
    noise_batch=32,
    noise_examples=512,
)


def task() -> Task:
    """Code a digit into eight numbers and back."""
    return autoencoder(digits(), hidden=32, code=8, rate=0.014, rate_batch=1)


def main(words: Sequence[str] | None = None) -> int:
    """Make the study and print its page; returns the exit code."""
    return run(task, PLAN, QUICK, words)


if __name__ == "__main__":
    sys.exit(main())
