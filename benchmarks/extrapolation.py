"""Fit small runs, predict larger ones: the forecast model beside the careful notebook of today.

Ten views of public tables, six experiments. Each view is fitted below a cut in compute and every
run above it predicted, the farthest at ten times the cut or more. The forecast model's four numbers
come from a grid; each experiment is scored with the numbers that score best on the other five, so
no experiment has a say in how it is forecast. Experiments weigh equally, and the views of one share
its weight. Score: the mean interval score of log loss at alpha = 0.1 (Gneiting & Raftery 2007, Eq.
43).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import _results as results
import numpy as np
from _peers import notebook
from _views import DATA, View, views
from numpy.typing import NDArray

from isoloss.errors import IsolossError, Status
from isoloss.fitting import fit, isoflop
from isoloss.laws import Chinchilla, SaturatingPowerLaw
from isoloss.laws.bends import M4, BrokenPowerLaw
from isoloss.laws.forms import Law
from isoloss.runs import Runs
from isoloss.trust.draws import bootstrap
from isoloss.trust.forecast_model import ForecastModel, posterior

Array = NDArray[np.float64]
EXPONENTS = (0.25, 0.30, 0.36)
SPREADS = (0.12, 0.25)
DRIFTS = (0.005, 0.0075, 0.011)
RATIOS = (0.5, 1.0)
DRAWS, NOTEBOOK_DRAWS, RESAMPLES = 1000, 300, 4000
PARTS = ("median error", "bias", "coverage", "half-width", "score")


@dataclass(frozen=True)
class Score:
    """What one method did on one view, in log loss."""

    view: str
    experiment: str
    error: float
    bias: float
    coverage: float
    half_width: float
    score: float

    @classmethod
    def of(cls, view: View, low: Array, mid: Array, high: Array) -> Score:
        """Score log losses, each (m,), against the test runs."""
        seen = np.log(view.test.loss)
        outside = np.maximum(low - seen, 0.0) + np.maximum(seen - high, 0.0)
        return cls(
            view=view.name,
            experiment=view.experiment,
            error=float(np.median(np.abs(mid - seen))),
            bias=float(np.mean(mid - seen)),
            coverage=float(np.mean((low <= seen) & (seen <= high))),
            half_width=float(np.median(high - low)) / 2,
            score=float(np.mean(high - low + 20.0 * outside)),
        )

    @property
    def numbers(self) -> tuple[float, ...]:
        return self.error, abs(self.bias), self.coverage, self.half_width, self.score


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    found = views(options.data)
    grid = [ForecastModel(*numbers) for numbers in product(EXPONENTS, SPREADS, DRIFTS, RATIOS)]
    with ThreadPoolExecutor(options.workers) as pool:
        peers = list(pool.map(notebook_score, found))
        plain = list(pool.map(plain_score, found))
        tried = list(pool.map(model_scores, found, [grid] * len(found)))
    table = np.array(tried)  # (views, models)
    chosen = {name: choose(table, leave=name) for name in sorted({v.experiment for v in found})}
    left_out = [table[i, chosen[view.experiment]] for i, view in enumerate(found)]
    best = choose(table)
    by_view(found, {"notebook": peers, "plain": plain, "model, left out": left_out})
    summary(
        {
            "notebook": peers,
            "plain bootstrap": plain,
            "model, experiment left out": left_out,
            "model, all tables": list(table[:, best]),
            "model, default": [model_scores(view, [ForecastModel()])[0] for view in found],
        },
        *(f"Without {name}: {described(grid[index])}." for name, index in chosen.items()),
        f"With all: {described(grid[best])}.",
    )
    one_variable(found, {v.experiment: grid[chosen[v.experiment]] for v in found})


def notebook_score(view: View) -> Score:
    drawn = notebook(view.train, view.test, NOTEBOOK_DRAWS, np.random.default_rng(0))
    low, high = np.percentile(drawn[1:], [5, 95], axis=0)
    return Score.of(view, low, drawn[0], high)


def plain_score(view: View) -> Score:
    draws = bootstrap(fit(Chinchilla, view.train), draws=DRAWS, seed=0)
    interval = draws.predict(view.test.n, view.test.d, forecast="plain")
    return Score.of(view, *(np.log(part) for part in interval))


def model_scores(view: View, models: Sequence[ForecastModel]) -> list[Score]:
    fitted = fit(Chinchilla, view.train)
    found = []
    for model in models:
        drawn = posterior(model, fitted, draws=DRAWS, seed=0).losses(view.test.n, view.test.d)
        low, mid, high = np.quantile(np.log(drawn), [0.05, 0.5, 0.95], axis=0)
        found.append(Score.of(view, low, mid, high))
    return found


def choose(table: NDArray[np.object_], leave: str = "") -> int:
    """The model (column) of least mean score over the experiments but for the one left out."""
    kept = [column[[s.experiment != leave for s in column]] for column in table.T]
    return int(np.argmin([over_experiments(list(column))[-1] for column in kept]))


def over_experiments(scores: Sequence[Score]) -> Array:
    """The mean over experiments of the means over their views, of every part: (5,)."""
    return np.mean(list(by_experiment(scores).values()), axis=0)


def by_experiment(scores: Sequence[Score]) -> dict[str, Array]:
    names = sorted({score.experiment for score in scores})
    return {
        name: np.mean([s.numbers for s in scores if s.experiment == name], axis=0) for name in names
    }


def described(model: ForecastModel) -> str:
    return (
        f"exponents {model.exponent:g} with spread {model.exponent_spread:g}, "
        f"drift {model.drift:g}, ratio {model.ratio:g}"
    )


def by_view(found: Sequence[View], methods: dict[str, list[Score]]) -> None:
    rows = []
    for i, view in enumerate(found):
        for name, scores in methods.items():
            s = scores[i]
            reach = float(view.test.c.max() / view.train.c.max())
            rows.append(
                (
                    view.name, f"{len(view.train)}/{len(view.test)}", f"{reach:.0f}x", name,
                    f"{100 * s.error:.2f} %", f"{100 * s.bias:+.2f} %", f"{s.coverage:.2f}",
                    f"{100 * s.half_width:.2f} %", f"{s.score:.4f}",
                )
            )  # fmt: skip
    results.append(
        "extrapolation", ("view", "runs", "reach", "method", *PARTS), rows, "Every view. Log loss."
    )


def summary(methods: dict[str, list[Score]], *notes: str) -> None:
    rows = []
    reference = by_experiment(methods["notebook"])
    for name, scores in methods.items():
        error, bias, coverage, width, score = over_experiments(scores)
        of = by_experiment(scores)
        lower = sum(of[key][-1] < reference[key][-1] for key in of)
        random = np.random.default_rng(0)
        shares = np.array([part[2] for part in of.values()])
        resampled = random.choice(shares, size=(RESAMPLES, len(shares))).mean(axis=1)
        low, high = np.quantile(resampled, [0.05, 0.95])
        rows.append(
            (
                name, f"{100 * error:.2f} %", f"{100 * bias:.2f} %",
                f"{coverage:.2f} ({low:.2f}-{high:.2f})", f"{100 * width:.2f} %", f"{score:.4f}",
                f"{score / over_experiments(methods['notebook'])[-1]:.2f}",
                f"{lower} of {len(of)}",
                ", ".join(f"{key} {part[2]:.2f}" for key, part in of.items()),
            )
        )  # fmt: skip
    results.append(
        "extrapolation",
        ("method", *PARTS, "/ notebook", "better in", "coverage by experiment"),
        rows,
        "Means over six experiments; of coverage with the 90 % range of resampled experiments.",
        *notes,
    )


def one_variable(found: Sequence[View], models: dict[str, ForecastModel]) -> None:
    """Laws of compute alone, through the best run of each budget, where a view has budgets."""
    rows = []
    for view in found:
        train, test = frontier(view.train), frontier(view.test)
        errors = [approach_two_error(view, test)]
        errors += [law_error(form, train, test) for form in (M4, BrokenPowerLaw)]
        fitted = fit(Chinchilla, view.train)
        drawn = posterior(models[view.experiment], fitted, draws=DRAWS, seed=0)
        mid = np.median(drawn.losses(test.n, test.d), axis=0)
        ours = float(np.median(np.abs(np.log(mid / test.loss))))
        rows.append((view.name, f"{len(train)}/{len(test)}", f"{100 * ours:.2f} %", *errors))
    results.append(
        "extrapolation",
        ("view", "budgets", "model, left out", "approach 2", "M4 of c", "broken law of c"),
        rows,
        "Median error on the best run of each budget above the cut. Approach 2: E + A/c^a through "
        "the IsoFLOP minima below it. M4 and the broken law: through the best runs below it. *: an "
        "exponent at the end of its range, or no settled optimum, which `fit` reports as doubt. -: "
        "refused, for too few budgets or minima.",
    )


def frontier(runs: Runs) -> Runs:
    """The run of least loss among those within a tenth of a decade of compute."""
    budget = np.round(10 * np.log10(runs.c)).astype(int)
    return runs[[int(rows[np.argmin(runs.loss[rows])]) for rows in groups(budget)]]


def groups(labels: NDArray[np.int_]) -> list[NDArray[np.intp]]:
    return [np.flatnonzero(labels == label) for label in np.unique(labels)]


def approach_two_error(view: View, test: Runs) -> str:
    try:
        usable = [budget for budget in isoflop(view.train).budgets if budget.usable]
        if len(usable) < 3:
            return "-"
        n, d, c, loss = np.array([(b.n_opt, b.d_opt, b.c, b.loss_opt) for b in usable]).T
        return law_error(SaturatingPowerLaw, Runs(n=n, d=d, c=c, loss=loss), test)
    except IsolossError:
        return "-"


def law_error(form: type[Law], train: Runs, test: Runs) -> str:
    """The median error of a law of compute, marked where `fit` doubts it, "-" where it refuses."""
    try:
        fitted = fit(form, train, x="c")
    except IsolossError:
        return "-"
    error = float(np.median(np.abs(np.log(fitted.law(test.c) / test.loss))))
    sure = Status.AT_BOUND not in fitted.status and Status.NOT_CONVERGED not in fitted.status
    return f"{100 * error:.2f} %" + ("" if sure else " *")


if __name__ == "__main__":
    main()
