"""Kaplan's relations beside the losses of n and d: loss against steps, critical batch, trends.

`KaplanNS` is a loss law like those of `forms`; `CriticalBatch` turns between what was spent and
the least steps or compute that would have done; `BatchRate` is the learning rate that a batch
wants; `PowerRelation` is any other trend.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike

from isoloss.laws.forms import Array, Coefficient, Law, log


@dataclass(frozen=True)
class KaplanNS(Law):
    """Loss from parameters and steps: loss = (Nc / n) ** alpha_n + (Sc / s_min) ** alpha_s.

    Nc: parameters, Sc: optimizer steps, at which that term gives 1 nat. `s_min` is the number of
    steps that a batch far above the critical one would need (Eq. 5.4).
    Source: Kaplan et al. 2020, Eq. 1.6 (= 5.6).
    """

    Nc: Coefficient
    Sc: Coefficient
    alpha_n: Coefficient
    alpha_s: Coefficient

    variables = ("n", "s_min")
    scales = ("Nc", "Sc")
    exponents: ClassVar = {"alpha_n": (1e-3, 5.0), "alpha_s": (1e-3, 5.0)}

    def log_terms(self, *logs: Array) -> tuple[Array, ...]:
        return (
            self.alpha_n * (log(self.Nc) - logs[0]),
            self.alpha_s * (log(self.Sc) - logs[1]),
        )


@dataclass(frozen=True)
class CriticalBatch:
    """The critical batch at a loss: b_crit = b_star / loss ** (1 / alpha_b).

    b_star: tokens. alpha_b: without unit. Training at b_crit takes twice the least steps and
    twice the least tokens that the loss needs.
    Source: Kaplan et al. 2020, Eqs 1.4 (= 5.3), 5.4 and 5.5.
    """

    b_star: float
    alpha_b: float

    variables: ClassVar[tuple[str, ...]] = ("loss",)

    def __call__(self, loss: ArrayLike) -> Array:
        """Return the critical batch in tokens at `loss` in nats."""
        return np.asarray(self.b_star * np.asarray(loss, dtype=np.float64) ** (-1 / self.alpha_b))

    def s_min(self, steps: ArrayLike, batch: ArrayLike, loss: ArrayLike) -> Array:
        """Return the steps a batch far above critical would need: steps / (1 + b_crit / batch).

        steps: updates made, batch: tokens per update, loss: nats, reached. Source: Eq. 5.4.
        """
        return np.asarray(
            np.asarray(steps, dtype=np.float64) / (1 + self(loss) / np.asarray(batch))
        )

    def c_min(self, c: ArrayLike, batch: ArrayLike, loss: ArrayLike) -> Array:
        """Return the compute a batch far below critical would need: c / (1 + batch / b_crit).

        c: compute spent, in any unit; batch: tokens per update; loss: nats, reached.
        Source: Eq. 5.5.
        """
        return np.asarray(np.asarray(c, dtype=np.float64) / (1 + np.asarray(batch) / self(loss)))

    def coefficients(self) -> dict[str, Coefficient]:
        return {"b_star": self.b_star, "alpha_b": self.alpha_b}


@dataclass(frozen=True)
class BatchRate:
    """The learning rate that a batch wants: rate = rate_max / (1 + b_star / batch) ** alpha.

    rate_max: that of very large batches. b_star: in the unit of the batch; far below it rates grow
    as batch ** alpha. alpha: 1 for SGD, between 1/2 and 1 for Adam.
    Source: McCandlish et al. 2018, Eq. 2.6 and appendix A.3.
    """

    rate_max: float
    b_star: float
    alpha: float = 1.0

    variables: ClassVar[tuple[str, ...]] = ("batch",)

    def __call__(self, batch: ArrayLike) -> Array:
        """Return the rate at a batch."""
        ratio = self.b_star / np.asarray(batch, dtype=np.float64)
        return np.asarray(self.rate_max * (1.0 + ratio) ** -self.alpha)

    def coefficients(self) -> dict[str, Coefficient]:
        return {"rate_max": self.rate_max, "b_star": self.b_star, "alpha": self.alpha}


@dataclass(frozen=True)
class PowerRelation:
    """A trend that is not a loss: y = coefficient * x ** exponent."""

    coefficient: float
    exponent: float

    variables: ClassVar[tuple[str, ...]] = ("x",)

    def __call__(self, x: ArrayLike) -> Array:
        return np.asarray(self.coefficient * np.asarray(x, dtype=np.float64) ** self.exponent)

    def coefficients(self) -> dict[str, Coefficient]:
        return {"coefficient": self.coefficient, "exponent": self.exponent}
