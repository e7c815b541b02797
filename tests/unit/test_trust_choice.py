"""Rolling back-tests and the choice between laws, on truths whose form is known."""

from __future__ import annotations

import numpy as np
import pytest

from isoloss.errors import InputError, UnidentifiedError
from isoloss.laws import Chinchilla, KaplanND, PowerLaw, SaturatingPowerLaw
from isoloss.runs import Runs
from isoloss.trust.choice import choose, rolling_backtest

HOFFMANN = Chinchilla(E=1.69, A=406.4, B=410.7, alpha=0.34, beta=0.28)
KAPLAN = KaplanND(Nc=6.4e13, Dc=1.8e13, alpha_n=0.076, alpha_d=0.103)


def grid(law: Chinchilla | KaplanND, noise: float, seed: int) -> Runs:
    n, d = (a.ravel() for a in np.meshgrid(np.geomspace(2e6, 9e8, 7), np.geomspace(3e7, 4e10, 6)))
    random = np.random.default_rng(seed)
    return Runs(n=n, d=d, loss=law(n, d) * np.exp(noise * random.standard_normal(n.size)))


def test_error_and_coverage_are_told_by_decade() -> None:
    runs = grid(HOFFMANN, 0.002, seed=5)
    rolling = rolling_backtest(Chinchilla, runs, cuts=3, draws=120)
    assert [test.cutoff for test in rolling.tests] == sorted(t.cutoff for t in rolling.tests)
    assert len(rolling.tests) == 3
    reaches = rolling.by_reach()
    assert [reach.low for reach in reaches] == [10.0**k for k in range(len(reaches))]
    assert len(reaches) >= 3
    assert sum(reach.runs for reach in reaches) == sum(len(test.test) for test in rolling.tests)
    scores = np.concatenate([test.scores for test in rolling.tests])
    weighted = sum(reach.runs * reach.score for reach in reaches)
    assert weighted == pytest.approx(scores.sum())
    assert rolling.score == pytest.approx(np.mean([test.score for test in rolling.tests]))
    assert reaches[0].coverage >= 0.85


@pytest.mark.parametrize(("truth", "form"), [(HOFFMANN, Chinchilla), (KAPLAN, KaplanND)])
def test_the_form_that_made_the_runs_is_chosen(
    truth: Chinchilla | KaplanND, form: type[Chinchilla] | type[KaplanND]
) -> None:
    choice = choose((Chinchilla, KaplanND), grid(truth, 0.003, seed=11), cuts=2, draws=100)
    assert choice.form is form
    assert choice.tests[0].form is form
    assert choice.tests[0].score < choice.tests[1].score
    assert not choice.left_out


def test_a_form_that_the_runs_do_not_fix_is_left_out_with_its_reason() -> None:
    c = np.geomspace(1e16, 1e20, 20)
    noise = np.exp(0.001 * np.random.default_rng(2).standard_normal(20))
    runs = Runs(n=c**0.5, d=c**0.5 / 6, loss=(3e12 / c) ** 0.05 * noise)
    choice = choose((PowerLaw, SaturatingPowerLaw), runs, x="c", cuts=2, draws=100)
    assert {one.form for one in choice.tests} | {form for form, _ in choice.left_out} == {
        PowerLaw,
        SaturatingPowerLaw,
    }
    with pytest.raises(UnidentifiedError, match="Chinchilla"):
        choose((Chinchilla,), runs, cuts=2, draws=100)


def test_what_cannot_be_tested_is_refused() -> None:
    runs = grid(HOFFMANN, 0.002, seed=5)
    with pytest.raises(UnidentifiedError, match="cannot be back-tested: too few runs below"):
        rolling_backtest(Chinchilla, runs[np.argsort(runs.c)[:7]])
    with pytest.raises(InputError, match="cuts is 0"):
        rolling_backtest(Chinchilla, runs, cuts=0)
    with pytest.raises(InputError, match="one form or more"):
        choose((), runs)
    with pytest.raises(InputError, match=r"in a list, such as \(Chinchilla, KaplanND\)"):
        choose(Chinchilla, runs)
