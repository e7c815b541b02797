"""From loss to what a benchmark shows: the second of two steps, after a law has given the loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike

from isoloss.laws.forms import Array, Coefficient


@dataclass(frozen=True)
class DownstreamError:
    """The mean error of a set of tasks at a loss: err = eps - k * exp(-gamma * loss).

    eps: the error of a guess, a share. k: a share. gamma: per nat. Coefficients may be arrays (k,).
    Source: Gadre et al. 2024, Err(L). Fitted by `fit_downstream`.
    """

    eps: Coefficient
    k: Coefficient
    gamma: Coefficient

    variables: ClassVar[tuple[str, ...]] = ("loss",)

    def __call__(self, loss: ArrayLike) -> Array:
        """Return the mean error, a share, at `loss` in nats."""
        return np.asarray(
            self.eps - self.k * np.exp(-self.gamma * np.asarray(loss, dtype=np.float64))
        )

    def coefficients(self) -> dict[str, Coefficient]:
        return {"eps": self.eps, "k": self.k, "gamma": self.gamma}
