"""Several data sets in one table, losses with too few digits, numbers that no run has."""

from __future__ import annotations

import numpy as np
import pytest

from isoloss.errors import FitError, Status
from isoloss.fitting import fit, inspect_runs
from isoloss.laws import Chinchilla
from isoloss.runs import Runs

WEB = Chinchilla(1.7, 400.0, 410.0, 0.34, 0.28)
CODE = Chinchilla(0.9, 900.0, 100.0, 0.4, 0.22)


def study(
    law: Chinchilla = WEB, *, other: bool = False, seed: int = 0, noise: float = 3e-3
) -> Runs:
    """Five sizes on six numbers of tokens, or four on five that lie between those."""
    sizes = np.geomspace(1.3e7, 6e8, 4) if other else np.geomspace(1e7, 8.1e8, 5)
    tokens = np.geomspace(3e8, 4e10, 5) if other else np.geomspace(2e8, 5e10, 6)
    n, d = (column.ravel() for column in np.meshgrid(sizes, tokens))
    random = np.random.default_rng(seed)
    loss = law(n, d) * np.exp(noise * random.standard_normal(n.size))
    return Runs(n=n, d=d, loss=loss, n_convention="total")


def seen(runs: Runs) -> dict[Status, str]:
    try:
        found = fit(Chinchilla, runs)
    except FitError as error:
        found = error.partial  # type: ignore[assignment]
    return {one.code: one.detail for one in found.findings}


def test_one_data_set_has_nothing_wrong_with_it() -> None:
    for seed in range(20):
        assert seen(study(seed=seed)) == {}
        assert seen(study(CODE, seed=seed, noise=0.01)) == {}


def test_two_data_sets_on_one_design_are_told_by_runs_of_one_size_and_tokens() -> None:
    both = Runs.concat([study(), study(CODE, seed=1)])
    (finding,) = [one for one in inspect_runs(both) if one.code is Status.MIXED_DATA]
    assert finding.detail.startswith("60 of 60 runs share n, d and settings with another")
    assert Status.MIXED_DATA in fit(Chinchilla, both).status
    # With a group of their own the runs of one size are no copies: the groups are named instead.
    named = both.replace(group=["web"] * 30 + ["code"] * 30)
    found = seen(named)
    assert Status.MIXED_DATA not in found
    assert "group 'web' lie" in found[Status.MIXED_GROUPS] or "'code'" in found[Status.MIXED_GROUPS]


def test_seeds_and_rates_left_untuned_are_no_data_sets() -> None:
    runs = study()
    noisy = [runs.replace(loss=runs.loss * factor) for factor in (1.0, 1.01, 1.06)]
    assert not [one for one in inspect_runs(Runs.concat(noisy)) if one.code is Status.MIXED_DATA]


@pytest.mark.parametrize(("floor", "apart"), [(1.8, "3%"), (2.0, "9%"), (2.3, "17%")])
def test_two_data_sets_on_two_designs_lie_in_two_bands(floor: float, apart: str) -> None:
    harder = study(Chinchilla(floor, 400.0, 410.0, 0.34, 0.28), other=True, seed=1)
    found = seen(Runs.concat([study(), harder]))
    assert found[Status.MIXED_DATA].startswith(
        f"30 runs have losses {apart} below those of the other 20"
    )


def test_two_data_sets_of_unlike_laws_are_missed_by_every_law() -> None:
    both = Runs.concat([study(), study(CODE, other=True, seed=1)])
    assert "from the law" in seen(both)[Status.POOR_FIT]
    with pytest.raises(FitError, match=r"seen in the runs: .*half of the losses lie"):
        fit(Chinchilla, both).check()


def test_a_law_along_the_lower_edge_is_meant_to_miss() -> None:
    runs = study(noise=0.2)
    assert Status.POOR_FIT in fit(Chinchilla, runs).status
    assert Status.POOR_FIT not in fit(Chinchilla, runs, asymmetry=10.0).status


@pytest.mark.parametrize(
    ("digits", "says"), [(0, "whole numbers"), (1, "rounded to 0.1"), (2, ""), (3, "")]
)
def test_losses_with_too_few_digits(digits: int, says: str) -> None:
    runs = study()
    found = fit(Chinchilla, runs.replace(loss=np.round(runs.loss, digits)))
    assert (Status.ROUNDED_LOSSES in found.status) == bool(says)
    if says:
        (detail,) = [one.detail for one in found.findings if one.code is Status.ROUNDED_LOSSES]
        assert detail.startswith(f"all losses are {says}, which alone scatters them by ")


def test_one_digit_is_enough_where_runs_scatter_more() -> None:
    runs = study(noise=0.05)
    assert Status.ROUNDED_LOSSES not in seen(runs.replace(loss=np.round(runs.loss, 1)))


@pytest.mark.parametrize(
    ("name", "factor", "says"),
    [
        ("n", 1e-29, "n is 1.00e-22 to 8.10e-21: in no unit is that a count"),
        ("n", 1e-6, "n is 10.0 to 810: is it in millions or billions?"),
        ("n", 1e18, "n is 1.00e+25 to 8.10e+26: there are not so many parameters in any model"),
        ("d", 1e12, "there are not so many tokens of text"),
        ("d", 1e6, "is n in millions?"),
    ],
)
def test_counts_that_no_run_has(name: str, factor: float, says: str) -> None:
    runs = study()
    (finding,) = inspect_runs(runs.replace(**{name: getattr(runs, name) * factor}))
    assert finding.code is Status.WRONG_UNITS
    assert says in finding.detail


@pytest.mark.parametrize("factor", [1e-30, 1e20])
@pytest.mark.parametrize("convention", ["kaplan", "exact", "reported"])
def test_a_compute_that_no_run_has(factor: float, convention: str) -> None:
    runs = study()
    (finding,) = inspect_runs(runs.replace(c=factor * runs.c, c_convention=convention))
    assert finding.code is Status.FLOPS_RATIO
