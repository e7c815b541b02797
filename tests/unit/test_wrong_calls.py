"""Wrong calls in Python: one line that says what to give, and never an error of numpy's."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from isoloss.errors import InputError
from isoloss.fitting import Fit, fit, tune
from isoloss.laws import Chinchilla
from isoloss.runs import Runs
from isoloss.trust import approaches, bootstrap, conventions, profile, track

N, D = (x.ravel() for x in np.meshgrid([3e7, 1e8, 3e8, 9e8], [1e9, 4e9, 1.6e10]))
LOSS = Chinchilla(1.8, 480.0, 2100.0, 0.35, 0.37)(N, D)
RUNS = Runs(n=N, d=D, loss=LOSS * np.exp(0.003 * np.random.default_rng(8).standard_normal(12)))


@pytest.fixture(scope="module")
def found() -> Fit:
    return fit(Chinchilla, RUNS)


CALLS: list[tuple[Callable[[Fit], object], str]] = [
    (lambda f: fit(Chinchilla, RUNS, delta="a"), "delta must be a positive number"),
    (lambda f: fit(Chinchilla, RUNS, asymmetry="a"), "asymmetry must be a positive number"),
    (lambda f: fit(Chinchilla, RUNS, weights="a"), "weights must be numbers, one for each of 12"),
    (lambda f: fit(Chinchilla, RUNS, fixed={"E": "a"}), "fixed holds coefficients by name"),
    (lambda f: fit(Chinchilla, RUNS, fixed="E=1"), "fixed holds coefficients by name"),
    (lambda f: fit(Chinchilla, "runs.csv"), "give a table of Runs, such as read_runs"),
    (lambda f: bootstrap(RUNS), "bootstrap takes a fit, such as fit"),
    (lambda f: bootstrap(f, draws=10.5), "draws is a whole number from 2"),
    (lambda f: bootstrap(f, draws="a"), "draws is a whole number from 2"),
    (lambda f: bootstrap(f, delta="a"), "delta must be a positive number"),
    (
        lambda f: bootstrap(f, draws=9).interval(lambda law: law.E, 0.999),
        "9 draws are too few for an interval at level 0.999: take 10,000",
    ),
    (lambda f: profile(RUNS, "E"), "profile takes a fit, such as fit"),
    (lambda f: profile(f, lambda law: 3.0), "of gives the same number whatever the law"),
    (lambda f: profile(f, lambda law: "a"), "must return one finite number"),
    (lambda f: profile(f, 3), "is no coefficient that was fitted"),
    (lambda f: profile(f, "E", level="a"), "level is a share between 0 and 1"),
    (lambda f: track("run.jsonl", f), "track takes the record of a run, such as read_record"),
    (lambda f: tune("runs.csv"), "tune takes a table of Runs, such as read_runs"),
    (lambda f: tune(RUNS, draws="a"), "draws is a whole number from 100"),
    (lambda f: tune(RUNS, seed=-1), "seed is a whole number from 0"),
    (lambda f: approaches(RUNS, seed=-1), "seed is a whole number from 0"),
    (lambda f: conventions(Chinchilla, RUNS, seed=0.5), "seed is a whole number from 0"),
    (lambda f: approaches(RUNS, level=0.9999, draws=50), "50 draws are too few"),
    (lambda f: conventions(Chinchilla, RUNS, level=0.9999, draws=50), "50 draws are too few"),
    (lambda f: tune(RUNS, level=0.99999), "1000 draws are too few"),
]


@pytest.mark.parametrize(("call", "says"), CALLS)
def test_a_wrong_call_is_told_what_to_give(
    found: Fit, call: Callable[[Fit], object], says: str
) -> None:
    with pytest.raises(InputError, match=says) as caught:
        call(found)
    assert "\n" not in str(caught.value)
