"""Laws with something beside size and tokens: the bits of training, and the grain of experts.

Each is a law like any other and could be fitted, its further variables given as columns; they are
here for their published coefficients (`published.KUMAR_2024`, `published.KRAJEWSKI_2024`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike

from isoloss.laws.forms import Array, Coefficient, Law, log

_BITS = (0.05, 20.0)
_OFFSETS = (1e-3, 10.0)


@dataclass(frozen=True)
class Precision(Law):
    """Loss of training in few bits: E + A / n_eff ** alpha + B / d ** beta.

    n_eff = n * prod_x (1 - exp(-p_x / gamma_x)) over weights, activations and the key-value cache.
    p_w, p_a, p_kv: their bits. gamma_w, gamma_a, gamma_kv: bits.
    Source: Kumar et al. 2024. The variant with offsets is `OffsetPrecision`.
    """

    E: Coefficient
    A: Coefficient
    B: Coefficient
    alpha: Coefficient
    beta: Coefficient
    gamma_w: Coefficient
    gamma_a: Coefficient
    gamma_kv: Coefficient

    variables = ("n", "d", "p_w", "p_a", "p_kv")
    scales = ("E", "A", "B")
    exponents: ClassVar = {
        "alpha": (1e-2, 5.0),
        "beta": (1e-2, 5.0),
        "gamma_w": _BITS,
        "gamma_a": _BITS,
        "gamma_kv": _BITS,
    }

    def kept(self, p_w: ArrayLike, p_a: ArrayLike, p_kv: ArrayLike) -> Array:
        """Return the share of the parameters that training in these bits leaves, n_eff / n."""
        gammas = (self.gamma_w, self.gamma_a, self.gamma_kv)
        return np.asarray(_share((p_w, p_a, p_kv), gammas, (0.0, 0.0, 0.0)))

    def log_terms(self, *logs: Array) -> tuple[Array, ...]:
        log_n, log_d, *log_bits = logs
        left = log(self.kept(*(np.exp(bits) for bits in log_bits)))
        return (
            log(self.E),
            log(self.A) - self.alpha * (log_n + left),
            log(self.B) - self.beta * log_d,
        )


@dataclass(frozen=True)
class OffsetPrecision(Law):
    """Precision with an offset to each: n_eff = n * prod_x (1 - exp(n_x - p_x / gamma_x)).

    n_w, n_a, n_kv: the offsets, without unit; at n_x * gamma_x bits nothing is left, and below. The
    other coefficients are those of `Precision`.
    Source: Kumar et al. 2024, the variant with which Table 2 states its scales.
    """

    E: Coefficient
    A: Coefficient
    B: Coefficient
    alpha: Coefficient
    beta: Coefficient
    gamma_w: Coefficient
    gamma_a: Coefficient
    gamma_kv: Coefficient
    n_w: Coefficient
    n_a: Coefficient
    n_kv: Coefficient

    variables = ("n", "d", "p_w", "p_a", "p_kv")
    scales = ("E", "A", "B")
    exponents: ClassVar = {
        **Precision.exponents,
        "n_w": _OFFSETS,
        "n_a": _OFFSETS,
        "n_kv": _OFFSETS,
    }

    def kept(self, p_w: ArrayLike, p_a: ArrayLike, p_kv: ArrayLike) -> Array:
        """Return the share of the parameters that training in these bits leaves, n_eff / n."""
        gammas = (self.gamma_w, self.gamma_a, self.gamma_kv)
        return np.asarray(_share((p_w, p_a, p_kv), gammas, (self.n_w, self.n_a, self.n_kv)))

    def log_terms(self, *logs: Array) -> tuple[Array, ...]:
        log_n, log_d, *log_bits = logs
        left = log(self.kept(*(np.exp(bits) for bits in log_bits)))
        return (
            log(self.E),
            log(self.A) - self.alpha * (log_n + left),
            log(self.B) - self.beta * log_d,
        )


def _share(
    bits: tuple[ArrayLike, ...],
    gammas: tuple[Coefficient, ...],
    offsets: tuple[Coefficient, ...],
) -> Any:
    """prod_x (1 - exp(n_x - p_x / gamma_x)), nothing where a factor is negative."""
    share: Any = 1.0
    for p, gamma, offset in zip(bits, gammas, offsets, strict=True):
        factor = -np.expm1(offset - np.asarray(p) / gamma)
        share = share * np.where(np.real(factor) > 0, factor, 0.0)
    return share


@dataclass(frozen=True)
class QuantizationLoss(Law):
    """What rounding a trained model adds: CT * d ** gamma_d / n ** gamma_n * exp(-p / gamma_post).

    p_post: bits of the weights after training. CT: nats times n ** gamma_n / d ** gamma_d. It grows
    with the tokens: the longer a model was trained, the more rounding hurts.
    Source: Kumar et al. 2024, the penalty of quantizing after training.
    """

    CT: Coefficient
    gamma_d: Coefficient
    gamma_n: Coefficient
    gamma_post: Coefficient

    variables = ("n", "d", "p_post")
    scales = ("CT",)
    exponents: ClassVar = {"gamma_d": (1e-2, 5.0), "gamma_n": (1e-2, 5.0), "gamma_post": _BITS}

    def log_terms(self, *logs: Array) -> tuple[Array, ...]:
        log_n, log_d, log_bits = logs
        growth = self.gamma_d * log_d - self.gamma_n * log_n
        return (log(self.CT) + growth - np.exp(log_bits) / self.gamma_post,)


@dataclass(frozen=True)
class FineGrainedMoE(Law):
    """Loss of a mixture of fine-grained experts.

    loss = c + (g / granularity ** gamma + a) / n ** alpha + b / d ** beta.
    n: all parameters, of every expert, without the embedding. granularity: d_ff of the dense layer
    over that of an expert. c: nats. a, g: nats times n ** alpha. b: nats times d ** beta.
    Source: Krajewski et al. 2024, for a fixed expansion (64 in the paper).
    """

    c: Coefficient
    g: Coefficient
    a: Coefficient
    b: Coefficient
    alpha: Coefficient
    beta: Coefficient
    gamma: Coefficient

    variables = ("n", "d", "granularity")
    scales = ("c", "g", "a", "b")
    exponents: ClassVar = {"alpha": (1e-2, 5.0), "beta": (1e-2, 5.0), "gamma": (1e-2, 5.0)}

    def log_terms(self, *logs: Array) -> tuple[Array, ...]:
        log_n, log_d, log_grain = logs
        return (
            log(self.c),
            log(self.g) - self.gamma * log_grain - self.alpha * log_n,
            log(self.a) - self.alpha * log_n,
            log(self.b) - self.beta * log_d,
        )
