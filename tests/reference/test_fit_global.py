"""The optimum is the global one: against a dense multi-start search by scipy, on public tables."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from isoloss.errors import UnidentifiedError
from isoloss.fitting import fit
from isoloss.laws import (
    M3,
    M4,
    BrokenPowerLaw,
    Chinchilla,
    ChinchillaTied,
    KaplanND,
    SaturatingPowerLaw,
)
from isoloss.runs import Runs
from isoloss.trust import bootstrap

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


PORIAN = [
    "rw_base_long_kaplan_attention_train",
    "rw_base_long_kaplan_kaplan_train",
    "rw_base_long_kaplan_standard_val",
    "rw_base_short_chinchilla_attention_train",
    "rw_base_short_chinchilla_standard_val",
    "rw_base_short_kaplan_attention_train",
    "rw_base_short_kaplan_standard_val",
    "rw_tuned_long_const_kaplan_train",
    "rw_tuned_short_const_attention_train",
    "rw_tuned_short_const_standard_val",
]
TABLES = {
    "kyotakano": ("kyotakano_chinchilla.csv", "loss > 0"),
    "epoch, all 245": ("epoch_chinchilla.csv", "loss > 0"),
    "apple": ("chinchilla_isoflop.csv", "outlier == 0"),
    "misfitting, all": ("misfitting_final.csv", "loss > 0"),
    "marin comma, all": ("marin_comma.csv", "loss > 0"),
    "marin dclm, all": ("marin_dclm.csv", "loss > 0"),
    "datablations, 182": ("datablations.csv", "in_fit182 == 1"),
    **{
        f"porian {dataset}": ("porian_refinedweb_isoflop.csv.gz", f"experiment == {dataset!r}")
        for dataset in PORIAN
    },
}


def of_table(folder: Path, name: str) -> Runs:
    file, where = TABLES[name]
    table = pd.read_csv(folder / file).query(where, engine="python")
    n, d, c, loss = table[["N", "D", "C", "loss"]].astype(float).dropna().to_numpy().T
    return Runs(n=n, d=d, c=c, loss=loss)


@pytest.mark.parametrize(
    "view", ["epoch_chinchilla", "misfitting_bestlr", *VIEWS[1:3], *VIEWS[6:9]]
)
def test_good_tables_are_not_refused(shared_data: Path, view: str) -> None:
    """Chinchilla's runs, (Mis)Fitting at the best rate, Marin's ladders and Gadre's runs."""
    fitted = fit(Chinchilla, load(shared_data, view)).check()
    assert bootstrap(fitted, draws=100).failed < 10


def own_oracle(form, variables, loss, starts, ends) -> float:
    """The least objective of a law called as users call it; scales are sought by their logarithm.

    Slopes come from a complex step through the law's own formula, not from the solver.
    """
    names = list(form.__dataclass_fields__)
    names = [name for name in names if name in (*form.scales, *form.exponents)]
    logged = [name in form.scales or name in ("xc", "d1", "gamma") for name in names]

    def value(p):
        at = {name: np.exp(v) if log else v for name, v, log in zip(names, p, logged, strict=True)}
        law = form(**at)
        r = np.log(law(*variables)) - np.log(loss)
        small = np.abs(r) <= DELTA
        huber = np.where(small, 0.5 * r * r, DELTA * (np.abs(r) - 0.5 * DELTA)).sum()
        pull = np.where(small, r, DELTA * np.sign(r)) / law(*variables)
        slopes = []
        for name, log in zip(names, logged, strict=True):
            shifted = form(**{**at, name: at[name] + 1e-30j})(*variables).imag / 1e-30
            slopes.append((pull * shifted).sum() * (at[name] if log else 1.0))
        return huber, np.array(slopes)

    found = []
    with np.errstate(all="ignore"):
        for start in starts:
            done = optimize.minimize(
                value, start, method="L-BFGS-B", jac=True, bounds=ends, options={"maxiter": 1000}
            )
            found.append(done)
        best = min(found, key=lambda result: result.fun)
        for _ in range(2):
            simplex = optimize.minimize(
                lambda p: value(p)[0],
                best.x,
                method="Nelder-Mead",
                bounds=ends,
                options={"maxiter": 3000, "xatol": 1e-10, "fatol": 1e-16},
            )
            best = min(best, simplex, key=lambda result: result.fun)
    return float(best.fun)


def spread(ends, count: int, seed: int = 0) -> np.ndarray:
    low, high = np.array(ends).T
    return np.random.default_rng(seed).uniform(low, high, (count, len(low)))


@pytest.mark.full
@pytest.mark.parametrize("name", TABLES)
def test_no_multistart_search_beats_the_fit_on_the_other_tables(
    shared_data: Path, name: str
) -> None:
    runs = of_table(shared_data, name)
    least = own_oracle(
        Chinchilla,
        (runs.n, runs.d),
        runs.loss,
        spread([(-2, 1), (2, 12), (2, 14), (0.05, 0.9), (0.05, 0.9)], 40),
        [(-60, 3), (-60, 90), (-60, 120), (0.01, 5), (0.01, 5)],
    )
    agree(fit(Chinchilla, runs).objective, least)
    least = own_oracle(
        ChinchillaTied,
        (runs.n, runs.d),
        runs.loss,
        spread([(-2, 1), (2, 10), (2, 10), (0.05, 0.9)], 25),
        [(-60, 3), (-60, 90), (-60, 120), (0.01, 5)],
    )
    agree(fit(ChinchillaTied, runs).objective, least)


SERIES = [("LM", "1.07e+09"), ("NMT", "6 Enc, 6 Dec")]


@pytest.mark.full
@pytest.mark.parametrize(("domain", "model"), SERIES)
def test_no_multistart_search_beats_the_laws_that_bend(
    shared_data: Path, domain: str, model: str
) -> None:
    table = pd.read_csv(shared_data / "revisit_lang.csv")
    rows = table[(table["Domain"] == domain) & (table["Model"].astype(str) == model)]
    x, loss = rows[["D", "loss"]].to_numpy(float).T
    low, high = np.log(x.min()), np.log(x.max())
    runs = Runs(n=x, d=x, loss=loss)
    cases = {
        M3: [(-5, 9), (-high - np.log(1e3), -low + np.log(1e3)), (0.01, 5)],
        M4: [(-60, 3), (-60, 5), (0.01, 10), (low - np.log(1e3), high + np.log(1e2)), (0.01, 5)],
        BrokenPowerLaw: [
            *((-60, 3), (-60, 90), (1e-3, 5), (-5, 20)),
            *((low + np.log(0.3), high + np.log(3)), (0.01, 5)),
        ],
    }
    begin = {
        M3: [(-1, 6), (-high, -low), (0.02, 1)],
        M4: [(-6, 0), (-2, 2), (0.1, 5), (low - 3, high), (0.05, 1.5)],
        BrokenPowerLaw: [(-6, 0), (-1, 8), (0.01, 0.5), (-0.3, 1), (low, high), (0.05, 2)],
    }
    for form, ends in cases.items():
        least = own_oracle(form, (x,), loss, spread(begin[form], 24), ends)
        try:
            found = fit(form, runs, x="n").objective
        except UnidentifiedError as error:
            found = error.partial.objective
        assert found <= least * (1 + 1e-9), form
