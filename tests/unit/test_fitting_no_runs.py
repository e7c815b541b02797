"""A table without rows is legal, and is refused by one sentence wherever runs are needed."""

from __future__ import annotations

import numpy as np
import pytest

import isoloss as il
from isoloss.errors import InputError
from isoloss.fitting import envelope, fit, fit_shared, frontier, isoflop, tune
from isoloss.laws import Chinchilla, PowerLaw

LAW = Chinchilla(1.69, 406.4, 410.7, 0.34, 0.28)


def no_runs() -> il.Runs:
    n, d = np.geomspace(1e7, 1e9, 12), np.geomspace(1e9, 3e10, 12)[::-1]
    runs = il.Runs(n=n, d=d, loss=LAW(n, d), lr=np.full(12, 1e-3))
    return runs[runs.loss > 100]


@pytest.mark.parametrize(
    "call",
    [
        lambda runs: fit(Chinchilla, runs),
        lambda runs: fit(PowerLaw, runs, x="c"),
        lambda runs: fit_shared(Chinchilla, runs, ("alpha", "beta")),
        frontier,
        envelope,
        isoflop,
        il.approaches,
        lambda runs: il.conventions(Chinchilla, runs, flops=1e22),
        lambda runs: il.backtest(Chinchilla, runs),
    ],
)
def test_no_runs_are_refused_in_one_sentence(call) -> None:
    with pytest.raises(InputError, match="no runs are left"):
        call(no_runs())


def test_a_sweep_without_runs_has_no_rates() -> None:
    with pytest.raises(InputError, match="no learning rate"):
        tune(no_runs())
