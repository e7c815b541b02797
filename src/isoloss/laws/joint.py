"""Joint laws beside Chinchilla's: tied exponents, over-training, repeats, moving exponents."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike

from isoloss.laws.forms import Array, Coefficient, Law, log


@dataclass(frozen=True)
class ChinchillaTied(Law):
    """Chinchilla with one exponent for both: loss = E + A / n ** alpha + B / d ** alpha.

    E: nats, the loss of the text itself. A, B: nats times n ** alpha, d ** alpha. The best tokens
    per parameter are then the same at every compute.
    Source: Muennighoff et al. 2023; Gadre et al. 2024.
    """

    E: Coefficient
    A: Coefficient
    B: Coefficient
    alpha: Coefficient

    variables = ("n", "d")
    scales = ("E", "A", "B")
    exponents: ClassVar = {"alpha": (1e-2, 5.0)}

    def log_terms(self, *logs: Array) -> tuple[Array, ...]:
        log_n, log_d = logs
        return log(self.E), log(self.A) - self.alpha * log_n, log(self.B) - self.alpha * log_d


@dataclass(frozen=True)
class Overtraining(Law):
    """Loss from compute and tokens per parameter: E + (a * m ** eta + b / m ** eta) / c ** eta.

    E: nats. c: FLOPs, 6 n d. m = d / n. a, b: nats times c ** eta. It is ChinchillaTied in other
    coordinates: alpha = 2 eta, A = a / 6 ** eta, B = b / 6 ** eta (see `tied`).
    Source: Gadre et al. 2024, L(C, M); m is their token multiplier.
    """

    E: Coefficient
    a: Coefficient
    b: Coefficient
    eta: Coefficient

    variables = ("c", "m")
    scales = ("E", "a", "b")
    exponents: ClassVar = {"eta": (5e-3, 2.5)}

    def log_terms(self, *logs: Array) -> tuple[Array, ...]:
        log_c, log_m = logs
        return (
            log(self.E),
            log(self.a) + self.eta * (log_m - log_c),
            log(self.b) - self.eta * (log_m + log_c),
        )

    def tied(self) -> ChinchillaTied:
        """Return the same law of parameters and tokens, for c = 6 n d."""
        unit = 6.0**-self.eta
        return ChinchillaTied(self.E, self.a * unit, self.b * unit, 2 * self.eta)


@dataclass(frozen=True)
class DataConstrained(Law):
    """Loss where tokens repeat: E + A / n_eff ** alpha + B / d_eff ** beta.

    d_eff = u_d + u_d * Rd * (1 - exp(-r_d / Rd)), u_d = min(unique, d), r_d = d / u_d - 1 repeats;
    n_eff = u_n + u_n * Rn * (1 - exp(-r_n / Rn)), u_n = min(n, n_opt(u_d)), r_n = n / u_n - 1,
    n_opt(u) = G * (u * G) ** (beta / alpha), G = (alpha A / (beta B)) ** (1 / (alpha + beta)).
    Rd, Rn: how many repeats of the data, and how many times the parameters they call for, it takes
    until the next is worth 1 / e of the first. At unique = d and n <= n_opt it is Chinchilla.
    E, A, B, alpha, beta come from a first fit, to runs that see every token once: A and B stand in
    n_opt too, so that they cannot be sought beside the repeats.
    Source: Muennighoff et al. 2023, L(N, D, U).
    """

    E: Coefficient
    A: Coefficient
    B: Coefficient
    alpha: Coefficient
    beta: Coefficient
    Rd: Coefficient
    Rn: Coefficient

    variables = ("n", "d", "unique_tokens")
    scales = ("E", "A", "B")
    exponents: ClassVar = {
        "alpha": (1e-2, 5.0),
        "beta": (1e-2, 5.0),
        "Rd": (1e-2, 1e4),
        "Rn": (1e-2, 1e4),
    }
    base = ("E", "A", "B", "alpha", "beta")

    def log_terms(self, *logs: Array) -> tuple[Array, ...]:
        log_n, log_d, log_unique = logs
        alpha, beta = self.alpha, self.beta
        log_u = np.minimum(log_unique, log_d)
        log_g = (log(alpha * self.A) - log(beta * self.B)) / (alpha + beta)
        log_called = np.minimum(log_n, log_g + beta / alpha * (log_u + log_g))
        return (
            log(self.E),
            log(self.A) - alpha * (log_called + _log_worth(log_n - log_called, self.Rn)),
            log(self.B) - beta * (log_u + _log_worth(log_d - log_u, self.Rd)),
        )


@dataclass(frozen=True)
class Farseer:
    """Loss from parameters and tokens with an exponent of the tokens that moves with the size.

    loss = exp(s n ** q + S) + exp(B n ** b + Q) * d ** -exp(A n ** a + E).
    n: parameters, d: tokens. The letters are the paper's; S, Q and E are logarithms, E no floor.
    Good within the sizes it was fitted to: the first term vanishes as they grow, so that the law
    has no best size if one looks everywhere, as `allocate` does. Not for `fit`: nothing in it is
    linear.
    Source: Li et al. 2025 (Farseer, arXiv:2506.10972).
    """

    s: float
    q: float
    S: float
    B: float
    b: float
    Q: float
    A: float
    a: float
    E: float

    variables: ClassVar[tuple[str, ...]] = ("n", "d")

    def __call__(self, n: ArrayLike, d: ArrayLike) -> Array:
        """Return the loss at n parameters and d tokens, in the unit of the coefficients."""
        size, tokens = np.asarray(n, dtype=np.float64), np.asarray(d, dtype=np.float64)
        floor = np.exp(self.s * size**self.q + self.S)
        fall = np.exp(self.A * size**self.a + self.E)
        return np.asarray(floor + np.exp(self.B * size**self.b + self.Q - fall * np.log(tokens)))

    def coefficients(self) -> dict[str, Coefficient]:
        return {field.name: getattr(self, field.name) for field in fields(self)}


def _log_worth(log_ratio: Array, most: Coefficient) -> Any:
    """log(1 + most * (1 - exp(-(ratio - 1) / most)))."""
    return np.log1p(-most * np.expm1(-np.expm1(log_ratio) / most))
