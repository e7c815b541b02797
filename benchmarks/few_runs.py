"""How often nominal 90 % intervals hold the truth where there are very few runs.

    python benchmarks/few_runs.py [--studies 200] [--workers 2]

A study takes some of the runs of an exact one of 16 (see `_studies`), of three sizes and three
token counts or more, in turn from each of ten laws and three noises. The intervals are the plain
ones of ln N* and of the best loss at ten times the largest compute of the runs taken; a refused
study has none.
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse
import math
from concurrent.futures import ProcessPoolExecutor
from itertools import product

import _results
import numpy as np
from _studies import DESIGNS, SIGMAS, TRUTHS, best_loss, log_best, simulate

from isoloss.errors import FitError, Status
from isoloss.fitting import fit
from isoloss.laws import Chinchilla, allocate
from isoloss.runs import Runs
from isoloss.trust import bootstrap

COUNTS = (6, 7, 8, 9, 10, 12)
DRAWS = 200
_FIRST_SEED = 5000
_TRIES = 50


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=200, help="of each design and number")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    cells = list(product(COUNTS, DESIGNS, [options.studies]))
    with ProcessPoolExecutor(options.workers) as pool:
        rows = list(pool.map(cell, cells))
    _results.append(
        "few_runs",
        ("runs", "design", "refused", "ln N*", "best loss", "with the code few_runs"),
        rows,
        f"{options.studies} studies a row, {DRAWS} draws. Simulated.",
    )


def cell(job: tuple[int, str, int]) -> tuple[str, ...]:
    """The shares of one number of runs and one design."""
    count, design, studies = job
    size = loss = given = doubted = 0
    for number in range(studies):
        law = list(TRUTHS.values())[number % len(TRUTHS)]
        sigma = SIGMAS[number // len(TRUTHS) % len(SIGMAS)]
        study = simulate(law, design, 16, sigma, _FIRST_SEED + number, exact=True)
        runs = some(study.runs, count, np.random.default_rng([number, count, 77]))
        c = 10 * float(runs.c.max())
        try:
            draws = bootstrap(fit(Chinchilla, runs).check(), draws=DRAWS, seed=number)
        except FitError:
            continue
        given += 1
        doubted += Status.FEW_RUNS in draws.fit.status
        best = allocate(law, c)
        with np.errstate(all="ignore"):
            low, _, high = draws.interval(lambda one, c=c: log_best(one, c))
            size += bool(low <= math.log(best.n) <= high)
            low, _, high = draws.interval(lambda one, c=c: np.log(best_loss(one, c)))
            loss += bool(low <= math.log(best.loss) <= high)
    shares = (f"{100 * part / max(given, 1):.1f} %" for part in (size, loss, doubted))
    return str(count), design, str(studies - given), *shares


def some(runs: Runs, count: int, random: np.random.Generator) -> Runs:
    """So many of the runs, of three sizes and three token counts or more where that can be had."""
    for _ in range(_TRIES):
        found = runs[np.sort(random.choice(len(runs), count, replace=False))]
        if all(len(np.unique(np.round(np.log(x), 2))) >= 3 for x in (found.n, found.d)):
            break
    return found


if __name__ == "__main__":
    main()
