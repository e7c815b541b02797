"""The search for where a test turns, and for where a curve is lowest."""

from __future__ import annotations

import numpy as np
import pytest

from isoloss.errors import InputError
from isoloss.laws.forms import positive
from isoloss.laws.search import LOG_SIZES, minimum, turning


def test_turning_closes_in_on_each_of_many_places() -> None:
    places = np.array([1.25, 7.0, 41.4])
    before, after = turning(lambda u: u >= places, *LOG_SIZES)
    assert (before < places).all()
    assert (after == places).all()
    assert (after - before <= 2 * np.spacing(places)).all()


def test_turning_goes_either_way_and_each_from_its_own_ends() -> None:
    before, after = turning(lambda u: np.abs(u) > 0.5, [0.0, 0.0], [3.0, -8.0])
    assert before.tolist() == [0.5, -0.5]
    assert (np.abs(after) > 0.5).all()
    assert after == pytest.approx(before, abs=1e-15)


def test_fewer_steps_leave_a_wider_gap() -> None:
    before, after = turning(lambda u: u > 0.3, 0.0, 1.0, steps=5)
    assert after - before == 1 / 32
    assert before <= 0.3 < after


def test_the_lowest_point_is_found_off_the_origin() -> None:
    lows = np.array([3.7, 11.2])
    found = minimum(lambda u: np.cosh(u - lows) + 5.0, np.array([1.0, 9.0]), np.array([6.0, 15.0]))
    assert found == pytest.approx(lows, abs=1e-9)


@pytest.mark.parametrize("value", [0.0, -1.0, np.nan, np.inf, [1.0, -2.0]])
def test_what_is_not_positive_is_refused_by_name(value: object) -> None:
    with pytest.raises(InputError, match="ratio must be positive and finite"):
        positive(value, "ratio")  # type: ignore[arg-type]
