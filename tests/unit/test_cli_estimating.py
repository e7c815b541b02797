"""What `isoloss fit` is told to hold: read as people write it, refused in one line."""

from __future__ import annotations

from typing import get_args

import pytest

from isoloss.cli.options import AnyForm, Estimating, LossUnit, law_of
from isoloss.errors import InputError
from isoloss.laws import CriticalBatch
from isoloss.laws.forms import Law
from isoloss.runs.columns import LOSS_UNITS


def test_coefficients_to_hold_are_numbers_as_people_write_them() -> None:
    assert Estimating().fixed() is None
    assert Estimating(fix="E=1.7, xc=88T").fixed() == {"E": 1.7, "xc": 8.8e13}
    given = Estimating(critical_batch="b_star=2e8,alpha_b=0.21").given()
    assert given == {"s_min": CriticalBatch(2e8, 0.21)}


@pytest.mark.parametrize("text", ["E", "E=", "E=one", "=1;2"])
def test_a_wrong_list_is_one_clear_line(text: str) -> None:
    with pytest.raises(InputError, match=r"--fix .* is not of the form E=1.7"):
        Estimating(fix=text).fixed()
    with pytest.raises(InputError, match=r"--critical-batch .* is not of the form"):
        Estimating(critical_batch="b_star=2e8").given()


def test_every_form_names_a_law() -> None:
    def names(form: object) -> list[str]:
        return [
            n for part in get_args(form) for n in ([part] if isinstance(part, str) else names(part))
        ]

    found = {law_of(name) for name in names(AnyForm)}
    assert len(found) == len(names(AnyForm)) == 11
    assert all(issubclass(law, Law) for law in found)


def test_the_units_of_a_loss_are_those_that_are_read() -> None:
    assert get_args(LossUnit) == LOSS_UNITS
