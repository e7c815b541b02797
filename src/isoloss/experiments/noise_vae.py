"""Batch sizes of a variational autoencoder: the density of handwritten digits.

python -m isoloss.experiments.noise_vae --folder FOLDER
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace

from isoloss.experiments.batch_size.command import run
from isoloss.experiments.batch_size.image_tasks import vae
from isoloss.experiments.batch_size.images import digits
from isoloss.experiments.batch_size.scan import ScanPlan
from isoloss.experiments.batch_size.study import TABLE_1, StudyPlan
from isoloss.lab.batch_size.task import Task

PLAN = StudyPlan(
    ScanPlan(
        batches=(1, 2, 4, 8, 16, 32, 64, 128, 256, 512),
        targets=(23.0, 22.5, 22.0, 21.5, 21.0),
        most_examples=800_000,
        most_steps=40_000,
    ),
    TABLE_1["SVHN VAE"],
    "1,400 digits of 8 x 8 pixels in black and white, and two perceptrons with 32 hidden units "
    "around a code of eight numbers, by SGD; theirs are photographs of house numbers, by a "
    "convolutional network. The loss, an upper bound on -ln p(x), is of held-out images, theirs of "
    "those trained on; the targets lie where the held-out loss still falls.",
    noise_batch=32,
)
QUICK = replace(
    PLAN,
    scan=ScanPlan(batches=(8, 32), targets=(24.0, 23.5), most_examples=20_000, most_steps=1500),
    noise_batch=32,
    noise_examples=512,
)


def task() -> Task:
    """Learn the density of digits in black and white."""
    return vae(digits(), hidden=32, code=8, rate=0.005, rate_batch=1)


def main(words: Sequence[str] | None = None) -> int:
    """Make the study and print its page; returns the exit code."""
    return run(task, PLAN, QUICK, words)


if __name__ == "__main__":
    sys.exit(main())
