"""How long plans take: from papers and from draws, and many budgets at once.

    python benchmarks/plan_speed.py

The command is a whole process, started in turn with `python -c pass`. A plan from 4,000 draws and
10,000 budgets of one law are timed in one process, beside a loop over `scipy.optimize` that finds
the same optima one at a time, as a notebook would. Best of several, alternating.
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import _results as results
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from isoloss.counting import Family
from isoloss.fitting import fit
from isoloss.laws import Chinchilla, allocate, published
from isoloss.planning import plan
from isoloss.runs import Runs
from isoloss.trust import bootstrap

Array = NDArray[np.float64]

PAIRS, REPEATS = 15, 5
DRAWS, BUDGETS, BY_HAND = 4000, 10_000, 200
COMMAND = ("-m", "isoloss", "plan", "--flops", "1e21")


def main() -> None:
    command = [(process(*COMMAND), process("-c", "pass")) for _ in range(PAIRS)]
    mine, theirs = (statistics.median(side) for side in zip(*command, strict=True))
    rows = [row("isoloss plan --flops 1e21", mine, "python -c pass", theirs)]
    draws = bootstrap(fit(Chinchilla, some_runs()).check(), draws=DRAWS, seed=0)
    law, flops = draws.law, 1e22
    rows.append(
        row(
            f"plan from {DRAWS:,} draws", best(lambda: plan(draws, flops=flops)),
            f"scipy, optimum of each draw (from {BY_HAND})",
            DRAWS / BY_HAND * best(lambda: by_hand(each_draw(law), [flops] * BY_HAND)),
        )
    )  # fmt: skip
    budgets = np.geomspace(1e17, 1e26, BUDGETS)
    own = published.BESIROGLU_2024.law
    hand = best(lambda: by_hand([own] * BY_HAND, budgets[:: BUDGETS // BY_HAND][:BY_HAND]))
    peer = f"scipy, one budget at a time (from {BY_HAND})"
    for name, cost in (("6 n d", None), ("exact cost of a family", Family().cost())):
        mine = best(lambda cost=cost: allocate(own, budgets, cost=cost))
        rows.append(row(f"{BUDGETS:,} budgets, {name}", mine, peer, BUDGETS / BY_HAND * hand))
    # They find the same.
    ours = np.asarray(allocate(own, budgets[:: BUDGETS // 20]).n)
    np.testing.assert_allclose(by_hand([own] * 20, budgets[:: BUDGETS // 20]), ours, rtol=1e-4)
    results.append(
        "plan_speed", ("what", "s", "peer", "s", "peer / ours"), rows,
        f"Process: medians of {PAIRS} pairs; the others: best of {REPEATS}. Peers marked (from "
        f"{BY_HAND}) are timed on so many and scaled.",
    )  # fmt: skip


def row(name: str, mine: float, peer: str, theirs: float) -> tuple[str, ...]:
    return name, f"{mine:.3g}", peer, f"{theirs:.3g}", f"{theirs / mine:.3g}"


def process(*words: str) -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, *words], check=True, capture_output=True)
    return time.perf_counter() - started


def best(call: Callable[[], object]) -> float:
    times = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    return min(times)


def some_runs() -> Runs:
    """240 runs about Besiroglu's law on its own sizes; simulated."""
    law = published.BESIROGLU_2024.law
    random = np.random.default_rng(0)
    n = np.exp(random.uniform(np.log(4e7), np.log(1.6e10), 240))
    d = n * np.exp(random.uniform(np.log(4.0), np.log(100.0), 240))
    return Runs(n=n, d=d, loss=law(n, d) * np.exp(random.normal(0, 0.005, 240)))


def each_draw(law: Chinchilla) -> list[Chinchilla]:
    values = law.coefficients()
    return [
        Chinchilla(**{name: float(np.asarray(value)[k]) for name, value in values.items()})
        for k in range(BY_HAND)
    ]


def by_hand(laws: list[Chinchilla], budgets: list[float] | Array) -> list[float]:
    """The best sizes, found one at a time."""
    sizes = []
    for law, flops in zip(laws, budgets, strict=True):
        found = minimize_scalar(
            lambda u, law=law, flops=flops: float(law(np.exp(u), flops / (6 * np.exp(u)))),
            bounds=(np.log(1e5), np.log(1e14)),
            method="bounded",
            options={"xatol": 1e-9},
        )
        sizes.append(float(np.exp(found.x)))
    return sizes


if __name__ == "__main__":
    main()
