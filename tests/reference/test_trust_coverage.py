"""Nominal 90 % intervals hold the truth about 90 % of the time, on exact simulated laws.

For each study: runs from a known law with normal noise in log loss, fitted and resampled through
the public functions; then ln N* and the loss at the optimum for ten times the largest compute, and
the loss of a new run there, plainly. Refused studies are counted apart. What is not tested here,
because plain intervals do not claim it: truths that the law does not describe. The forecast model
covers more than it says on exact laws; `test_trust_forecast_model` holds it to that.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from isoloss.errors import FitError
from isoloss.fitting import fit
from isoloss.laws import Chinchilla, allocate
from isoloss.runs import Runs
from isoloss.trust import bootstrap

TRUTHS = {
    "Besiroglu": Chinchilla(1.8172, 477.84, 2143.86, 0.34731, 0.36718),
    "Hoffmann": Chinchilla(1.69337, 406.401, 410.7228, 0.33917, 0.28491),
}


def design(kind: str, count: int, law: Chinchilla) -> tuple[np.ndarray, np.ndarray]:
    """Sizes and tokens of an IsoFLOP, grid or ladder design of `count` runs."""
    if kind == "isoflop":
        budgets = {16: 3, 30: 5, 60: 6}[count]
        n, d = [], []
        for i, c in enumerate(np.logspace(18, 18 + 0.5 * (budgets - 1), budgets)):
            share = count // budgets + (i < count % budgets)
            sizes = allocate(law, c).n * np.geomspace(0.25, 4, share)
            n.append(sizes)
            d.append(c / (6 * sizes))
        return np.concatenate(n), np.concatenate(d)
    sizes, others = {16: (4, 4), 30: (6, 5), 60: (10, 6)}[count]
    n = np.logspace(7.5, 9, sizes)
    if kind == "grid":
        n, d = np.meshgrid(n, np.logspace(8.5, 10.5, others))
    else:
        n, ratio = np.meshgrid(n, np.geomspace(5, 100, others))
        d = n * ratio
    return n.ravel(), d.ravel()


@dataclass(frozen=True)
class Tally:
    """Shares of studies whose interval held the truth, and of those that were refused."""

    size: float
    loss: float
    run: float
    refused: float


def best(law: Chinchilla, c: float) -> tuple[np.ndarray, np.ndarray]:
    """ln N* and the loss there, by the closed form."""
    ratio = law.alpha * law.A / (law.beta * law.B)
    log_n = (np.log(ratio) + law.beta * np.log(c / 6)) / (law.alpha + law.beta)
    return log_n, law(np.exp(log_n), c / 6 / np.exp(log_n))


def study(truth: str, kind: str, count: int, sigma: float, studies: int, draws: int) -> Tally:
    law = TRUTHS[truth]
    n, d = design(kind, count, law)
    c = 10 * float((6 * n * d).max())
    true_size, true_loss = best(law, c)
    at = float(np.exp(true_size)), c / 6 / float(np.exp(true_size))
    held, refused = [], 0
    for seed in range(studies):
        random = np.random.default_rng([seed, count])
        loss = law(n, d) * np.exp(sigma * random.standard_normal(n.size))
        try:
            sample = bootstrap(fit(Chinchilla, Runs(n=n, d=d, loss=loss)), draws=draws, seed=seed)
        except FitError:
            refused += 1
            continue
        with np.errstate(all="ignore"):
            size = sample.interval(lambda law: best(law, c)[0])
            value = sample.interval(lambda law: best(law, c)[1])
        new = true_loss * np.exp(sigma * random.standard_normal())
        run = sample.predict(*at, forecast="plain")
        held.append(
            (
                size.low <= true_size <= size.high,
                value.low <= true_loss <= value.high,
                run.low <= new <= run.high,
            )
        )
    shares = np.mean(held, axis=0)
    return Tally(*(float(share) for share in shares), refused / studies)


def test_a_slice_of_the_coverage_study() -> None:
    tally = study("Besiroglu", "isoflop", 16, 0.005, studies=30, draws=150)
    assert tally.refused == 0
    assert tally.size >= 0.75
    assert tally.loss >= 0.75
    assert tally.run >= 0.75


@pytest.mark.full
@pytest.mark.parametrize("truth", TRUTHS)
@pytest.mark.parametrize(
    ("kind", "count", "sigma"),
    [("isoflop", 16, 0.005), ("grid", 30, 0.002), ("ladder", 16, 0.005), ("isoflop", 60, 0.015)],
)
def test_coverage(truth: str, kind: str, count: int, sigma: float) -> None:
    """200 studies: the standard error of a share of 0.9 is 0.021."""
    tally = study(truth, kind, count, sigma, studies=200, draws=300)
    print(truth, kind, count, sigma, tally)
    assert tally.refused <= 0.1
    for share in (tally.size, tally.loss, tally.run):
        assert 0.82 <= share <= 0.98
