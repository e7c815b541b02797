"""What the theory of the noise scale says, held against what handwritten digits do.

    python -m isoloss.experiments.noise_checks --folder FOLDER

By SGD and by Adam; `batch_size.theory` says what is done.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace

from isoloss.experiments.batch_size.command import parser, print_page, tell_lines
from isoloss.experiments.batch_size.images import digits
from isoloss.experiments.batch_size.scan import MakeTask, ScanPlan
from isoloss.experiments.batch_size.theory import ChecksPlan, check
from isoloss.experiments.batch_size.theory_page import write_page
from isoloss.experiments.noise_digits import task as classifying
from isoloss.lab.batch_size.task import Task

PLAN = ChecksPlan(
    ScanPlan(
        batches=(2, 8, 24, 64, 192, 512, 1024),
        targets=(0.5, 0.35, 0.25),
        most_examples=200_000,
        most_steps=20_000,
        seeds=3,
        rate_grows=0.75,
    )
)
QUICK = replace(
    PLAN,
    scan=replace(
        PLAN.scan, batches=(4, 12, 32, 96, 256), targets=(0.8, 0.6), most_examples=20_000, seeds=1
    ),
    held=(1.0, 0.7),
    line_batches=(2, 16, 128),
    line_gradients=8,
    hessian_repeats=40,
    branch_examples=2048,
    branches=2,
    saving_seeds=2,
    cold_loss=0.7,
    cold_seeds=2,
)


def by_sgd() -> Task:
    """The digits, learnt by plain SGD."""
    return classifying()


def by_adam() -> Task:
    """The digits, learnt by Adam."""
    return replace(classifying(), optimizer="adam", rate=0.001, rate_batch=1)


TASKS: dict[str, MakeTask] = {"SGD": by_sgd, "Adam": by_adam}


def main(words: Sequence[str] | None = None) -> int:
    """Make the checks and print their page; returns the exit code."""
    options = parser((__doc__ or "").split("\n")[0]).parse_args(words)

    def page() -> str:
        images = digits()
        found = {
            name: check(
                make,
                QUICK if options.quick else PLAN,
                (images.x, images.kind),
                options.folder / f"runs-{name.lower()}",
                workers=options.workers,
                tell=tell_lines,
            )
            for name, make in TASKS.items()
        }
        return write_page(found, options.folder)

    return print_page(page, options.folder, "checks")


if __name__ == "__main__":
    sys.exit(main())
