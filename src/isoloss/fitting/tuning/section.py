"""The section of a bowl along the learning rate, which the estimate and its picture share."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from isoloss.laws.forms import Array

_FLAT = 1e-6  # a lean that rounding cannot tell from none


def steady(gamma: ArrayLike) -> Array:
    """Return the lean gamma, or a small one in the place of none, to divide by."""
    lean = np.asarray(gamma, dtype=np.float64)
    return np.asarray(np.where(np.abs(lean) < _FLAT, _FLAT, lean))


def phi(z: Array, gamma: ArrayLike) -> Array:
    """Return the section of a bowl of curvature one, (exp(gamma z) - 1 - gamma z) / gamma^2.

    z: ln lr less that of the optimum. gamma: the lean, broadcast against z; z^2 / 2 for none.
    """
    lean = steady(gamma)
    return np.asarray((np.expm1(lean * z) - lean * z) / lean**2)
