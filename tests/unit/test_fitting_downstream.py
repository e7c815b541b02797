"""Downstream error from loss: recovery, an oracle, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from isoloss.errors import InputError, UnidentifiedError
from isoloss.fitting import fit_downstream
from isoloss.laws import DownstreamError

LOSS = np.array([2.31, 2.62, 2.9, 3.17, 3.55, 4.08])


@pytest.mark.parametrize("gamma", [0.05, 0.3, 0.756, 2.4, 9.0])
def test_a_noise_free_curve_is_recovered(gamma: float) -> None:
    law = DownstreamError(0.85, 0.4 * np.exp(gamma * 2.31), gamma)
    found = fit_downstream(LOSS, law(LOSS)).law
    for name, value in law.coefficients().items():
        assert getattr(found, name) == pytest.approx(value, rel=1e-6)


def test_the_optimum_is_curve_fit_s() -> None:
    optimize = pytest.importorskip("scipy.optimize")
    random = np.random.default_rng(4)
    error = DownstreamError(0.85, 2.079, 0.756)(LOSS) + 0.004 * random.standard_normal(6)

    def curve(x, eps, k, gamma):
        return eps - k * np.exp(-gamma * x)

    oracle, _ = optimize.curve_fit(curve, LOSS, error, p0=(0.85, 2.0, 0.75), maxfev=20000)
    found = fit_downstream(LOSS, error)
    assert found.objective <= 0.5 * np.sum((curve(LOSS, *oracle) - error) ** 2) * (1 + 1e-10)
    assert found.law.gamma == pytest.approx(oracle[2], rel=1e-3)
    assert found.residuals == pytest.approx(found.law(LOSS) - error, abs=1e-14)


@pytest.mark.parametrize(
    ("loss", "error", "kind", "message"),
    [
        (LOSS, 1 - LOSS / 10, UnidentifiedError, "does not rise"),
        (LOSS, 0.1 + 0.1 * LOSS, UnidentifiedError, "does not bend"),
        ([2.0, 2.0, 3.0], [0.5, 0.5, 0.6], UnidentifiedError, "2 distinct losses"),
        (LOSS, 50 + LOSS, InputError, "share between 0 and 1"),
        (-LOSS, LOSS / 10, InputError, "positive number of nats"),
        (LOSS, LOSS[:4] / 10, InputError, "shapes"),
    ],
)
def test_what_cannot_be_answered_is_refused(loss, error, kind, message: str) -> None:
    with pytest.raises(kind, match=message):
        fit_downstream(loss, error)
