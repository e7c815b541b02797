"""The scale of noise by the median, and the level of an interval."""

from __future__ import annotations

import numpy as np
import pytest

from isoloss.errors import InputError
from isoloss.fitting.intervals import check_level, check_reach, log_interval, robust_scale


def test_the_robust_scale_is_that_of_a_normal_and_hardly_that_of_its_outliers() -> None:
    random = np.random.default_rng(11)
    noise = 0.013 * random.standard_normal(40001)
    assert robust_scale(noise) == pytest.approx(0.013, rel=0.02)
    assert robust_scale(-noise) == robust_scale(noise)
    wild = noise.copy()
    wild[:400] = 50.0
    assert robust_scale(wild) == pytest.approx(robust_scale(noise), rel=0.03)


def test_the_coefficients_that_were_fitted_enlarge_it() -> None:
    residuals = [0.1, -0.3, 0.2, 0.05, -0.15]
    assert robust_scale(residuals) == pytest.approx(1.4826 * 0.15)
    assert robust_scale(residuals, 2) == pytest.approx(1.4826 * 0.15 * np.sqrt(5 / 2))


@pytest.mark.parametrize("level", [0.0, 1.0, 90, float("nan")])
def test_a_level_is_a_share(level: float) -> None:
    for call in (check_level, lambda level: log_interval(1.0, 0.1, 5, level)):
        with pytest.raises(InputError, match="level is a share"):
            call(level)


@pytest.mark.parametrize(
    ("level", "fewest"), [(0.5, 20), (0.68, 32), (0.9, 100), (0.95, 200), (0.99, 1000)]
)
def test_an_interval_is_told_from_ten_draws_outside_it(level: float, fewest: int) -> None:
    check_reach(level, fewest)
    with pytest.raises(
        InputError, match=f"{fewest - 1} draws are too few .* take {fewest:,} draws"
    ):
        check_reach(level, fewest - 1)


def test_the_lower_level_that_is_offered_is_one_that_would_do() -> None:
    with pytest.raises(InputError, match=r"or a level of 0\.8$"):
        check_reach(0.9, 50)
    check_reach(0.8, 50)
    with pytest.raises(InputError, match=r"take 100 draws or more$"):
        check_reach(0.9, 10)
