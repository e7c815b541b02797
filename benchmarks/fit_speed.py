"""How long a fit and its bootstrap take, beside what people run today, on the 240 digitised points.

(a) the published notebook's procedure: 4,500 L-BFGS-B starts with numerical gradients, the best
    kept; then 4,000 bootstrap fits by BFGS, one after another. A part of each is timed and the
    whole scaled up, unless --whole.
(b) the `chinchilla` package, where it is installed: its own asymmetric loss, BFGS from 5^5 starts.
(c) scipy's `curve_fit` from one start, least squares on the loss.

The floor: two exponentials for each run in every evaluation that the solver makes, at the time one
takes here.
"""

from __future__ import annotations

import argparse
import csv
import statistics
import tempfile
import time
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import _results as results
import numpy as np
from _peers import objective
from _views import DATA
from numpy.typing import NDArray
from scipy.optimize import curve_fit, minimize

from isoloss.fitting import fit
from isoloss.laws import Chinchilla, allocate, published
from isoloss.runs import Runs
from isoloss.trust import bootstrap

Array = NDArray[np.float64]
DRAWS, REPEATS = 4000, 7
HOFFMANN = (np.log(406.4), np.log(410.7), np.log(1.69), 0.34, 0.28)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--whole", action="store_true", help="time all of (a), about 10 minutes")
    options = parser.parse_args()
    runs = points(options.data)
    fitted, ours = timed(lambda: fit(Chinchilla, runs))
    draws, drawn = timed(lambda: bootstrap(fitted, draws=DRAWS, seed=0, delta=1e-3))
    _, decided = timed(lambda: draws.interval(lambda law: allocate(law, 1e24).n))
    many = Runs(**simulated(10_000))
    _, large = timed(lambda: fit(Chinchilla, many), 3)
    exponential = exponential_seconds()
    starts, tries, objective_a = notebook(runs, options.whole)
    whole = starts + tries
    rows: list[tuple[str, ...]] = [
        ("isoloss: fit, global start", seconds(ours), f"{fitted.objective:.9e}", ""),
        (f"isoloss: {DRAWS:,} draws", seconds(drawn), "", ""),
        ("isoloss: interval of N*, 4,000 draws", seconds(decided), "", ""),
        ("isoloss: fit of 10,000 runs", seconds(large), "", ""),
        ("(a) notebook: 4,500 starts", seconds(starts), f"{objective_a:.9e}", ratio(starts, ours)),
        (f"(a) notebook: {DRAWS:,} draws", seconds(tries), "", ratio(tries, drawn)),
        ("(a) notebook: both", seconds(whole), "", ratio(whole, ours + drawn)),
    ]
    rows += package(runs, ours)
    single, single_time = timed(lambda: one_start(runs))
    rows.append(
        (
            "(c) curve_fit, one start",
            seconds(single_time),
            f"{single:.9e}",
            ratio(single_time, ours),
        )
    )
    evaluations = 2 * len(runs) * exponential
    results.append(
        "fit_speed",
        ("what", "s", "summed Huber 1e-3 reached", "/ isoloss"),
        rows,
        f"240 points of Hoffmann's figure; medians of {REPEATS}. Objectives are of the log-Huber "
        "loss, whatever a peer minimised.",
        f"One exponential takes {1e9 * exponential:.1f} ns here, one evaluation of the law at all "
        f"points {1e6 * evaluations:.1f} us: the fit costs {ours / evaluations:,.0f} of these, a "
        f"draw {drawn / DRAWS / evaluations:,.0f}.",
        "" if options.whole else "Of (a) a part was timed (90 starts, 60 draws) and scaled up.",
    )


def points(folder: Path) -> Runs:
    with (folder / "epoch_chinchilla.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["in_published_fit"] == "1"]
    n, d, c, loss = (np.array([float(row[k]) for row in rows]) for k in ("N", "D", "C", "loss"))
    return Runs(n=n, d=d, c=c, loss=loss)


def simulated(count: int) -> dict[str, Array]:
    random = np.random.default_rng(0)
    n, d = np.exp(random.uniform(np.log([1e7, 3e8]), np.log([1e10, 1e12]), (count, 2))).T
    noise = np.exp(0.01 * random.standard_normal(count))
    return {"n": n, "d": d, "loss": published.BESIROGLU_2024.law(n, d) * noise}


def timed(call: Callable[[], Any], repeats: int = REPEATS) -> tuple[Any, float]:
    """The result, and the median seconds of some calls after one."""
    found, taken = call(), []
    for _ in range(repeats):
        begun = time.perf_counter()
        found = call()
        taken.append(time.perf_counter() - begun)
    return found, statistics.median(taken)


def exponential_seconds() -> float:
    values = np.random.default_rng(0).standard_normal(32_000)
    out = np.empty_like(values)
    _, taken = timed(lambda: np.exp(values, out=out), 200)
    return taken / len(values)


def notebook(runs: Runs, whole: bool) -> tuple[float, float, float]:
    """Seconds of the starts and of the draws of (a), and the objective it reached."""
    x, y, log_loss = np.log(runs.n), np.log(runs.d), np.log(runs.loss)

    def value(p: Array, *data: Array) -> float:
        return objective(p, *data, 1e-3)[0]

    grid = list(
        product(
            np.arange(0, 30, 5), np.arange(0, 30, 5), np.arange(-1, 1.5, 0.5),
            np.arange(0, 2.5, 0.5), np.arange(0, 2.5, 0.5),
        )
    )  # fmt: skip
    used = grid if whole else grid[:: len(grid) // 90]
    begun = time.perf_counter()
    found = [minimize(value, p, args=(x, y, log_loss), method="L-BFGS-B") for p in used]
    starts = (time.perf_counter() - begun) * len(grid) / len(used)
    best = min(found, key=lambda result: result.fun)
    random, count = np.random.default_rng(42), DRAWS if whole else 60
    begun = time.perf_counter()
    for _ in range(count):
        i = random.integers(len(x), size=len(x))
        minimize(value, HOFFMANN, args=(x[i], y[i], log_loss[i]), method="BFGS")
    return starts, (time.perf_counter() - begun) * DRAWS / count, float(best.fun)


def package(runs: Runs, ours: float) -> list[tuple[str, ...]]:
    try:
        from chinchilla import Chinchilla as Package
    except ImportError:
        return [("(b) chinchilla package", "not installed", "", "")]
    grid = {
        "E": np.linspace(1.4, 2.0, 5), "a": np.linspace(1, 10, 5), "b": np.linspace(1, 10, 5),
        "alpha": np.linspace(0.1, 0.7, 5), "beta": np.linspace(0.1, 0.7, 5),
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        model = Package(folder, param_grid=grid, log_level=50)
        for n, d, c, loss in zip(runs.n, runs.d, runs.c, runs.loss, strict=True):
            model.database.append(C=c, N=n, D=d, loss=loss)
        begun = time.perf_counter()
        model.fit()
        taken = time.perf_counter() - begun
        law = Chinchilla(**{name: float(value) for name, value in model.get_params().items()})
    return [
        ("(b) chinchilla package", seconds(taken), f"{reached(law, runs):.9e}", ratio(taken, ours))
    ]


def one_start(runs: Runs) -> float:
    def law(at: Array, a: float, b: float, e: float, alpha: float, beta: float) -> Array:
        return np.exp(a - alpha * at[0]) + np.exp(b - beta * at[1]) + np.exp(e)

    at = np.log(np.stack([runs.n, runs.d]))
    found, _ = curve_fit(law, at, runs.loss, p0=HOFFMANN, maxfev=20_000)
    a, b, e, alpha, beta = found
    return reached(Chinchilla(np.exp(e), np.exp(a), np.exp(b), alpha, beta), runs)


def reached(law: Chinchilla, runs: Runs) -> float:
    r = np.abs(np.log(law(runs.n, runs.d) / runs.loss))
    return float(np.where(r <= 1e-3, 0.5 * r * r, 1e-3 * (r - 0.5e-3)).sum())


def seconds(value: float) -> str:
    return f"{value:.3f}" if value < 10 else f"{value:.0f}"


def ratio(theirs: float, ours: float) -> str:
    return f"{theirs / ours:,.1f}" if theirs < 100 * ours else f"{theirs / ours:,.0f}"


if __name__ == "__main__":
    main()
