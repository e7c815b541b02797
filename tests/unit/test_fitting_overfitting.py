"""Overfitting, the tokens that avoid it and the early stop, against Kaplan's own numbers."""

from __future__ import annotations

import numpy as np
import pytest

from isoloss.errors import InputError
from isoloss.fitting import earliest_stop, fit, overfitting, tokens_needed
from isoloss.laws import Chinchilla, KaplanND, KaplanNS, published
from isoloss.runs import Runs

KAPLAN = published.KAPLAN_2020.loss_nd
STEPS = published.KAPLAN_2020.loss_ns
LAW = Chinchilla(1.69, 406.4, 410.7, 0.34, 0.28)


def test_kaplans_numbers() -> None:
    """Eqs 4.3, 4.4 and 5.7 at 1e9 parameters, with Table 2 and Table 3."""
    assert float(overfitting(KAPLAN, 1e9, 22e9)) == pytest.approx(0.0217705289, rel=1e-8)
    assert float(earliest_stop(KAPLAN, STEPS, 1e9, 1e9)) == pytest.approx(5584.929048, rel=1e-8)
    needed = float(tokens_needed(KAPLAN, 1e9, 0.02))
    assert needed == pytest.approx(5e3 * 1e9**0.74, rel=0.06)  # printed to one digit
    # "an 8 times larger model needs about 5 times the data"
    assert float(tokens_needed(KAPLAN, 8e9) / needed) == pytest.approx(8**0.738, rel=1e-3)


def test_the_closed_form_is_the_ratio_of_losses() -> None:
    n, d = np.array([1e6, 1e8, 1e10]), np.array([[1e8], [1e10]])
    law = KAPLAN.law if hasattr(KAPLAN, "law") else KAPLAN
    ratio = law(n, d) / law(n, np.inf) - 1
    assert overfitting(KAPLAN, n, d) == pytest.approx(ratio, rel=1e-9)
    by_bisection = tokens_needed(lambda a, b: law(a, b), n, 0.02)
    assert by_bisection == pytest.approx(tokens_needed(KAPLAN, n, 0.02), rel=1e-9)


@pytest.mark.parametrize("penalty", [0.001, 0.02, 0.3])
def test_the_tokens_needed_overfit_by_just_the_penalty(penalty: float) -> None:
    n = np.array([1e7, 3e9])
    for law in (KAPLAN, LAW):
        d = tokens_needed(law, n, penalty)
        assert overfitting(law, n, d) == pytest.approx(np.full(2, penalty), rel=1e-6)
    exact = (410.7 / (penalty * LAW(n, np.inf))) ** (1 / 0.28)
    assert tokens_needed(LAW, n, penalty) == pytest.approx(exact, rel=1e-9)


def test_arrays_of_laws_and_laws_that_lose_nothing() -> None:
    many = KaplanND(
        Nc=np.array([6.4e13, 1e13]), Dc=np.array([1.8e13, 1e13]), alpha_n=0.076, alpha_d=0.103
    )
    assert overfitting(many, 1e9, 22e9)[0] == pytest.approx(0.0217705289, rel=1e-8)
    no_text = Chinchilla(1.69, 406.4, 0.0, 0.34, 0.28)
    assert float(overfitting(no_text, 1e9, 1e9)) == 0.0
    assert float(earliest_stop(no_text, STEPS, 1e9, 1e9)) == np.inf
    stops = earliest_stop(LAW, KaplanNS(6.5e13, 2.1e3, 0.077, 0.76), 1e9, [1e9, 1e10, 1e11])
    assert (np.diff(stops) > 0).all()


def test_steps_may_be_a_fit_and_nothing_but_a_law_of_steps() -> None:
    random = np.random.default_rng(5)
    n, steps, batch = 10 ** random.uniform(6, 9, 40), 10 ** random.uniform(3, 5, 40), 2.0**19
    runs = Runs(n=n, d=steps * batch, loss=STEPS(n, steps), steps=steps, batch=np.full(40, batch))
    found = fit(KaplanNS, runs, given={"s_min": steps})
    least = float(earliest_stop(LAW, STEPS, 1e9, 1e10))
    assert float(earliest_stop(LAW, found, 1e9, 1e10)) == pytest.approx(least, rel=1e-4)
    for wrong, says in ((LAW, "not a Chinchilla"), (KaplanNS, "not KaplanNS"), (None, "NoneType")):
        with pytest.raises(InputError, match=f"steps is a KaplanNS or a fit of one, .*{says}"):
            earliest_stop(LAW, wrong, 1e9, 1e10)


def test_wrong_input_is_refused() -> None:
    with pytest.raises(InputError, match="d must be positive"):
        overfitting(LAW, 1e9, 0.0)
    with pytest.raises(InputError, match="penalty must be positive"):
        tokens_needed(LAW, 1e9, -0.1)
    with pytest.raises(InputError, match="unlimited tokens"):
        overfitting(lambda n, d: 1 / d, 1e9, 1e9)
