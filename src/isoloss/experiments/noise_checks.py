"""What the theory of the noise scale says, held against what handwritten digits do.

    python -m isoloss.experiments.noise_checks --folder FOLDER

By SGD and by Adam; `noise_theory` says what is done.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from isoloss.errors import IsolossError
from isoloss.experiments.batch_scan import MakeTask, ScanPlan
from isoloss.experiments.images import digits
from isoloss.experiments.noise_checks_page import write_page
from isoloss.experiments.noise_digits import task as classifying
from isoloss.experiments.noise_theory import ChecksPlan, check
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
    import torch

    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--folder", type=Path, required=True, help="gets runs, page and figures")
    parser.add_argument("--workers", type=int, help="processes of the scan; as many as cores")
    parser.add_argument("--quick", action="store_true", help="a small plan, to try it out")
    options = parser.parse_args(words)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        images = digits()
        plan = QUICK if options.quick else PLAN
        found = {
            name: check(
                make,
                plan,
                (images.x, images.kind),
                options.folder / f"runs-{name.lower()}",
                workers=options.workers,
                tell=_tell,
            )
            for name, make in TASKS.items()
        }
        print(write_page(found, options.folder), end="")
    except IsolossError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; the same command goes on from the runs that are there", file=sys.stderr)
        return 130
    finally:
        torch.set_num_threads(threads)
    return 0


def _tell(what: str, done: float, total: float | None, note: str) -> None:
    of = "" if total is None else f" ({done:.0f} of {total:.0f} done)"
    print(f"{what}{of} {note}".rstrip(), file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
