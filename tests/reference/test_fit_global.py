"""The optimum is the global one: against a dense multi-start search by scipy, on public tables."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from isoloss.fitting import fit
from isoloss.laws import Chinchilla, KaplanND, SaturatingPowerLaw
from isoloss.runs import Runs

optimize = pytest.importorskip("scipy.optimize")

DELTA = 1e-3
VIEWS = [
    "epoch_chinchilla",
    "marin_comma",
    "marin_dclm",
    "misfitting_bestlr",
    "porian_rw_cosine",
    "porian_rw_tuned",
    "gadre_c4",
    "gadre_rpj",
    "gadre_rw",
    "datablations",
]


def load(folder: Path, view: str) -> Runs:
    views = pd.read_csv(folder / "views.csv").set_index("name")
    row = views.loc[view]
    table = pd.read_csv(folder / row["file"]).query(row["filter"], engine="python")
    table = table[[row["n_column"], "D", "C", "loss"]].astype(float).dropna()
    n, d, c, loss = table.to_numpy().T
    return Runs(n=n, d=d, c=c, loss=loss)


def chinchilla(p, x, y):
    a, b, e, alpha, beta = p
    parts = [np.exp(np.clip(t, -300, 300)) for t in (a - alpha * x, b - beta * y)]
    parts.append(np.full_like(x, np.exp(e)))
    total = sum(parts)
    slopes = [parts[0], parts[1], parts[2], -parts[0] * x, -parts[1] * y]
    return np.log(total), np.array(slopes) / total


def kaplan(p, x, y):
    a, b, alpha_n, alpha_d = p
    ratio = alpha_n / alpha_d
    parts = [np.exp(np.clip(t, -300, 300)) for t in (a - ratio * x, b - y)]
    total = parts[0] + parts[1]
    slopes = [
        alpha_d * parts[0],
        alpha_d * parts[1],
        -parts[0] * x,
        parts[0] * x * ratio + total * np.log(total),
    ]
    return alpha_d * np.log(total), np.array(slopes) / total


def saturating(p, x, _):
    a, e, alpha = p
    part, floor = np.exp(np.clip(a - alpha * x, -300, 300)), np.full_like(x, np.exp(e))
    total = part + floor
    return np.log(total), np.array([part, floor, -part * x]) / total


def objective(p, model, x, y, log_loss):
    log_predicted, slopes = model(p, x, y)
    r = log_predicted - log_loss
    small = np.abs(r) <= DELTA
    huber = np.where(small, 0.5 * r * r, DELTA * (np.abs(r) - 0.5 * DELTA))
    return huber.sum(), slopes @ np.where(small, r, DELTA * np.sign(r))


def oracle(model, starts, bounds, x, y, log_loss) -> float:
    """The least objective from every start, by L-BFGS-B and then BFGS and Nelder-Mead."""
    args = (model, x, y, log_loss)
    found = [
        optimize.minimize(
            objective,
            start,
            args,
            "L-BFGS-B",
            jac=True,
            bounds=bounds,
            options={"maxiter": 2000, "ftol": 1e-15, "gtol": 1e-12},
        )
        for start in starts
    ]
    best = min(found, key=lambda result: result.fun)
    for _ in range(3):
        simplex = optimize.minimize(
            lambda p: objective(p, *args)[0],
            best.x,
            method="Nelder-Mead",
            options={"maxiter": 4000, "xatol": 1e-11, "fatol": 1e-17},
        )
        inside = all(lo <= v <= hi for v, (lo, hi) in zip(simplex.x, bounds, strict=True))
        if inside and simplex.fun < best.fun:
            best = simplex
    return float(best.fun)


def agree(found: float, least: float) -> None:
    """Nothing beats the fit, and the search is good enough for that to mean something."""
    assert found <= least * (1 + 1e-9)
    assert least <= found * (1 + 1e-2)


@pytest.mark.full
@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("cut", [False, True], ids=["all", "below"])
def test_no_multistart_search_beats_the_fit(shared_data: Path, view: str, cut: bool) -> None:
    runs = load(shared_data, view)
    if cut:
        c_cut = pd.read_csv(shared_data / "views.csv").set_index("name").loc[view, "c_cut"]
        runs = runs[runs.c <= c_cut]
    x, y = np.log(runs.n) - np.log(runs.n).mean(), np.log(runs.d) - np.log(runs.d).mean()
    log_loss = np.log(runs.loss)
    low, middle = log_loss.min(), np.median(np.exp(log_loss))
    exponents = (0.03, 0.15, 0.4, 1.0, 2.5)
    starts = []
    for alpha, beta, share in product(exponents, exponents, (0.05, 0.6, 0.95)):
        e = share * np.exp(low)
        rest = np.log(max(middle - e, 1e-3) / 2)
        starts.append(np.array([rest, rest, np.log(e), alpha, beta]))
    bounds = [(-60, 60), (-60, 60), (-60, 3), (0.01, 5), (0.01, 5)]
    least = oracle(chinchilla, starts, bounds, x, y, log_loss)
    agree(fit(Chinchilla, runs).objective, least)

    starts = []
    for alpha_n, alpha_d in product((0.02, 0.05, 0.1, 0.3, 1.0, 2.0), repeat=2):
        half = np.log(0.5) + np.log(middle) / alpha_d
        starts.append(np.array([half, half, alpha_n, alpha_d]))
    bounds = [(-500, 500), (-500, 500), (0.01, 3), (0.01, 3)]
    least = oracle(kaplan, starts, bounds, x, y, log_loss)
    agree(fit(KaplanND, runs).objective, least)

    starts = [
        np.array([np.log(max(middle - share * np.exp(low), 1e-3)), np.log(share) + low, alpha])
        for alpha, share in product((0.02, 0.05, 0.1, 0.3, 1.0, 3.0), (0.05, 0.6, 0.95))
    ]
    z = np.log(runs.c) - np.log(runs.c).mean()
    least = oracle(saturating, starts, [(-60, 60), (-60, 3), (0.01, 5)], z, z, log_loss)
    agree(fit(SaturatingPowerLaw, runs, x="c").objective, least)
