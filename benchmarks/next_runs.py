"""The runs that `propose_runs` buys beside an IsoFLOP grid of the same cost, in simulated studies.

    python benchmarks/next_runs.py [--studies 40] [--workers 2]

A study begins with 16 runs on three IsoFLOP curves. Then 15 more are bought up to three times the
largest compute so far: on a grid of three budgets and five sizes around the law's best, or as
`propose_runs` has them, with the same number of runs, the same cost in all and the same largest
compute. The decision is the size to train at 30 times that compute. Half of the studies are exact;
in the others the law is wrong by a smooth error that grows towards small compute (0.5 % root mean
square at a thousandth of the target, falling with the logarithm to nothing there). Widths and
coverage are of the 90 % interval of ln n* that a plan gives, misfit allowed for, and beside it of
the draws alone; excess is the compute that the size a plan would
recommend wastes at the target by the true law. "free" may choose its number of runs and believes
the law at every size.
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse
import math
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor

import _results
import numpy as np
from _studies import TRUTHS, Array, log_best, places, smooth

from isoloss.fitting import fit
from isoloss.laws import Chinchilla, allocate
from isoloss.laws.required import compute_at_size
from isoloss.planning import best_bet
from isoloss.planning.doubt.misfit import best_size
from isoloss.planning.doubt.next_runs import propose_runs
from isoloss.runs import Runs
from isoloss.trust import Draws, bootstrap

LAWS = ("Hoffmann 2022", "Besiroglu 2024", "Apple 2025", "Gadre 2024, C4")
NOISE, DRAWS = 0.005, 400
LARGER, TARGET = 3.0, 30.0
BUDGETS, SIZES = 10.0 ** np.array([0.0, -0.5, -1.0]), np.geomspace(0.25, 4.0, 5)
LACK_OF_FIT, DEPTH = 0.005, 1000.0
DESIGNS = ("grid", "proposed", "proposed, free")
MOST = 10.0

Row = tuple[float, bool, float, bool, float]
"""Width of a plan's interval, whether it holds the truth, both for the draws alone, and the excess
compute of the decision."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=40, help="of each law, exact and not")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    jobs = [
        (name, exact, seed)
        for name in LAWS
        for exact in (True, False)
        for seed in range(options.studies)
    ]
    with ProcessPoolExecutor(options.workers) as pool:
        found = list(pool.map(study, jobs, chunksize=4))
    rows = []
    for exact in (True, False):
        cell = [
            one for job, one in zip(jobs, found, strict=True) if job[1] is exact and one is not None
        ]
        lost = sum(job[1] is exact for job in jobs) - len(cell)
        table = np.array(cell, dtype=np.float64)  # (studies, designs, 5)
        for place, design in enumerate(DESIGNS):
            width, held, plain, plainly, excess = table[:, place].T
            grid = table[:, 0]
            rows.append(
                (
                    "exact" if exact else "lack of fit",
                    design,
                    str(len(cell)),
                    f"{np.median(width):.3f}",
                    f"{np.median(grid[:, 0] / width):.2f}",
                    f"{100 * held.mean():.1f} %",
                    f"{np.median(grid[:, 2] / plain):.2f}, {100 * plainly.mean():.1f} %",
                    f"{100 * excess.mean():.2f} %",
                    f"{excess.mean() / grid[:, 4].mean():.2f} {ratio_range(excess, grid[:, 4])}",
                )
            )
        if lost:
            print(f"{lost} studies were refused a fit and are left out")
    header = (
        "studies", "design", "number", "median width", "narrower than the grid", "coverage",
        "of the draws alone",
        "mean excess", "/ the grid's (90 % of resampled studies)",
    )  # fmt: skip
    _results.append(
        "next_runs",
        header,
        rows,
        f"Laws: {', '.join(LAWS)}; noise {NOISE:.1%}; 16 runs, then 15 more up to {LARGER:g} times "
        f"the compute; the decision at {TARGET:g} times that. Simulated.",
        "Free: the number of runs is chosen too; it assumes that the law holds at every size.",
    )


def study(job: tuple[str, bool, int]) -> list[Row] | None:
    """One study: a row for each design; None where a fit is refused."""
    name, exact, seed = job
    law = TRUTHS[name]
    random = np.random.default_rng([seed, LAWS.index(name), int(exact)])
    n, d = places("isoflop", 16, law)
    largest = LARGER * float((6 * n * d).max())
    target = TARGET * largest
    wrong = (lambda n, d: np.zeros(n.size)) if exact else error_of(random, target)

    def observed(n: Array, d: Array) -> Array:
        noise = NOISE * random.standard_normal(n.size)
        return np.asarray(law(n, d) * np.exp(wrong(n, d) + noise))

    begun = Runs(n=n, d=d, loss=observed(n, d))
    try:
        first = bootstrap(fit(Chinchilla, begun).check(), draws=DRAWS, seed=seed)
        bought = designs(first, largest, target)
        return [decided(law, begun, run, observed, target, seed) for run in bought]
    except Exception as error:  # a refused fit is counted, whatever it says
        print(f"{name}, {seed}: {error}")
        return None


def designs(first: Draws, largest: float, target: float) -> list[tuple[Array, Array]]:
    """Sizes and tokens of the runs that each design buys, from what is known so far."""
    n, d = [], []
    for c in largest * BUDGETS:
        sizes = float(allocate(first.fit, float(c)).n) * SIZES
        n.append(sizes)
        d.append(c / (6 * sizes))
    grid = np.concatenate(n), np.concatenate(d)
    spend = float((6 * grid[0] * grid[1]).sum())
    limits = {"target": target, "spend": spend, "largest": largest}
    alike = propose_runs(first, count=grid[0].size, **limits)
    free = propose_runs(first, drift=0.0, smallest=largest / 1000, **limits)
    return [
        grid,
        *(
            (np.array([run.n for run in one.runs]), np.array([run.d for run in one.runs]))
            for one in (alike, free)
        ),
    ]


def decided(
    law: Chinchilla,
    begun: Runs,
    bought: tuple[Array, Array],
    observed: Callable[[Array, Array], Array],
    target: float,
    seed: int,
) -> Row:
    """What a fit of all runs, old and new, decides."""
    n, d = bought
    runs = Runs(
        n=np.concatenate([begun.n, n]),
        d=np.concatenate([begun.d, d]),
        loss=np.concatenate([begun.loss, observed(n, d)]),
    )
    draws = bootstrap(fit(Chinchilla, runs).check(), draws=DRAWS, seed=seed + 1)
    found = best_size(draws, target)
    low, high = math.log(found.low or found.mid), math.log(found.high or found.mid)
    least, _, most = (float(x) for x in draws.interval(lambda one: log_best(one, target)))
    best = allocate(law, target)
    size = best_bet(draws, target).n
    needed = float(compute_at_size(law, size, float(best.loss)))
    truth = float(np.log(best.n))
    excess = min(needed / target - 1.0, MOST)
    return high - low, low <= truth <= high, most - least, least <= truth <= most, excess


def error_of(random: np.random.Generator, target: float) -> Callable[[Array, Array], Array]:
    """A smooth error of the law in log n and log d, growing from nothing at the target."""
    waves = smooth(random)

    def wrong(n: Array, d: Array) -> Array:
        depth = np.log(target / (6 * n * d)) / np.log(DEPTH)
        return np.asarray(LACK_OF_FIT * depth * waves(n, d))

    return wrong


def ratio_range(excess: Array, grid: Array) -> str:
    random = np.random.default_rng(0)
    rows = random.integers(0, len(excess), size=(2000, len(excess)))
    low, high = np.quantile(excess[rows].mean(axis=1) / grid[rows].mean(axis=1), [0.05, 0.95])
    return f"({low:.2f}-{high:.2f})"


if __name__ == "__main__":
    main()
