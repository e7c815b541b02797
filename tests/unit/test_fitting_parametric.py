"""`fit`: what it finds, what it doubts, what it refuses and how it says so."""

from __future__ import annotations

import numpy as np
import pytest

from isoloss.errors import FitError, InputError, Status, UnidentifiedError
from isoloss.fitting import fit
from isoloss.laws import Chinchilla, KaplanND, PowerLaw, SaturatingPowerLaw
from isoloss.runs import Runs

LAW = Chinchilla(1.7, 400.0, 2000.0, 0.34, 0.37)
SIZES = np.array([1.1e6, 4.3e6, 1.7e7, 6.1e7])
TOKENS = np.array([1.3e7, 4.9e7, 2.1e8, 8.8e8])


def runs_at(n, d, noise: float = 0.0, seed: int = 0, law=LAW) -> Runs:
    n, d = np.asarray(n, float), np.asarray(d, float)
    random = np.random.default_rng(seed)
    return Runs(n=n, d=d, loss=law(n, d) * np.exp(noise * random.standard_normal(n.shape)))


def grid(noise: float = 0.0, seed: int = 0, law=LAW) -> Runs:
    n, d = np.meshgrid(SIZES, TOKENS)
    return runs_at(n.ravel(), d.ravel(), noise, seed, law)


def test_a_noise_free_law_is_recovered() -> None:
    found = fit(Chinchilla, grid())
    for name, value in LAW.coefficients().items():
        assert found.coefficients[name] == pytest.approx(value, rel=1e-6)
    assert found.status == ()
    assert found.check() is found
    assert np.abs(found.residuals).max() < 1e-10


def test_residuals_are_log_predicted_less_log_observed() -> None:
    runs = grid(noise=0.01)
    for residual in ("log", "linear"):
        found = fit(Chinchilla, runs, residual=residual)
        expected = np.log(found.law(runs.n, runs.d) / runs.loss)
        assert found.residuals == pytest.approx(expected, abs=1e-14)


def test_the_objective_is_the_sum_of_huber_losses() -> None:
    runs = grid(noise=0.01)
    for residual, delta in (("log", 1e-3), ("linear", 0.02), ("log", None), ("linear", None)):
        found = fit(Chinchilla, runs, residual=residual, delta=delta)
        r = found.residuals if residual == "log" else found.law(runs.n, runs.d) - runs.loss
        size = np.abs(r)
        losses = 0.5 * r**2
        if delta is not None:
            losses = np.where(size <= delta, losses, delta * (size - 0.5 * delta))
        assert found.objective == pytest.approx(losses.sum(), rel=1e-9)


@pytest.mark.parametrize("residual", ["log", "linear"])
def test_least_squares_agree_with_scipy(residual: str) -> None:
    optimize = pytest.importorskip("scipy.optimize")
    runs = grid(noise=0.005)

    def residuals(p):
        predicted = Chinchilla(p[0], np.exp(p[1]), np.exp(p[2]), p[3], p[4])(runs.n, runs.d)
        return np.log(predicted / runs.loss) if residual == "log" else predicted - runs.loss

    start = [1.7, np.log(400), np.log(2000), 0.34, 0.37]
    oracle = optimize.least_squares(residuals, start, xtol=1e-15, ftol=1e-15, gtol=1e-15)
    found = fit(Chinchilla, runs, residual=residual, delta=None)
    assert found.objective == pytest.approx(oracle.cost, rel=1e-9)
    assert found.law.alpha == pytest.approx(oracle.x[3], rel=1e-4)


def test_fixed_coefficients_stay_and_cost_something() -> None:
    runs = grid(noise=0.005)
    free = fit(Chinchilla, runs)
    for fixed in ({"E": 1.6}, {"alpha": 0.3}, {"E": 0.0}, {"A": 380.0, "beta": 0.4}):
        held = fit(Chinchilla, runs, fixed=fixed)
        for name, value in fixed.items():
            assert held.coefficients[name] == value
        assert held.objective >= free.objective * (1 - 1e-12)
    own = fit(Chinchilla, runs, fixed={"B": free.coefficients["B"]})
    assert own.objective == pytest.approx(free.objective, rel=1e-8)


def test_a_kaplan_law_with_a_fixed_coefficient_is_recovered() -> None:
    law = KaplanND(6.4e13, 1.8e13, 0.076, 0.103)
    runs = grid(law=law)
    for fixed in ({}, {"Nc": 6.4e13}, {"alpha_d": 0.103}, {"Dc": 1.8e13, "alpha_n": 0.076}):
        found = fit(KaplanND, runs, fixed=fixed)
        for name, value in law.coefficients().items():
            assert found.coefficients[name] == pytest.approx(value, rel=1e-6)


def test_weights_are_multiplicities_and_zero_leaves_a_run_out() -> None:
    runs = grid(noise=0.01)
    twice = Runs.concat([runs, runs[:3]])
    weights = np.ones(len(runs))
    weights[:3] = 2.0
    assert fit(Chinchilla, runs, weights=weights).objective == pytest.approx(
        fit(Chinchilla, twice).objective, rel=1e-9
    )
    spoilt = runs.replace(loss=np.where(np.arange(len(runs)) == 5, 9.0, runs.loss))
    weights = (np.arange(len(runs)) != 5).astype(float)
    left_out = fit(Chinchilla, spoilt, weights=weights)
    assert left_out.objective == pytest.approx(
        fit(Chinchilla, runs[weights > 0]).objective, rel=1e-9
    )
    assert len(left_out.residuals) == len(runs)


def test_one_gross_outlier_hardly_moves_the_fit() -> None:
    runs = grid(noise=0.003)
    spoilt = runs.replace(loss=np.where(np.arange(len(runs)) == 6, 3 * runs.loss, runs.loss))
    assert fit(Chinchilla, spoilt).law(3e8, 3e9) == pytest.approx(
        fit(Chinchilla, runs).law(3e8, 3e9), rel=0.01
    )


def test_one_variable_laws_take_the_variable_named() -> None:
    x = np.array([2e5, 9e5, 5e6, 3e7, 1e8, 7e8])
    power, floor = PowerLaw(8.8e13, 0.076), SaturatingPowerLaw(1.2, 50.0, 0.22)
    other = np.full_like(x, 1e9)
    assert fit(PowerLaw, Runs(n=x, d=other, loss=power(x)), x="n").law.xc == pytest.approx(8.8e13)
    assert fit(PowerLaw, Runs(n=other, d=x, loss=power(x)), x="d").law.alpha == pytest.approx(0.076)
    found = fit(SaturatingPowerLaw, Runs(n=other, d=other, c=x, loss=floor(x)), x="c")
    assert pytest.approx(1.2, rel=1e-7) == found.law.E


def test_a_pure_power_law_has_no_floor() -> None:
    x = np.exp(np.linspace(12.3, 24.1, 9))
    loss = PowerLaw(1e15, 0.09)(x)
    found = fit(SaturatingPowerLaw, Runs(n=x, d=x, loss=loss), x="n")
    assert pytest.approx(0.0, abs=1e-7) == found.law.E
    assert found.law.alpha == pytest.approx(0.09, rel=1e-6)
    assert found.check() is found


REFUSED = {
    "one size": (runs_at([1e6] * 6, [1e7, 2e7, 4e7, 8e7, 1.6e8, 3e8]), "all runs have the same n"),
    "one size, read off a figure": (
        runs_at(1e6 * np.array([1, 1.002, 0.999, 1.001, 1, 1.003]), np.geomspace(1e7, 3e8, 6)),
        "all runs have the same n",
    ),
    "one token count": (
        runs_at(np.geomspace(1e6, 1e8, 7), [3e8] * 7),
        "all runs have the same d.*75.0M and 1.20B",
    ),
    "two runs": (runs_at([1e6, 4e6], [1e7, 9e7]), "2 distinct runs .* cannot fix 5 coefficients"),
    "two runs, often": (
        runs_at([1e6, 4e6] * 6, [1e7, 9e7] * 6, noise=0.01),
        "2 distinct runs .* cannot fix",
    ),
    "three runs": (runs_at(SIZES[:3], TOKENS[:3]), "3 distinct runs"),
    "two sizes": (
        runs_at(np.repeat(SIZES[:2], 4), np.tile(TOKENS, 2)),
        "2 sizes and 4 token counts.*three or more different sizes",
    ),
    "tokens tied to size": (
        runs_at(np.geomspace(1e6, 1e9, 12), 20 * np.geomspace(1e6, 1e9, 12)),
        "d follows n in every run.*vary token counts at fixed n",
    ),
    "one budget": (
        runs_at(np.geomspace(1e6, 1e8, 9), 1e17 / np.geomspace(1e6, 1e8, 9)),
        "d follows n",
    ),
    "constant loss": (
        Runs(n=np.tile(SIZES, 4), d=np.repeat(TOKENS, 4), loss=np.full(16, 3.1)),
        "every run has the same loss",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_the_runs_cannot_answer_is_refused_with_what_would_mend_it(case: str) -> None:
    runs, message = REFUSED[case]
    with pytest.raises(UnidentifiedError, match=message) as caught:
        fit(Chinchilla, runs)
    assert caught.value.exit_code == 3
    assert "\n" not in str(caught.value)
    assert caught.value.partial.form is Chinchilla
    assert np.isfinite(list(caught.value.partial.coefficients.values())).all()


def test_other_laws_refuse_too() -> None:
    with pytest.raises(UnidentifiedError, match="at least 3 different values"):
        fit(SaturatingPowerLaw, runs_at(SIZES[:2], TOKENS[:2]), x="n")
    with pytest.raises(UnidentifiedError, match="all runs have the same n"):
        fit(KaplanND, runs_at([1e6] * 6, np.geomspace(1e7, 3e8, 6)))


def test_fixing_what_cannot_be_seen_makes_the_rest_answerable() -> None:
    one_size = runs_at([1e6] * 6, np.geomspace(1e7, 3e8, 6))
    found = fit(Chinchilla, one_size, fixed={"A": 400.0, "alpha": 0.34})
    assert found.law.beta == pytest.approx(0.37, rel=1e-6)


def test_doubts_are_codes_with_advice() -> None:
    flat = Runs(
        n=np.tile(SIZES, 4),
        d=np.repeat(TOKENS, 4),
        loss=3.0 + 400 / np.repeat(TOKENS, 4) ** 0.35,
    )
    found = fit(Chinchilla, flat)
    assert Status.VANISHED_TERM in found.status
    with pytest.raises(UnidentifiedError, match="no effect") as caught:
        found.check()
    assert caught.value.partial is found
    assert all(code.value and code.code for code in found.status)

    nearly_tied = runs_at(
        np.geomspace(1e6, 1e9, 14),
        20 * np.geomspace(1e6, 1e9, 14) * np.exp(0.25 * np.sin(np.arange(14.0) ** 2)),
    )
    assert Status.NOT_SEPARATED in fit(Chinchilla, nearly_tied).status
    assert (
        Status.FEW_RUNS
        in fit(Chinchilla, grid(noise=0.01)[np.array([0, 5, 10, 15, 2, 7, 8])]).status
    )
    eight = grid(noise=0.01)[np.array([0, 5, 10, 15, 2, 7, 8, 13])]
    assert Status.FEW_RUNS in fit(Chinchilla, eight).status
    assert Status.FEW_RUNS not in fit(Chinchilla, grid(noise=0.01)).status
    wide = fit(
        Chinchilla, runs_at(*np.exp(np.random.default_rng(1).uniform(15, 16, (2, 12))), 0.02)
    )
    assert set(wide.status) & {Status.WIDE_EXPONENT, Status.AT_BOUND, Status.VANISHED_TERM}


def test_a_straight_line_in_the_logarithm_sits_at_the_end_of_the_range() -> None:
    x = np.geomspace(1e5, 1e9, 9)
    logarithmic = Runs(n=x, d=x, loss=6.0 - 0.2 * np.log(x))
    found = fit(SaturatingPowerLaw, logarithmic, x="n", fixed={"E": 0.0})
    assert found.check() is found
    concave = Runs(n=x, d=x, loss=6.0 - 0.01 * np.log(x / 1e5) ** 2)
    found = fit(SaturatingPowerLaw, concave, x="n")
    assert set(found.status) & {Status.AT_BOUND, Status.VANISHED_TERM}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda r: fit(Chinchilla, r, residual="square"), "residual is"),
        (lambda r: fit(Chinchilla, r, delta=0.0), "delta must be"),
        (lambda r: fit(Chinchilla, r, delta=float("nan")), "delta must be"),
        (lambda r: fit(Chinchilla, r, fixed={"aplha": 0.3}), "did you mean 'alpha'"),
        (lambda r: fit(Chinchilla, r, fixed={"alpha": 0.0}), "not possible"),
        (lambda r: fit(Chinchilla, r, fixed={"E": -1.0}), "not possible"),
        (lambda r: fit(Chinchilla, r, fixed=LAW.coefficients()), "leave one free"),
        (lambda r: fit(Chinchilla, r, x="n"), "leave x= .* out"),
        (lambda r: fit(PowerLaw, r), "one variable"),
        (lambda r: fit(PowerLaw, r, x="loss"), "x is one of"),
        (lambda r: fit(PowerLaw, r, x="steps"), "do not have"),
        (lambda r: fit(Chinchilla, r, weights=[1.0]), "weights have shape"),
        (lambda r: fit(Chinchilla, r, weights=np.zeros(16)), "not all zero"),
        (lambda r: fit(Chinchilla, r, weights=-np.ones(16)), "not negative"),
        (lambda r: fit(LAW, r), "takes the class"),
    ],
)
def test_a_wrong_call_is_one_clear_line(call, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        call(grid())
    assert "\n" not in str(caught.value)
    assert not isinstance(caught.value, FitError)


def test_many_runs_are_searched_on_a_sample_and_finished_on_all() -> None:
    random = np.random.default_rng(11)
    n, d = np.exp(random.uniform(14, 21, 5000)), np.exp(random.uniform(16, 24, 5000))
    runs = runs_at(n, d, noise=0.004)
    found = fit(Chinchilla, runs)
    assert found.law.alpha == pytest.approx(0.34, abs=0.002)
    assert pytest.approx(1.7, abs=0.01) == found.law.E
    assert found.status == ()
