"""The pictures of the best step, the rule of the rate, and branches."""

from __future__ import annotations

import math

import numpy as np
import pytest

from isoloss.figures import best_rates, best_step, branch_losses, short_number
from isoloss.fitting import batch_rate_rule, fit_line_search
from isoloss.laws.relations import BatchRate

pytest.importorskip("matplotlib")

BATCHES = np.array([1.0, 4.0, 16.0, 64.0, 256.0])


@pytest.mark.parametrize("what", ["eps", "gain"])
def test_the_best_step_has_points_the_fit_and_what_the_hessian_says(what: str) -> None:
    rng = np.random.default_rng(1)
    eps = [0.5 / (1 + 20 / b) * 2.0 ** np.arange(-2, 3) for b in BATCHES]
    change = [
        (-e + e**2 * (1 + 20 / b)) * (1 + 0.1 * rng.normal(size=(8, 1)))
        for e, b in zip(eps, BATCHES, strict=True)
    ]
    found = fit_line_search(BATCHES, eps, change)
    ax = best_step(found, what, said=BatchRate(0.4, 30.0), unit="images")
    expected = found.eps_opt.mid if what == "eps" else found.gain.mid
    points = next(line for line in ax.lines if line.get_marker() == "o")
    assert np.asarray(points.get_ydata()) == pytest.approx(expected)
    texts = [text.get_text() for text in ax.texts]
    assert "Hessian: B = 30" in texts
    fit = found.of_eps if what == "eps" else found.of_gain
    assert f"searched: B = {short_number(fit.law.b_star)}" in texts
    dashed = next(line for line in ax.lines if line.get_linestyle() == "--")
    assert np.asarray(dashed.get_ydata())[-1] == pytest.approx(0.4 / (1 + 30 / 256))
    assert ax.get_xlabel() == "batch, images"


def test_the_rule_of_the_rate_has_a_diamond_where_it_turns() -> None:
    found = batch_rate_rule(BATCHES, BatchRate(0.3, 40.0, 0.8)(BATCHES))
    ax = best_rates(found)
    diamond = next(line for line in ax.lines if line.get_marker() == "D")
    assert float(diamond.get_xdata()[0]) == pytest.approx(40.0, rel=0.01)
    assert {text.get_text() for text in ax.texts} == {"alpha = 0.8", "B* = 40"}
    far = batch_rate_rule(BATCHES[:4], BatchRate(0.3, 4000.0)(BATCHES[:4]), alpha=1.0)
    assert all(line.get_marker() != "D" for line in best_rates(far).lines)


def test_branches_that_diverged_are_carets_at_the_top() -> None:
    ax = branch_losses(
        [4, 8, 16],
        [0.0, 0.01, math.inf],
        [0.0, -0.01, math.inf],
        [0.0, 0.03, math.inf],
        tolerance=0.02,
    )
    caret = next(line for line in ax.lines if line.get_marker() == "^")
    assert list(caret.get_xdata()) == [16]
    assert [text.get_text() for text in ax.texts] == ["tolerance, +0.02"]
    assert "diverged" in ax.get_title(loc="right")
