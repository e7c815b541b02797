"""One fit of several groups of runs: what they share, what is their own, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from isoloss.errors import InputError, Status, UnidentifiedError
from isoloss.fitting import fit, fit_shared
from isoloss.laws import Chinchilla, KaplanND, SaturatingPowerLaw
from isoloss.runs import Runs

LAWS = {
    "books": Chinchilla(1.7, 400.0, 900.0, 0.34, 0.29),
    "code": Chinchilla(0.9, 310.0, 1500.0, 0.34, 0.29),
    "web": Chinchilla(2.2, 350.0, 1300.0, 0.34, 0.29),
}


def group(name: str, law, count: int = 14, noise: float = 0.0) -> Runs:
    random = np.random.default_rng(len(name) + 10 * count)
    n, d = 10 ** random.uniform(6, 9, count), 10 ** random.uniform(8, 11, count)
    loss = law(n, d) * np.exp(noise * random.standard_normal(count))
    return Runs(n=n, d=d, loss=loss, group=[name] * count, run=[f"{name}{i}" for i in range(count)])


def several(noise: float = 0.0) -> Runs:
    sizes = {"books": 14, "code": 12, "web": 6}
    parts = [group(name, law, sizes[name], noise) for name, law in LAWS.items()]
    return Runs.concat(parts)


@pytest.mark.parametrize("shared", [("alpha", "beta"), ("beta",), "alpha"])
def test_every_group_s_law_is_recovered(shared) -> None:
    found = fit_shared(Chinchilla, several(), shared)
    assert found.check() is found
    assert list(found.laws) == ["books", "code", "web"]
    for name, law in LAWS.items():
        for key, value in law.coefficients().items():
            assert getattr(found.laws[name], key) == pytest.approx(value, rel=1e-6)
    assert np.abs(found.residuals).max() < 1e-9


def test_sharing_all_is_one_fit_and_the_objective_falls_as_less_is_shared() -> None:
    runs = several(noise=0.01)
    whole = fit(Chinchilla, runs).objective
    every = fit_shared(Chinchilla, runs, ("E", "A", "B", "alpha", "beta"))
    assert every.objective == pytest.approx(whole, rel=1e-8)
    some = fit_shared(Chinchilla, runs, ("alpha", "beta"))
    own = sum(fit(Chinchilla, runs[runs.group == name]).objective for name in LAWS)
    assert own <= some.objective * (1 + 1e-9) <= every.objective
    assert len({law.alpha for law in some.laws.values()}) == 1


def test_least_squares_agree_with_scipy() -> None:
    optimize = pytest.importorskip("scipy.optimize")
    runs = several(noise=0.01)
    _, number = np.unique(runs.group, return_inverse=True)

    def residuals(p):
        e, a, b = np.exp(p[:9]).reshape(3, 3)
        at = number
        predicted = e[at] + a[at] * runs.n ** -p[9] + b[at] * runs.d ** -p[10]
        return np.log(predicted / runs.loss)

    start = np.r_[np.log([[1.7, 0.9, 2.2], [400, 310, 350], [900, 1500, 1300]]).ravel(), 0.34, 0.29]
    oracle = optimize.least_squares(residuals, start, xtol=1e-15, ftol=1e-15, gtol=1e-15)
    found = fit_shared(Chinchilla, runs, ("alpha", "beta"), delta=None)
    assert found.objective == pytest.approx(oracle.cost, rel=1e-9)


def test_other_laws_share_scales_and_outer_exponents_too() -> None:
    floor = SaturatingPowerLaw(1.3, 50.0, 0.2)
    runs = Runs.concat(
        [group("a", lambda n, d: floor(n)), group("bb", lambda n, d: 2 * floor(n) - 1.3)]
    )
    found = fit_shared(SaturatingPowerLaw, runs, ("E", "alpha"), x="n")
    assert pytest.approx(1.3, rel=1e-6) == found.laws["bb"].E
    assert pytest.approx(100.0, rel=1e-5) == found.laws["bb"].A
    kaplan = KaplanND(6.4e13, 1.8e13, 0.076, 0.103)
    other = replace(kaplan, Nc=2e13)
    runs = Runs.concat([group("a", kaplan), group("bb", other)])
    found = fit_shared(KaplanND, runs, ("Dc", "alpha_n", "alpha_d"))
    assert found.laws["bb"].Nc == pytest.approx(2e13, rel=1e-5)
    assert found.laws["a"].Dc == found.laws["bb"].Dc


def test_what_cannot_be_shared_or_told_apart_is_refused() -> None:
    runs = several(noise=0.01)
    for shared, message in (
        (("gamma",), "has no coefficient 'gamma'"),
        ((), "shared is empty"),
        (("E",), "E is fixed"),
    ):
        with pytest.raises(InputError, match=message):
            fit_shared(Chinchilla, runs, shared, fixed={"E": 1.5})
    with pytest.raises(InputError, match="one group"):
        fit_shared(Chinchilla, runs[runs.group == "web"], ("alpha",))
    few = Runs.concat([group("books", LAWS["books"]), group("web", LAWS["web"], count=2)])
    with pytest.raises(UnidentifiedError, match="share more") as caught:
        fit_shared(Chinchilla, few, ("alpha", "beta"))
    assert set(caught.value.partial.laws) == {"books", "web"}
    enough = fit_shared(Chinchilla, few, ("A", "B", "alpha", "beta"))
    assert enough.laws["web"].E > 0
    assert Status.NOT_CONVERGED not in enough.status


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"residual": "foo"}, 'residual is "log" or "linear"'),
        ({"delta": -1.0}, "delta must be"),
        ({"delta": 0.0}, "delta must be"),
        ({"asymmetry": -1.0}, "asymmetry must be"),
        ({"asymmetry": float("nan")}, "asymmetry must be"),
    ],
)
def test_the_cost_is_checked_as_by_fit(wrong: dict, says: str) -> None:
    for call in (lambda: fit(Chinchilla, several(), **wrong), lambda: shared_fit(**wrong)):
        with pytest.raises(InputError, match=says):
            call()


def shared_fit(**options):
    return fit_shared(Chinchilla, several(), ("alpha", "beta"), **options)


def test_an_effect_that_vanished_in_one_group_is_refused_as_by_fit() -> None:
    def free_of_n(n, d):
        return 1.9 + 900.0 * d**-0.29

    runs = Runs.concat([group("books", LAWS["books"], noise=0.003), group("web", free_of_n)])
    alone = fit(Chinchilla, runs[runs.group == "web"], fixed={"alpha": 0.34})
    with pytest.raises(UnidentifiedError, match="came out zero"):
        alone.check()
    found = fit_shared(Chinchilla, runs, ("alpha", "beta"))
    assert Status.VANISHED_TERM in found.status
    with pytest.raises(UnidentifiedError, match="group 'web'") as caught:
        found.check()
    assert caught.value.partial is found
